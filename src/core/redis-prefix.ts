import { shown } from './check.js'
import { keyPrefixOf, type RedisClient } from './redis-client.js'

/** A prefix that Redis can tell from others: half a surrogate pair has no UTF-8, so two prefixes would become one. */
export function textPrefix(prefix: unknown): string {
  if (typeof prefix !== 'string') throw new TypeError(`prefix must be a string, got ${shown(prefix)}`)
  if (!(prefix as unknown as { isWellFormed(): boolean }).isWellFormed()) {
    throw new RangeError(`prefix must be well-formed Unicode, got ${JSON.stringify(prefix)}`)
  }
  return prefix
}

/**
 * A prefix of keys that have hash tags of their own behind it. Redis takes the first braces of a key for its tag, and
 * none at all if they are empty: then keys that change together would lie in different slots.
 */
export function checkedPrefix(redis: RedisClient, prefix: unknown): string {
  const checked = textPrefix(prefix)
  const whole = keyPrefixOf(redis) + checked
  if (whole.includes('{}')) {
    throw new RangeError(
      `prefix must not contain '{}', with the client's keyPrefix before it, got ${JSON.stringify(whole)}`,
    )
  }
  return checked
}
