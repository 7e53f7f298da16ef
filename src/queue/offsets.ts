/**
 * How far one partition is done, when its messages finish in any order. Only what lies below the lowest unfinished
 * message may be committed: a group that starts again there misses nothing.
 */
export interface PartitionOffsets {
  /** Takes in what was delivered: offsets in order, and the offset behind all of it. */
  arrived(offsets: readonly number[], nextOffset: number): void
  finished(offset: number): void
  /** Every offset below was delivered. */
  readonly expected: number
  /** Messages that were delivered and have not finished. */
  readonly unfinished: number
  /** What to commit: the lowest unfinished offset, or what lies behind everything when all is finished. */
  readonly position: number
}

export function createPartitionOffsets(): PartitionOffsets {
  // In order; those before `head` are finished, and those in `done` are finished behind an unfinished one.
  let held: number[] = []
  let head = 0
  let expected = 0
  const done = new Set<number>()
  return {
    arrived(offsets, nextOffset) {
      for (const offset of offsets) held.push(offset)
      expected = nextOffset
    },
    finished(offset) {
      done.add(offset)
      while (head < held.length && done.delete(held[head] as number)) head++
      if (head > 1_024 && head * 2 > held.length) {
        held = held.slice(head)
        head = 0
      }
    },
    get expected() {
      return expected
    },
    get unfinished() {
      return held.length - head - done.size
    },
    get position() {
      return head < held.length ? (held[head] as number) : expected
    },
  }
}
