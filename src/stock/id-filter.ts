/** A set of ids that never forgets one and takes 1 stranger in 100,000 for a member, in 4 to 8 bytes per id. */
export interface IdFilter {
  add(id: string): void
  mayHave(id: string): boolean
}

const bitsPerId = 32
const probes = 9
/** One more probe comes first and looks at so many last units alone, in which most ids differ: a stranger costs no more. */
const tail = 4

/** FNV-1a over the UTF-16 code units from an index on. */
export const fnv1a = (() => {
  // Where something extends String, as ioredis 6 does, V8 looks each method of a string up at each call, in four times the
  // time. It knows a constant of a function; those of a module are variables when a bundler is done with them.
  // eslint-disable-next-line @typescript-eslint/unbound-method -- it is called with a `this`
  const { charCodeAt } = String.prototype
  return (text: string, from: number): number => {
    let value = 0x811c9dc5
    for (let i = from; i < text.length; i++) value = Math.imul(value ^ charCodeAt.call(text, i), 0x01000193)
    return value
  }
})()

const hashOfTail = (text: string): number => fnv1a(text, Math.max(0, text.length - tail))

/** The stride of the probes: odd, so that they differ, and mixed, so that it shares no pattern with the start. */
function stride(start: number): number {
  const mixed = Math.imul(start ^ (start >>> 15), 0x2c1b3c6d)
  return (mixed ^ (mixed >>> 13)) | 1
}

/**
 * A filter for about `expected` ids. More make it less sharp, never wrong.
 *
 * Bloom, "Space/Time Trade-offs in Hash Coding with Allowable Errors", CACM 1970; probes by double hashing after Kirsch
 * and Mitzenmacher, "Less Hashing, Same Performance", 2006.
 */
export function createIdFilter(expected: number): IdFilter {
  const bits = 2 ** Math.ceil(Math.log2(Math.max(64, expected * bitsPerId)))
  const words = new Uint32Array(bits / 32)
  const mask = bits - 1
  const has = (at: number): boolean => ((words[(at & mask) >>> 5] as number) & (1 << (at & 31))) !== 0
  const put = (at: number): void => {
    words[(at & mask) >>> 5] = (words[(at & mask) >>> 5] as number) | (1 << (at & 31))
  }
  return {
    add(id) {
      put(hashOfTail(id))
      let at = fnv1a(id, 0)
      const step = stride(at)
      for (let i = 0; i < probes; i++, at = (at + step) | 0) put(at)
    },
    mayHave(id) {
      if (!has(hashOfTail(id))) return false
      let at = fnv1a(id, 0)
      const step = stride(at)
      for (let i = 0; i < probes; i++, at = (at + step) | 0) if (!has(at)) return false
      return true
    },
  }
}
