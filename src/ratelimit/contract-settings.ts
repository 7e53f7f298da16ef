import assert from 'node:assert/strict'
import type { Clock } from '../core/clock.js'
import type { Quota } from './bucket.js'
import type { RateLimiter, RateLimiterOptions } from './types.js'

export type Quotas = RateLimiterOptions['quotas']

/** What a case of the contract is given. */
export interface Bench {
  readonly clock: Clock
  readonly limiter: (quotas: Quotas, options?: Partial<RateLimiterOptions>, name?: string) => RateLimiter
  readonly advance: (ms: number) => Promise<void>
}

const dayMs = 86_400_000
const perDay = (capacity: number): Quota => ({ capacity, refill: capacity, perMs: dayMs })
const perSecond = (refill: number): Quota => ({ capacity: 2_000, refill, perMs: 1_000 })

/** Two versions of the settings, and how many tokens a second each admits by itself once it is drained. */
const rollingChanges: readonly [what: string, before: Quotas, after: Quotas, rates: readonly [number, number]][] = [
  ['the rate', [perSecond(100)], [perSecond(150)], [100, 150]],
  ['the rate, by little', [perSecond(100)], [{ capacity: 2_000, refill: 101, perMs: 1_001 }], [100, 101]],
  ['the rate, by much', [perSecond(1)], [perSecond(400)], [1, 400]],
  ['the capacity', [perSecond(100)], [{ ...perSecond(100), capacity: 3_000 }], [100, 100]],
  ['one quota to two', [perSecond(100)], [perSecond(100), perDay(1e6)], [100, 100]],
  ['one quota to two others', [perSecond(100)], [perDay(1e6), perSecond(120)], [100, 120]],
  ['the order', [perSecond(100), perDay(1e6)], [perDay(1e6), perSecond(100)], [100, 100]],
  ['order and rates', [perSecond(100), perDay(1e6)], [perDay(2e6), perSecond(120)], [100, 120]],
  ['three quotas to one', [perDay(1e6), perSecond(90), perSecond(900)], [perSecond(110)], [90, 110]],
]

/**
 * Many calls by chance from processes with old and with new settings. What is admitted lies between what each of them
 * would have admitted alone: nothing is lost by the change of hands, and nothing is gained.
 */
export async function admitsBetween({ limiter, clock, advance }: Bench): Promise<void> {
  const random = randomFrom(7)
  const largest = { cost: 2_000, atMost: true }
  const cases = await Promise.all(
    rollingChanges.map(async ([what, before, after, rates]) => {
      const doors = [before, after].map((quotas) => limiter(quotas, {}, what)) as [RateLimiter, RateLimiter]
      const startedMs = clock.nowMs()
      for (const door of doors) await door.take('k', largest)
      return { what, doors, rates, startedMs, drainedMs: clock.nowMs(), admitted: 0 }
    }),
  )
  for (let n = 0; n < 80; n++) {
    await advance(10 + 20 * random())
    for (let call = 0; call < 5; call++) {
      const doors = cases.map((one) => one.doors[random() < 0.5 ? 0 : 1])
      const decisions = await Promise.all(doors.map((door) => door.take('k')))
      decisions.forEach(({ granted }, i) => void ((cases[i] as { admitted: number }).admitted += granted))
    }
  }
  for (const { what, doors, rates, startedMs, drainedMs, admitted } of cases) {
    const leastMs = clock.nowMs() - drainedMs
    const { granted } = await doors[0].take('k', largest)
    const all = admitted + granted
    const mostMs = clock.nowMs() - startedMs
    // A bucket that was full has lost what came later.
    const low = granted === largest.cost ? 0 : Math.floor((leastMs / 1_000) * rates[0]) - 1
    const high = Math.ceil((mostMs / 1_000) * rates[1]) + 1
    assert.ok(all >= low && all <= high, `${what}: ${all} is not from ${low} to ${high}`)
  }
}

/** Chance that repeats itself. After Marsaglia, "Xorshift RNGs", 2003. */
function randomFrom(seed: number): () => number {
  let state = seed
  return () => {
    state ^= state << 13
    state ^= state >>> 17
    state ^= state << 5
    return (state >>> 0) / 2 ** 32
  }
}
