import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { createPartitionOffsets } from '../../../src/queue/offsets.js'

describe('PartitionOffsets', () => {
  it.each<[string, [number[], number][], number[], number, number]>([
    ['nothing finished', [[[0, 1, 2], 3]], [], 0, 3],
    ['all finished in order', [[[0, 1, 2], 3]], [0, 1, 2], 3, 0],
    ['a gap holds the position', [[[0, 1, 2], 3]], [1, 2], 0, 2 - 1],
    ['the gap closes', [[[0, 1, 2], 3]], [2, 1, 0], 3, 0],
    ['offsets that are missing are passed over', [[[4, 7, 9], 12]], [4], 7, 2],
    ['what lies behind the last message is passed over', [[[4, 7, 9], 12]], [9, 4, 7], 12, 0],
    ['markers alone move the position', [[[], 5]], [], 5, 0],
    [
      'markers behind an unfinished message do not',
      [
        [[3], 4],
        [[], 6],
      ],
      [],
      3,
      1,
    ],
    [
      'and do when it has finished',
      [
        [[3], 4],
        [[], 6],
      ],
      [3],
      6,
      0,
    ],
  ])('%s', (_, arrivals, finished, position, unfinished) => {
    const offsets = createPartitionOffsets()
    for (const [messages, next] of arrivals) offsets.arrived(messages, next)
    for (const offset of finished) offsets.finished(offset)
    expect(offsets.position).toBe(position)
    expect(offsets.unfinished).toBe(unfinished)
    expect(offsets.expected).toBe(arrivals.at(-1)?.[1])
  })

  it('is always at the lowest unfinished message, in whatever order they finish', () => {
    fc.assert(
      fc.property(
        fc.array(fc.integer({ min: 1, max: 3 }), { minLength: 1, maxLength: 60 }),
        fc.infiniteStream(fc.nat()),
        (steps, order) => {
          const offsets = createPartitionOffsets()
          let at = 0
          const open = steps.map((step) => (at += step))
          offsets.arrived(open, at + 2)
          const left = [...open]
          while (left.length > 0) {
            const [gone] = left.splice((order.next().value as number) % left.length, 1)
            offsets.finished(gone as number)
            expect(offsets.position).toBe(left[0] ?? at + 2)
            expect(offsets.unfinished).toBe(left.length)
          }
        },
      ),
    )
  })

  it('keeps its count over thousands of messages', () => {
    const offsets = createPartitionOffsets()
    for (let n = 0; n < 10_000; n++) {
      offsets.arrived([n], n + 1)
      if (n >= 10) offsets.finished(n - 10)
    }
    expect(offsets.position).toBe(9_990)
    expect(offsets.unfinished).toBe(10)
  })
})
