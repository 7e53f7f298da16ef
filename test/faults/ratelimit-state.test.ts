import { Redis } from 'ioredis'
import { afterAll, describe, expect, it } from 'vitest'
import { toLimit } from '../../src/ratelimit/bucket.js'
import { createRateLimiter, type Quota, type RateLimiter, type RateLimiterOptions } from '../../src/ratelimit/index.js'
import { redisTokenBucket } from '../../src/ratelimit/redis/index.js'
import { sleep } from '../services/net.js'
import { describeWithServices, uniqueName } from '../services/vitest.js'
import takeBefore from '../support/ratelimit-before/take.lua'

const hourMs = 3_600_000
const slow: Quota = { capacity: 10, refill: 1, perMs: hourMs }
const doubles = (...values: number[]): Buffer => {
  const bytes = Buffer.alloc(8 * values.length)
  values.forEach((value, i) => void bytes.writeDoubleLE(value, 8 * i))
  return bytes
}

describeWithServices('a bucket in Redis', ['redis'], ({ redis: server }) => {
  const redis = new Redis(server.url)
  afterAll(() => redis.disconnect())
  const over = (prefix: string, quotas: RateLimiterOptions['quotas']): RateLimiter =>
    createRateLimiter(redisTokenBucket(redis, { prefix }), { name: 'calls', quotas, timeoutMs: 60_000 })

  describe('of the version before', () => {
    /** Takes one token as that version did; answers what it took. */
    const takeAsBefore = async (prefix: string, quotas: readonly Quota[]): Promise<number> => {
      const limits = quotas.map((quota) => toLimit('quota', quota))
      const args = limits.flatMap(({ capacity, tokensPerUs, initial }) => [capacity, tokensPerUs, initial])
      const key = `${prefix}calls:{k}`
      return (
        (await redis.eval(takeBefore, 1, key, '', limits.length, ...args, 1, 0, 0, 1, 1)) as number[]
      )[0] as number
    }

    it.each<[string, RateLimiterOptions['quotas']]>([
      ['one quota', [slow]],
      ['three quotas', [{ ...slow, capacity: 40 }, slow, { ...slow, capacity: 30, initial: 20 }]],
    ])('is shared by old and new processes to the token: %s', async (_, quotas) => {
      const prefix = `${uniqueName('rolled')}:`
      await using limiter = over(prefix, quotas)
      let taken = 0
      for (let n = 0; n < 30; n++) {
        taken += n % 2 === 0 ? await takeAsBefore(prefix, quotas) : (await limiter.take('k')).granted
        expect((await limiter.peek('k')).remaining).toBe(Math.max(0, 9 - n))
      }
      expect(taken).toBe(10)
      await limiter.refund('k', 4)
      for (let n = 0; n < 6; n++) taken += await takeAsBefore(prefix, quotas)
      expect(taken).toBe(14)
    })

    it('opens no door to new processes with other quotas', async () => {
      const prefix = `${uniqueName('rolled')}:`
      for (let n = 0; n < 12; n++) await takeAsBefore(prefix, [slow])
      await using more = over(prefix, [{ capacity: 100, refill: 100, perMs: 24 * hourMs }, slow])
      expect((await more.take('k')).allowed).toBe(false)
      await using faster = over(prefix, [{ capacity: 20, refill: 2, perMs: hourMs }])
      expect((await faster.take('k')).allowed).toBe(false)
    })

    it('gets no door opened by new processes with another rate or capacity', async () => {
      const prefix = `${uniqueName('rolled')}:`
      await using limiter = over(prefix, [{ capacity: 30, refill: 3, perMs: hourMs }])
      await limiter.take('k', { cost: 30 })
      await limiter.take('k')
      for (let n = 0; n < 3; n++) {
        expect(await takeAsBefore(prefix, [slow])).toBe(0)
        expect((await limiter.take('k')).allowed).toBe(false)
      }
    })
  })

  describe('that somebody else wrote', () => {
    const nowUs = Date.now() * 1_000
    const strangers: [string, (key: string) => Promise<unknown>][] = [
      ...(
        [
          ['text', 'written by somebody'],
          ['text as long as a bucket', 'x'.repeat(24)],
          ['text as long as ten buckets', 'x'.repeat(240)],
          ['nothing', ''],
          ['a byte too few', Buffer.alloc(23, 1)],
          ['a byte too many', Buffer.concat([doubles(10, nowUs, 1), Buffer.from('x')])],
          ['zeros', Buffer.alloc(24)],
          ['no numbers', doubles(NaN, NaN, NaN)],
          ['infinities', doubles(Infinity, 0, Infinity)],
          ['more tokens than there are', doubles(1e300, nowUs, 1)],
          ['half a token', doubles(7.5, nowUs, 1)],
          ['a moment in a thousand years', doubles(0, nowUs + 3.2e16, 1)],
          ['a moment before all time', doubles(0, -1, 1)],
          ['no rate', doubles(5, nowUs, 0)],
          ['a rate below none', doubles(5, nowUs, -1)],
          ['a thousand quotas', Buffer.concat(Array.from({ length: 1_000 }, () => doubles(5, nowUs, 1)))],
          ['a next format', Buffer.from([2, 0, 0, 0, 5, 5, 5, 5])],
        ] as const
      ).map(([what, bytes]): [string, (key: string) => Promise<unknown>] => [what, (key) => redis.set(key, bytes)]),
      ['a hash', (key) => redis.hset(key, 'a', 1)],
      ['a list', (key) => redis.rpush(key, 'a')],
      ['a set', (key) => redis.sadd(key, 'a')],
      ['a sorted set', (key) => redis.zadd(key, 1, 'a')],
      ['a stream', (key) => redis.xadd(key, '*', 'a', 'b')],
    ]

    it.each(strangers)('is empty, and gains from then on: %s', async (_, write) => {
      const prefix = `${uniqueName('stranger')}:`
      await using limiter = over(prefix, [{ capacity: 10, refill: 1, perMs: 100 }])
      await write(`${prefix}calls:{k}`)
      const startedMs = performance.now()
      const decisions = await Promise.all(['other', 'k', 'k', 'another'].map((key) => limiter.take(key)))
      expect(decisions.map((one) => one.granted)).toEqual([1, 0, 0, 1])
      expect(decisions[1]).toMatchObject({ remaining: 0, retryAfterMs: 100 })
      await sleep(210)
      const { granted } = await limiter.take('k', { cost: 10, atMost: true })
      expect(granted).toBeGreaterThanOrEqual(2)
      expect(granted).toBeLessThanOrEqual((performance.now() - startedMs) / 100 + 1)
      expect(await redis.pttl(`${prefix}calls:{k}`)).toBeGreaterThan(0)
    })

    it.each(strangers)('can be looked at, refunded and reset: %s', async (_, write) => {
      const prefix = `${uniqueName('stranger')}:`
      await using limiter = over(prefix, [slow])
      await write(`${prefix}calls:{k}`)
      expect((await limiter.peek('k')).remaining).toBe(0)
      await limiter.refund('k', 3)
      expect((await limiter.peek('k')).remaining).toBe(3)
      await write(`${prefix}calls:{l}`)
      await limiter.reset('l')
      expect((await limiter.peek('l')).remaining).toBe(10)
    })
  })
})
