import fc from 'fast-check'
import { expect, it } from 'vitest'
import { createHoldQueue } from '../../../src/stock/memory/hold-queue.js'

interface TestHold {
  readonly endsAtMs: number
  held: boolean
}
const setUp = () => createHoldQueue<TestHold>(({ held }) => held)
const hold = (endsAtMs: number): TestHold => ({ endsAtMs, held: true })
const endsOf = (holds: readonly TestHold[]): number[] => holds.map(({ endsAtMs }) => endsAtMs)

it('takes nothing out of an empty queue, whose next end never comes', () => {
  const queue = setUp()
  expect(queue.takeUntil(Infinity)).toEqual([])
  expect(queue.firstEndMs()).toBe(Infinity)
})

it('takes holds out in the order of their ends, at their end and not before', () => {
  const queue = setUp()
  for (const endsAtMs of [5, 3, 9, 3, 7]) queue.add(hold(endsAtMs))
  expect(queue.firstEndMs()).toBe(3)
  expect(queue.takeUntil(2.9)).toEqual([])
  expect(endsOf(queue.takeUntil(3))).toEqual([3, 3])
  queue.add(hold(4))
  expect(endsOf(queue.takeUntil(7))).toEqual([4, 5, 7])
  expect(queue.firstEndMs()).toBe(9)
  expect(endsOf(queue.takeUntil(Infinity))).toEqual([9])
})

it('passes over holds that were settled before', () => {
  const queue = setUp()
  const holds = [1, 2, 3, 4].map(hold)
  for (const one of holds) queue.add(one)
  for (const i of [0, 2]) (holds[i] as TestHold).held = false
  expect(queue.firstEndMs()).toBe(2)
  expect(endsOf(queue.takeUntil(3))).toEqual([2])
  expect(endsOf(queue.takeUntil(9))).toEqual([4])
})

it('keeps holds without an end until they are settled', () => {
  const queue = setUp()
  const forever = hold(Infinity)
  queue.add(forever)
  queue.add(hold(1))
  expect(endsOf(queue.takeUntil(Number.MAX_VALUE))).toEqual([1])
  expect(queue.firstEndMs()).toBe(Infinity)
  forever.held = false
  expect(queue.takeUntil(Infinity)).toEqual([])
})

it('does as a sorted list does', () => {
  const step = fc.oneof(
    { weight: 5, arbitrary: fc.record({ add: fc.nat({ max: 60 }) }) },
    { weight: 2, arbitrary: fc.record({ settle: fc.nat({ max: 40 }) }) },
    { weight: 1, arbitrary: fc.record({ take: fc.nat({ max: 15 }) }) },
  )
  const property = fc.property(fc.array(step, { maxLength: 120 }), (steps) => {
    const queue = setUp()
    let all: TestHold[] = []
    let nowMs = 0
    for (const one of steps) {
      if ('add' in one) {
        const added = hold(nowMs + 1 + one.add)
        queue.add(added)
        all.push(added)
      } else if ('settle' in one) {
        const settled = all[one.settle % Math.max(1, all.length)]
        if (settled) settled.held = false
      } else {
        nowMs += one.take
        const due = all.filter(({ held, endsAtMs }) => held && endsAtMs <= nowMs)
        expect(endsOf(queue.takeUntil(nowMs))).toEqual(endsOf(due).toSorted((a, b) => a - b))
        all = all.filter((left) => !due.includes(left))
      }
      const left = all.filter(({ held }) => held)
      expect(queue.firstEndMs()).toBe(Math.min(Infinity, ...endsOf(left)))
    }
  })
  fc.assert(property, { numRuns: 300 })
})
