/**
 * Freezes plain data through and through. False for what has anything else in it: a date, a map, bytes, an object with a
 * class or with accessors, whose inside cannot be frozen.
 */
export function freeze(value: unknown): boolean {
  if (typeof value === 'function') return false
  if (typeof value !== 'object' || value === null) return true
  if (Array.isArray(value)) {
    for (const part of value) if (typeof part === 'object' ? !freeze(part) : typeof part === 'function') return false
  } else {
    const prototype: unknown = Object.getPrototypeOf(value)
    if (prototype !== Object.prototype && prototype !== null) return false
    for (const name in value) {
      const part = (value as Record<string, unknown>)[name]
      if (typeof part === 'object' ? !freeze(part) : typeof part === 'function') return false
    }
  }
  Object.freeze(value)
  return true
}

const utf8 = new TextEncoder()

export const toBytes = (body: string | Uint8Array): Uint8Array => (typeof body === 'string' ? utf8.encode(body) : body)
