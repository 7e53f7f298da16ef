import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { constantBackoff, exponentialBackoff } from '../../../src/core/backoff.js'

const first = (count: number, backoff: (attempt: number) => number): number[] =>
  Array.from({ length: count }, (_, i) => backoff(i + 1))

type Options = NonNullable<Parameters<typeof exponentialBackoff>[0]>

describe('backoff', () => {
  it('stays constant', () => {
    expect(first(3, constantBackoff(250))).toEqual([250, 250, 250])
  })

  it.each([
    [{ jitter: 0 }, [100, 200, 400, 800, 1_600]],
    [{ jitter: 0, baseMs: 10, factor: 3, maxMs: 100 }, [10, 30, 90, 100, 100]],
    [{ jitter: 0, factor: 1 }, [100, 100, 100, 100, 100]],
    [{ random: () => 0 }, [100, 200, 400, 800, 1_600]],
    [{ random: () => 0.5 }, [75, 150, 300, 600, 1_200]],
    [{ jitter: 1, random: () => 0.75 }, [25, 50, 100, 200, 400]],
    [{ jitter: 0, maxMs: Infinity, factor: 10 }, [100, 1_000, 10_000, 100_000, 1_000_000]],
  ] satisfies [Options, number[]][])('grows with %o', (options: Options, delays) => {
    expect(first(5, exponentialBackoff(options))).toEqual(delays)
  })

  it('stops at half a minute by default, at the ten thousandth attempt too', () => {
    const backoff = exponentialBackoff({ jitter: 0 })
    expect([backoff(9), backoff(10), backoff(10_000)]).toEqual([25_600, 30_000, 30_000])
  })

  it('leaves to chance no more than the share it was told', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 40 }), fc.double({ min: 0, max: 1, noNaN: true }), (attempt, jitter) => {
        const fullMs = exponentialBackoff({ jitter: 0 })(attempt)
        const delayMs = exponentialBackoff({ jitter })(attempt)
        expect(delayMs).toBeLessThanOrEqual(fullMs)
        expect(delayMs).toBeGreaterThanOrEqual(fullMs * (1 - jitter))
      }),
    )
  })

  it.each([
    ['baseMs', 0, RangeError],
    ['baseMs', '10', TypeError],
    ['factor', Number.NaN, RangeError],
    ['maxMs', -1, RangeError],
    ['jitter', 1.5, RangeError],
    ['jitter', -0.1, RangeError],
    ['jitter', Number.NaN, RangeError],
    ['jitter', '0.5', TypeError],
  ])('refuses %s %j by name', (name, value, kind) => {
    const make = () => exponentialBackoff({ [name]: value })
    expect(make).toThrow(kind)
    expect(make).toThrow(new RegExp(`${name} .*${String(value)}`))
  })

  it('refuses a constant that is no delay', () => {
    expect(() => constantBackoff(0)).toThrow(/delayMs .*0/)
    expect(() => constantBackoff('1' as never)).toThrow(TypeError)
  })
})
