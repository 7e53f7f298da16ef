import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { createLanes, type Entry } from '../../../src/queue/lanes.js'

const items = (entries: readonly Entry<string>[]): string[] => entries.map(({ item }) => item)

function filled(...keyed: string[]) {
  const lanes = createLanes<string>()
  for (const item of keyed) lanes.add(/^[a-z]/.test(item) ? item[0] : undefined, item, 10)
  return lanes
}

describe('Lanes', () => {
  it('takes in the order of arrival', () => {
    expect(items(filled('a1', 'b1', 'a2', '-', 'b2').take(10, Infinity))).toEqual(['a1', 'b1', 'a2', '-', 'b2'])
  })

  it('takes no more of a key while some of it is out', () => {
    const lanes = filled('a1', 'a2', 'b1')
    const first = lanes.take(1, Infinity)
    expect(items(first)).toEqual(['a1'])
    expect(items(lanes.take(10, Infinity))).toEqual(['b1'])
    expect(lanes.ready).toBe(0)
    lanes.finish(first[0] as Entry<string>)
    expect(lanes.ready).toBe(1)
    expect(items(lanes.take(10, Infinity))).toEqual(['a2'])
  })

  it('lets items without a key pass each other', () => {
    const lanes = filled('1', '2')
    lanes.take(1, Infinity)
    expect(items(lanes.take(10, Infinity))).toEqual(['2'])
  })

  it('puts back in order, however many of a lane were out', () => {
    const lanes = filled('a1', 'a2', 'a3', 'a4')
    const [first, second, third] = lanes.take(3, Infinity) as [Entry<string>, Entry<string>, Entry<string>]
    lanes.putBack(third)
    lanes.putBack(first)
    expect(lanes.ready).toBe(0)
    lanes.putBack(second)
    expect(lanes.ready).toBe(4)
    expect(items(lanes.take(10, Infinity))).toEqual(['a1', 'a2', 'a3', 'a4'])
  })

  it('takes the oldest first, also of a lane that comes back', () => {
    const lanes = filled('a1', 'a2', 'b1', 'c1')
    const taken: string[] = []
    for (let i = 0; i < 4; i++) {
      expect(lanes.oldest()).toBe(['a1', 'a2', 'b1', 'c1'][i])
      for (const entry of lanes.take(1, Infinity)) {
        taken.push(entry.item)
        lanes.finish(entry)
      }
    }
    expect(taken).toEqual(['a1', 'a2', 'b1', 'c1'])
    expect(lanes.oldest()).toBeUndefined()
  })

  it('gives, at random, each key in order and everything once', () => {
    fc.assert(
      fc.property(fc.array(fc.nat(5), { maxLength: 80 }), fc.infiniteStream(fc.nat(7)), (keys, chance) => {
        const next = (): number => chance.next().value as number
        const lanes = createLanes<number>()
        for (const [n, key] of keys.entries()) lanes.add(key === 0 ? undefined : `${key}`, n, 1)
        const done: number[] = []
        let out: Entry<number>[] = []
        while (done.length < keys.length) {
          const taken = lanes.take(1 + next(), Infinity)
          expect(taken.map(({ item }) => item)).toEqual(taken.map(({ item }) => item).sort((a, b) => a - b))
          const lanesOut = new Set(out.map(({ lane }) => lane))
          for (const { lane } of taken) expect(lanesOut).not.toContain(lane)
          out.push(...taken)
          const staying: Entry<number>[] = []
          for (const entry of out) {
            const lot = next()
            if (lot < 2) staying.push(entry)
            else if (lot < 3 && !staying.some(({ lane }) => lane === entry.lane)) lanes.putBack(entry)
            else if (staying.some(({ lane }) => lane === entry.lane)) staying.push(entry)
            else if (out.some((other) => other.lane === entry.lane && other.sequence < entry.sequence && lot < 4))
              staying.push(entry)
            else {
              done.push(entry.item)
              lanes.finish(entry)
            }
          }
          out = staying
        }
        expect(lanes.ready).toBe(0)
        expect(new Set(done).size).toBe(keys.length)
      }),
    )
  })

  it('takes no more bytes than it may, but one item in any case', () => {
    const lanes = filled('a1', 'b1', 'a2', '-', 'b2')
    expect(lanes.readyBytes).toBe(50)
    const taken = lanes.take(10, 29)
    expect(items(taken)).toEqual(['a1', 'b1'])
    expect([lanes.ready, lanes.readyBytes]).toEqual([1, 10])
    for (const entry of taken) lanes.finish(entry)
    expect([lanes.ready, lanes.readyBytes]).toEqual([3, 30])
    expect(items(lanes.take(10, 1))).toEqual(['a2'])
    expect(items(lanes.take(10, 1))).toEqual(['-'])
    expect(items(lanes.take(10, 1))).toEqual(['b2'])
  })

  it('keeps what is wanted, wherever it waits', () => {
    const lanes = filled('a1', 'a2', 'a3', 'b1', '-', 'c1', '+')
    const [first, second] = lanes.take(2, Infinity) as [Entry<string>, Entry<string>]
    lanes.putBack(first)
    lanes.keep((item) => !['a1', 'b1', '-'].includes(item))
    expect([lanes.ready, lanes.readyBytes]).toEqual([2, 20])
    expect(lanes.oldest()).toBe('c1')
    lanes.putBack(second)
    expect(items(lanes.take(10, Infinity))).toEqual(['a2', 'a3', 'c1', '+'])
    expect([lanes.ready, lanes.readyBytes]).toEqual([0, 0])
    expect(lanes.oldest()).toBeUndefined()
  })

  it('does not lose a key whose lane was emptied and made anew', () => {
    const lanes = filled('a1')
    lanes.keep(() => false)
    lanes.add('a', 'a2', 10)
    lanes.keep(() => true)
    lanes.add('a', 'a3', 10)
    const [entry] = lanes.take(1, Infinity) as [Entry<string>]
    expect(lanes.take(1, Infinity)).toEqual([])
    lanes.finish(entry)
    expect(items(lanes.take(1, Infinity))).toEqual(['a3'])
  })
})
