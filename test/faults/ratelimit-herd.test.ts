import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import { Redis } from 'ioredis'
import { afterAll, describe, expect, it } from 'vitest'
import type { TripEvent } from '../../src/core/diagnostics.js'
import {
  createRateLimiter,
  memoryTokenBucket,
  type Decision,
  type Quota,
  type RateLimitDriver,
  type RateLimiter,
} from '../../src/ratelimit/index.js'
import { redisTokenBucket } from '../../src/ratelimit/redis/index.js'
import { describeWithServices, uniqueName } from '../services/vitest.js'

const calls = 20_000
const quota: Quota = { capacity: 100_000, refill: 1, perMs: 3_600_000 }

/** The trips that a herd made. */
async function tripsOf(herd: () => Promise<unknown>): Promise<TripEvent[]> {
  const trips: TripEvent[] = []
  const note = (event: unknown): void => void trips.push(event as TripEvent)
  subscribe('spillway:trip', note)
  await herd()
  unsubscribe('spillway:trip', note)
  return trips
}

/** Every call of a herd ends well, and a thousand of them share a trip. */
function herds(make: (options?: object) => RateLimiter): void {
  const verbs: [string, (limiter: RateLimiter, key: string) => Promise<unknown>][] = [
    ['take', (limiter, key) => limiter.take(key)],
    ['take, a key for each', (limiter, key) => limiter.take(key)],
    ['take with atMost', (limiter, key) => limiter.take(key, { atMost: true })],
    ['wait', (limiter, key) => limiter.wait(key)],
    ['wait, a key for each', (limiter, key) => limiter.wait(key)],
    ['peek', (limiter, key) => limiter.peek(key)],
    ['peek, a key for each', (limiter, key) => limiter.peek(key)],
    ['refund', (limiter, key) => limiter.refund(key, 1)],
    ['refund, a key for each', (limiter, key) => limiter.refund(key, 1)],
    ['reset', (limiter, key) => limiter.reset(key)],
    ['reset, a key for each', (limiter, key) => limiter.reset(key)],
  ]
  it.each(verbs)('%s', async (title, call) => {
    await using limiter = make()
    const herd = (name: string, size: number): Promise<unknown> =>
      Promise.all(Array.from({ length: size }, (_, i) => call(limiter, title.includes('each') ? `${name}${i}` : name)))
    const trips = await tripsOf(() => herd('herd', calls))
    expect(trips.map(({ calls: joined }) => joined)).toEqual(Array.from({ length: calls / 1_000 }, () => 1_000))
  })

  it('of waits that one signal ends, whose tokens go back', async () => {
    await using limiter = make()
    const warnings: Error[] = []
    const note = (warning: Error): void => void warnings.push(warning)
    process.on('warning', note)
    await limiter.take('k', { cost: 100_000 })
    const controller = new AbortController()
    const ended = Promise.allSettled(
      Array.from({ length: calls }, () => limiter.wait('k', { signal: controller.signal })),
    )
    await limiter.peek('k')
    const trips = await tripsOf(async () => {
      controller.abort(new Error('shutdown'))
      const reasons = (await ended).map((one) => (one as PromiseRejectedResult).reason as Error)
      expect(new Set(reasons)).toEqual(new Set([controller.signal.reason]))
      await limiter.refund('other', 1)
    })
    expect(trips.length).toBeLessThan(calls / 1_000 + 5)
    await limiter.refund('k', 1)
    expect((await limiter.peek('k')).remaining, 'all tokens went back').toBe(1)
    process.off('warning', note)
    expect(warnings).toEqual([])
  })

  it('of leases for as many keys, with a trip for a thousand of them', async () => {
    await using limiter = make({ lease: { tokens: 5, leaseMs: 60_000 } })
    const keys = Array.from({ length: 10_000 }, (_, i) => `user-${i}`)
    const take = (): Promise<Decision[]> => Promise.all(keys.map((key) => limiter.take(key)))
    let decisions: Decision[] = []
    const trips = await tripsOf(async () => {
      decisions = await take()
    })
    expect(decisions.every((one) => one.allowed)).toBe(true)
    expect(trips.map(({ calls: joined }) => joined)).toEqual(Array.from({ length: 10 }, () => 1_000))
    expect(await tripsOf(take)).toEqual([])
  })
}

const over =
  (driver: () => RateLimitDriver) =>
  (options: object = {}): RateLimiter =>
    createRateLimiter(driver(), { name: 'calls', quotas: [quota], timeoutMs: 60_000, ...options })

describe('a herd of 20,000 calls, in memory:', () => herds(over(() => memoryTokenBucket())))

// A server of its own: a herd leaves more keys than other tests can look through.
describeWithServices(
  'a herd of 20,000 calls, in Redis:',
  ['redis'],
  ({ redis: server }) => {
    const redis = new Redis(server.url)
    afterAll(() => redis.disconnect())
    herds(over(() => redisTokenBucket(redis, { prefix: `${uniqueName('herd')}:` })))
  },
  { private: true },
)
