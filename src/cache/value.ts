/**
 * Freezes plain data through and through. False for what has anything else in it: a date, a map, bytes, an object with a
 * class, whose inside cannot be frozen. Each part is looked at once, however often and however deep it is in the value.
 */
export function freeze(value: unknown): boolean {
  if (typeof value === 'function') return false
  if (typeof value !== 'object' || value === null) return true
  const wholes = new Set<object>([value])
  const isPlain = (part: unknown): boolean => {
    if (typeof part === 'object' && part !== null) wholes.add(part)
    return typeof part !== 'function'
  }
  for (const whole of wholes) {
    if (Array.isArray(whole)) {
      for (const part of whole) if (!isPlain(part)) return false
    } else {
      const prototype: unknown = Object.getPrototypeOf(whole)
      if (prototype !== Object.prototype && prototype !== null) return false
      for (const name in whole) if (!isPlain((whole as Record<string, unknown>)[name])) return false
    }
  }
  for (const whole of wholes) Object.freeze(whole)
  return true
}

/** The same for what JSON.parse has made: a tree of plain data, in which nothing has to be looked for. */
export function freezeTree(value: unknown): void {
  if (typeof value !== 'object' || value === null) return
  // Most values have no parts; a list is made for those that do.
  let parts: object[] | undefined
  const note = (part: unknown): void => {
    if (typeof part === 'object' && part !== null) (parts ??= []).push(part)
  }
  for (let whole: object | undefined = value; whole; whole = parts?.pop()) {
    if (Array.isArray(whole)) for (const part of whole) note(part)
    else for (const name in whole) note((whole as Record<string, unknown>)[name])
    Object.freeze(whole)
  }
}

/** Bytes of its own, of the same class. (`Buffer.slice` is a view.) */
export const copyOf = (bytes: Uint8Array): Uint8Array => Uint8Array.prototype.slice.call(bytes)

const utf8 = new TextEncoder()

export const toBytes = (body: string | Uint8Array): Uint8Array => (typeof body === 'string' ? utf8.encode(body) : body)
