import { expect, it } from 'vitest'
import { createPace } from '../../../src/cache/pace.js'

it('makes calls in order, so many at once, whether or not they fail', async () => {
  const pace = createPace(3)
  const begun: number[] = []
  let [underWay, most] = [0, 0]
  const calls = Array.from({ length: 1_000 }, (_, i) =>
    pace.run(async () => {
      begun.push(i)
      most = Math.max(most, ++underWay)
      await new Promise(setImmediate)
      underWay--
      if (i % 2) throw new Error(`${i} fails`)
      return i
    }),
  )
  const outcomes = await Promise.allSettled(calls)
  expect(begun).toEqual(outcomes.map((_, i) => i))
  expect(most).toBe(3)
  for (const [i, one] of outcomes.entries()) {
    if (i % 2) expect((one as PromiseRejectedResult).reason).toEqual(new Error(`${i} fails`))
    else expect((one as PromiseFulfilledResult<number>).value).toBe(i)
  }
  const again = await Promise.all(Array.from({ length: 10 }, (_, i) => pace.run(async () => i)))
  expect(again).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9])
})
