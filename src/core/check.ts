import { inspect } from 'node:util'

// Arguments are checked where they enter. Each check names what it wanted and what came, and returns the value.

/** @internal Named values on their way into a check. */
export type Unchecked = Readonly<Record<string, unknown>>

/** Keys are URLs and ids that come from strangers; no more than this is meant. */
const longestKeyBytes = 8_192

/** @internal A value as messages show it: one line, and no more than fits. */
export function shown(value: unknown): string {
  const text =
    typeof value === 'string'
      ? JSON.stringify(value)
      : inspect(value, { depth: 0, compact: true, breakLength: Infinity })
  return text.length > 80 ? `${text.slice(0, 80)}…` : text
}

/** An object that has these methods; `what` says what was wanted, in the message. */
export function objectWith<T>(name: string, value: T, methods: readonly string[], what: string): T {
  const missing = methods.find(
    (method) => typeof (value as Record<string, unknown> | null | undefined)?.[method] !== 'function',
  )
  if (missing === undefined) return value
  throw new TypeError(`${name} must be ${what}, got ${shownObject(value)}`)
}

/** An object by the name of its class: its content, a client's connections and passwords, is nobody's business. */
function shownObject(value: unknown): string {
  if (typeof value !== 'object' || value === null) return shown(value)
  // ioredis gives its clients the constructor of EventEmitter.
  const { evalsha, evalSha, producer, admin } = value as Readonly<Record<string, unknown>>
  if (typeof evalsha === 'function') return 'a Redis client'
  if (typeof evalSha === 'function') return 'a client of the package redis (node-redis)'
  // kafkajs names the class Client.
  if (typeof producer === 'function' && typeof admin === 'function') return 'a Kafka client'
  const { constructor: type } = value as { readonly constructor?: { readonly name?: unknown } }
  if (type === Object || typeof type?.name !== 'string')
    return `an object with ${Object.keys(value).slice(0, 5).join(', ') || 'nothing'}`
  return `${/^[aeiou]/i.test(type.name) ? 'an' : 'a'} ${type.name}`
}

function integer(name: string, value: unknown, atLeast: number): number {
  if (typeof value !== 'number') throw new TypeError(`${name} must be a number, got ${shown(value)}`)
  if (!Number.isSafeInteger(value) || value < atLeast) {
    throw new RangeError(`${name} must be an integer of at least ${atLeast}, got ${shown(value)}`)
  }
  return value
}

/** A function, or `undefined` if there is none. */
export function optionalFunction<F>(name: string, value: F): F {
  if (value === undefined || typeof value === 'function') return value
  throw new TypeError(`${name} must be a function, got ${shown(value)}`)
}

/** An integer of at least 1. */
export const positiveInteger = (name: string, value: unknown): number => integer(name, value, 1)

/** An integer of at least 0. */
export const nonNegativeInteger = (name: string, value: unknown): number => integer(name, value, 0)

/** A finite number above 0, fractions included. */
export function positiveNumber(name: string, value: unknown): number {
  if (typeof value !== 'number') throw new TypeError(`${name} must be a number, got ${shown(value)}`)
  if (!(value > 0 && value < Infinity)) throw new RangeError(`${name} must be above 0 and finite, got ${shown(value)}`)
  return value
}

/** A duration in milliseconds of at least `atLeast` (0 by default); `Infinity` means unbounded. */
export function durationMs(name: string, value: unknown, atLeast = 0): number {
  if (typeof value !== 'number') throw new TypeError(`${name} must be a number of milliseconds, got ${shown(value)}`)
  if (!(value >= atLeast)) throw new RangeError(`${name} must be ${atLeast} ms or more, got ${shown(value)}`)
  return value
}

/** Half a surrogate pair has no UTF-8: two different names would become one in a backend. */
const isWellFormed = (text: string): boolean => (text as unknown as { isWellFormed(): boolean }).isWellFormed()

/** A well-formed string of 1 to 8,192 bytes of UTF-8 that names something, and that every backend can tell from every other. */
export function keyString(name: string, value: unknown): string {
  if (typeof value !== 'string') throw new TypeError(`${name} must be a string, got ${shown(value)}`)
  if (value === '') throw new RangeError(`${name} must not be empty`)
  if (!isWellFormed(value)) throw new RangeError(`${name} must be well-formed Unicode, got ${shown(value)}`)
  // A UTF-16 unit takes at most three bytes, so the bytes of a short name need not be counted.
  if (value.length * 3 > longestKeyBytes) {
    const bytes = Buffer.byteLength(value)
    if (bytes > longestKeyBytes) {
      throw new RangeError(`${name} must be at most ${longestKeyBytes} bytes of UTF-8, got ${bytes}: ${shown(value)}`)
    }
  }
  return value
}
