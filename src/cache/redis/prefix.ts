import { shown } from '../../core/check.js'
import { keyPrefixOf, type RedisClient } from '../../core/redis-client.js'

/** A prefix of keys that have hash tags of their own behind it. */
export function checkedPrefix(redis: RedisClient, prefix: unknown): string {
  if (typeof prefix !== 'string') throw new TypeError(`prefix must be a string, got ${shown(prefix)}`)
  if (!(prefix as unknown as { isWellFormed(): boolean }).isWellFormed()) {
    throw new RangeError(`prefix must be well-formed Unicode, got ${JSON.stringify(prefix)}`)
  }
  // Redis takes the first braces of a key for its hash tag, and none at all if they are empty.
  const whole = keyPrefixOf(redis) + prefix
  if (whole.includes('{}')) {
    throw new RangeError(
      `prefix must not contain '{}', with the client's keyPrefix before it, got ${JSON.stringify(whole)}`,
    )
  }
  return prefix
}
