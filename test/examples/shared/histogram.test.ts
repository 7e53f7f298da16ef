import { describe, expect, it } from 'vitest'
import { createHistogram } from '../../../examples/shared/histogram.js'

/** What two significant digits allow, with room for the middle of a cell. */
const near = (value: number, expected: number) => {
  expect(value).toBeGreaterThan(expected * 0.985)
  expect(value).toBeLessThan(expected * 1.015)
}

describe('a histogram', () => {
  it('knows quantiles, sum and counts of what several processes recorded', () => {
    const all = createHistogram()
    for (const offset of [1, 2]) {
      const part = createHistogram()
      for (let ms = offset; ms <= 1_000; ms += 2) part.record(ms)
      all.add(part.drain())
    }
    expect(all.count).toBe(1_000)
    near(all.quantileMs(0.5), 500)
    near(all.quantileMs(0.99), 990)
    near(all.quantileMs(1), 1_000)
    near(all.sumMs, 500_500)
    const [tenth, half, whole, ...rest] = all.cumulative([100, 500, 1_000, 10_000])
    near(tenth ?? 0, 100)
    near(half ?? 0, 500)
    expect([whole, ...rest]).toEqual([1_000, 1_000])
  })

  it('forgets what was drained, and adds nothing for nothing', () => {
    const histogram = createHistogram()
    histogram.record(5)
    expect(histogram.drain()).not.toBe(histogram.drain())
    histogram.add(histogram.drain())
    expect(histogram.count).toBe(0)
    expect(histogram.sumMs).toBe(0)
    expect(histogram.quantileMs(0.99)).toBe(0)
    expect(histogram.cumulative([1, 10])).toEqual([0, 0])
  })

  it('takes any duration: the shortest and longest count as the nearest that it can tell', () => {
    const histogram = createHistogram()
    for (const ms of [-1, 0, 0.0004, 1e9]) histogram.record(ms)
    expect(histogram.cumulative([0.001, 1e9])).toEqual([3, 4])
    near(histogram.quantileMs(1), 3_600_000)
  })
})
