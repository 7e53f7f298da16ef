/** A set of ids that never forgets one and takes 1 stranger in 100,000 for a member, in 4 to 8 bytes per id. */
export interface IdFilter {
  add(id: string): void
  mayHave(id: string): boolean
}

const bitsPerId = 32
const probes = 8

/** FNV-1a over UTF-16 code units. */
function hash(text: string): number {
  let value = 0x811c9dc5
  for (let i = 0; i < text.length; i++) value = Math.imul(value ^ text.charCodeAt(i), 0x01000193)
  return value
}

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
  return {
    add(id) {
      let at = hash(id)
      const step = stride(at)
      for (let i = 0; i < probes; i++, at = (at + step) | 0) {
        const bit = at & mask
        words[bit >>> 5] = (words[bit >>> 5] as number) | (1 << (bit & 31))
      }
    },
    mayHave(id) {
      let at = hash(id)
      const step = stride(at)
      for (let i = 0; i < probes; i++, at = (at + step) | 0) {
        const bit = at & mask
        if (((words[bit >>> 5] as number) & (1 << (bit & 31))) === 0) return false
      }
      return true
    },
  }
}
