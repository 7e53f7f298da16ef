import { Redis } from 'ioredis'
import { afterAll, expect, it, onTestFinished } from 'vitest'
import { createLock, memoryLock, type LockDriver } from '../../src/lock/index.js'
import { redisLock } from '../../src/lock/redis/index.js'
import { createRateLimiter, memoryTokenBucket, type RateLimitDriver } from '../../src/ratelimit/index.js'
import { redisTokenBucket } from '../../src/ratelimit/redis/index.js'
import { describeWithServices, uniqueName } from '../services/vitest.js'
import { heapBytes, heapComesBackTo } from '../support/heap.js'

const many = 20_000
/** Each key has 300 bytes: 20,000 that stay would be more than 6 MB. */
const mostBytes = 2e6

/** Makes the calls for many keys, thousands at once. */
async function rush(name: string, count: number, call: (key: string) => Promise<unknown>): Promise<void> {
  for (let from = 0; from < count; from += 5_000) {
    const keys = Array.from({ length: Math.min(5_000, count - from) }, (_, i) =>
      `${name} ${from + i} `.padEnd(300, '.'),
    )
    await Promise.all(keys.map(call))
  }
}

/** Nothing stays of the keys. `touch` is a call of another key: what is over may be forgotten with the next calls only. */
async function leavesNothing(call: (key: string) => Promise<unknown>, touch?: (count: number) => Promise<unknown>) {
  const name = uniqueName('growth')
  await rush(`first ${name}`, 1_000, call)
  await touch?.(1_000)
  const before = await heapBytes()
  await rush(name, many, call)
  await heapComesBackTo(before, mostBytes, () => touch?.(many) ?? Promise.resolve())
}

describeWithServices(
  '20,000 different keys leave nothing in the process',
  ['redis'],
  ({ redis: server }) => {
    const redis = new Redis(server.url)
    afterAll(() => redis.disconnect())
    const timeoutMs = 60_000

    const buckets: [string, () => RateLimitDriver][] = [
      ['Redis', () => redisTokenBucket(redis, { prefix: `${uniqueName('growth')}:` })],
      ['memory', () => memoryTokenBucket()],
    ]
    /** Full again at once, and so as good as unused. */
    const quotas = [{ capacity: 10, refill: 10, perMs: 1 }] as const
    it.each(buckets)('of a limiter in %s', async (_, driver) => {
      const limiter = createRateLimiter(driver(), { name: 'calls', quotas, timeoutMs })
      onTestFinished(() => limiter.close())
      await leavesNothing(
        async (key) => expect((await limiter.take(key)).allowed).toBe(true),
        (count) => Promise.all(Array.from({ length: count }, () => limiter.take('k'))),
      )
    })

    it.each(buckets)('of a limiter with leases in %s', async (_, driver) => {
      const limiter = createRateLimiter(driver(), {
        name: 'calls',
        quotas,
        timeoutMs,
        lease: { tokens: 5, leaseMs: 100 },
      })
      onTestFinished(() => limiter.close())
      await leavesNothing(
        async (key) => expect((await limiter.take(key)).allowed).toBe(true),
        (count) => Promise.all(Array.from({ length: count }, () => limiter.peek('k'))),
      )
    })

    const locks: [string, () => LockDriver][] = [
      ['Redis', () => redisLock(redis, { prefix: `${uniqueName('growth')}:`, counterTtlMs: 1_000 })],
      ['memory', () => memoryLock()],
    ]
    it.each(locks)('of a lock in %s', async (_, driver) => {
      const lock = createLock(driver(), { timeoutMs })
      onTestFinished(() => lock.close())
      await leavesNothing(async (key) => expect(await (await lock.tryAcquire(key))?.release()).toBe(true))
    })
  },
  { private: true },
)
