import { Redis } from 'ioredis'
import { afterAll, describe, expect, it } from 'vitest'
import { StoreUnavailableError } from '../../src/core/errors.js'
import {
  createRateLimiter,
  memoryTokenBucket,
  type RateLimiter,
  type RateLimiterOptions,
} from '../../src/ratelimit/index.js'
import { redisTokenBucket } from '../../src/ratelimit/redis/index.js'
import { sleep } from '../services/net.js'
import { describeWithServices, uniqueName } from '../services/vitest.js'
import { startProxy, type FaultProxy } from '../support/proxy.js'

const hourMs = 3_600_000
/** Long enough for a call that is to succeed on a busy machine. */
const timeoutMs = 1_500
/** What a busy machine may add to a time-out. */
const slackMs = 8_000

const callsOf = async (redis: Redis, command: 'eval' | 'evalsha'): Promise<number> =>
  Number(new RegExp(`cmdstat_${command}:calls=(\\d+)`).exec(await redis.info('commandstats'))?.[1] ?? 0)

/** How a call ended, and how long it took. */
async function timed(call: Promise<unknown>) {
  const startedMs = performance.now()
  const outcome = await call.then(
    () => 'answered' as const,
    (error: unknown) => error as StoreUnavailableError,
  )
  return { outcome, tookMs: performance.now() - startedMs }
}

describeWithServices(
  'buckets in a Redis that fails',
  ['redis'],
  ({ redis: server }) => {
    const direct = new Redis(server.url)
    direct.on('error', () => undefined)
    const clients: Redis[] = [direct]
    afterAll(() => {
      for (const client of clients) client.disconnect()
    })

    /** A client with the options that ioredis has by default, behind a proxy. */
    const behind = (proxy: FaultProxy): Redis => {
      const client = new Redis({ host: proxy.host, port: proxy.port })
      client.on('error', () => undefined)
      clients.push(client)
      return client
    }
    const everyCall = (limiter: RateLimiter): Promise<unknown>[] => [
      limiter.take('k'),
      limiter.take('k', { cost: 3, atMost: true }),
      limiter.wait('k'),
      limiter.peek('k'),
      limiter.refund('k', 2),
      limiter.reset('k'),
    ]
    const limiterOver = (redis: Redis, prefix: string, options: Partial<RateLimiterOptions> = {}): RateLimiter =>
      createRateLimiter(redisTokenBucket(redis, { prefix }), {
        name: 'calls',
        quotas: [{ capacity: 10, refill: 1, perMs: hourMs }],
        timeoutMs,
        ...options,
      })

    it.each(['refuses connections', 'accepts and never answers'] as const)(
      'answers in time when Redis %s, and sends nothing later',
      async (how) => {
        await using proxy = await startProxy(server)
        const prefix = uniqueName('down')
        if (how === 'refuses connections') await proxy.refuse()
        else proxy.freeze()
        const redis = behind(proxy)
        const limiter = limiterOver(redis, prefix)
        for (let round = 0; round < 2; round++) {
          const ended = await Promise.all(everyCall(limiter).map(timed))
          for (const { outcome, tookMs } of ended) {
            expect(outcome).toMatchObject({ code: 'ERR_STORE_UNAVAILABLE', applied: 'no' })
            expect(tookMs).toBeLessThan(timeoutMs + slackMs)
          }
        }
        expect(await direct.keys(`${prefix}*`)).toEqual([])
        if (how === 'refuses connections') await proxy.accept()
        else proxy.thaw()
        for (let up = false; !up; await sleep(50))
          up = await limiter.peek('k').then(
            () => true,
            () => false,
          )
        expect(proxy.counters.bytesUp).toBeGreaterThan(0)
        await sleep(200)
        expect(await direct.keys(`${prefix}*`), 'nothing of the failed calls was sent').toEqual([])
        expect((await limiter.take('k')).remaining).toBe(9)
        await limiter.close()
      },
    )

    it('answers in time when Redis falls silent, and gives back what it took nevertheless', async () => {
      await using proxy = await startProxy(server)
      const limiter = limiterOver(behind(proxy), uniqueName('silent'))
      await limiter.take('k')
      proxy.freeze()
      const calls = [limiter.take('k'), limiter.take('k', { cost: 3 }), limiter.take('other')]
      for (const { outcome, tookMs } of await Promise.all(calls.map(timed))) {
        expect(outcome).toMatchObject({ code: 'ERR_STORE_UNAVAILABLE', applied: 'unknown' })
        expect(tookMs).toBeLessThan(timeoutMs + slackMs)
      }
      proxy.thaw()
      for (let remaining = 0; remaining !== 9; await sleep(20)) {
        remaining = await limiter.peek('k').then(
          (one) => one.remaining,
          () => 0,
        )
      }
      expect((await limiter.peek('other')).remaining).toBe(10)
      await limiter.close()
    })

    it.each([
      ['allow', { allowed: true, granted: 1 }],
      ['refuse', { allowed: false, retryAfterMs: 1_000 }],
      ['a limiter', { allowed: true, remaining: 0 }],
    ] as const)('decides by whenStoreFails: %s', async (policy, decision) => {
      await using proxy = await startProxy(server)
      await proxy.refuse()
      const fallback = createRateLimiter(memoryTokenBucket(), {
        name: 'calls',
        quotas: [{ capacity: 1, refill: 1, perMs: hourMs }],
      })
      const whenStoreFails = policy === 'a limiter' ? fallback : policy
      const limiter = limiterOver(behind(proxy), uniqueName('policy'), { whenStoreFails })
      expect(await limiter.take('k')).toMatchObject(decision)
      await limiter.close()
    })

    it('puts tokens back once and resets once although the client sends them twice', async () => {
      await using proxy = await startProxy(server)
      const prefix = uniqueName('twice')
      const limiter = limiterOver(behind(proxy), prefix, { timeoutMs: 30_000 })
      const other = limiterOver(direct, prefix, { timeoutMs: 30_000 })
      await limiter.take('k', { cost: 9 })
      await limiter.refund('warm', 1)
      await limiter.reset('warm')

      let before = await callsOf(direct, 'evalsha')
      proxy.dropReplies(1)
      await limiter.refund('k', 2)
      expect(proxy.counters.droppedReplies).toBe(1)
      expect((await callsOf(direct, 'evalsha')) - before, 'the client sent it again').toBeGreaterThanOrEqual(2)
      expect((await other.peek('k')).remaining).toBe(3)

      before = await callsOf(direct, 'evalsha')
      proxy.dropReplies(1)
      const resetting = limiter.reset('k')
      while (proxy.counters.droppedReplies < 2) await sleep(1)
      await other.take('k', { cost: 4 }).catch(() => undefined)
      await resetting
      expect((await callsOf(direct, 'evalsha')) - before).toBeGreaterThanOrEqual(2)
      const { remaining } = await other.peek('k')
      // Whether the other take came between the two or after them, it is not forgotten.
      expect(remaining).toBe(6)
      await Promise.all([limiter.close(), other.close()])
    })

    describe('under load', () => {
      interface Fault {
        readonly happens: (proxy: FaultProxy) => Promise<unknown>
        /** How often it was felt, so that the test does not pass for want of a fault. */
        readonly felt: (proxy: FaultProxy, failed: number) => Promise<number>
      }
      const faults: [string, Fault][] = [
        ['connections are cut', { happens: async (proxy) => proxy.cut(), felt: async (proxy) => proxy.counters.cuts }],
        [
          'replies are lost',
          { happens: async (proxy) => proxy.dropReplies(1), felt: async (proxy) => proxy.counters.droppedReplies },
        ],
        [
          'scripts are flushed',
          { happens: () => direct.script('FLUSH'), felt: async () => (await callsOf(direct, 'eval')) - evalsBefore },
        ],
        [
          'Redis stalls for longer than the time-out',
          {
            happens: async (proxy) => {
              proxy.freeze()
              await sleep(timeoutMs + 200)
              proxy.thaw()
            },
            felt: async (_, failed) => failed,
          },
        ],
      ]
      let evalsBefore = 0
      it.each(faults)('admits no more than the quota while %s', async (_, { happens, felt }) => {
        evalsBefore = await callsOf(direct, 'eval')
        await using proxy = await startProxy(server)
        const prefix = uniqueName('load')
        const capacity = 40_000
        const options: Partial<RateLimiterOptions> = { quotas: [{ capacity, refill: 1, perMs: hourMs }] }
        const limiters = [
          limiterOver(behind(proxy), prefix, options),
          limiterOver(behind(proxy), prefix, { ...options, lease: { tokens: 500, leaseMs: 300 } }),
          limiterOver(direct, prefix, options),
        ]
        const tally = { admitted: 0, refused: 0, failed: 0, slowestMs: 0 }
        let over = false
        const caller = async (limiter: RateLimiter): Promise<void> => {
          while (!over) {
            const startedMs = performance.now()
            try {
              if ((await limiter.take('k')).allowed) tally.admitted++
              else tally.refused++
            } catch (error) {
              if (!(error instanceof StoreUnavailableError)) throw error
              tally.failed++
            }
            tally.slowestMs = Math.max(tally.slowestMs, performance.now() - startedMs)
            expect(tally.admitted).toBeLessThanOrEqual(capacity)
            // A lease and an empty bucket answer without leaving the turn.
            await sleep(0)
          }
        }
        const callers = limiters.flatMap((limiter) => Array.from({ length: 20 }, () => caller(limiter)))
        for (let n = 0; n < 12; n++) {
          await sleep(150)
          await happens(proxy)
        }
        const deadlineMs = performance.now() + 240_000
        while (tally.refused === 0 && performance.now() < deadlineMs) await sleep(20)
        over = true
        await Promise.all(callers)
        expect(tally.refused, 'the bucket was emptied').toBeGreaterThan(0)
        expect(tally.admitted).toBeLessThanOrEqual(capacity)
        expect(tally.admitted, 'what is lost is what was under way').toBeGreaterThan(capacity / 2)
        expect(tally.slowestMs).toBeLessThan(timeoutMs + slackMs)
        expect(await felt(proxy, tally.failed), 'the fault was felt').toBeGreaterThan(4)
        await Promise.all(limiters.map((limiter) => limiter.close()))
      })
    })

    it('leaves no key without a TTL, also with quotas of less than a second and half-gone tokens', async () => {
      const prefix = uniqueName('ttl')
      const quotas: RateLimiterOptions['quotas'][] = [
        [{ capacity: 1, refill: 1, perMs: 1 }],
        [{ capacity: 3, refill: 1_000, perMs: 0.5 }],
        [
          { capacity: 5, refill: 1, perMs: 300 },
          { capacity: 2, refill: 2, perMs: 10 },
        ],
        [{ capacity: 500_000, refill: 1, perMs: 1, initial: 50_000 }],
        [{ capacity: 1_000_000, refill: 1, perMs: 30 * 24 * hourMs }],
        [{ capacity: 4, refill: 4, perMs: 100, initial: 0 }],
      ]
      let seen = 0
      const scan = async (): Promise<string[]> => {
        const keys = await direct.keys(`${prefix}*`)
        for (const key of keys) {
          const ttl = await direct.pttl(key)
          // -2 is a key that has expired meanwhile; -1 is one that never will.
          expect(ttl, key).not.toBe(-1)
          if (ttl > 0) seen++
        }
        return keys
      }
      for (const [i, some] of quotas.entries()) {
        const limiter = createRateLimiter(redisTokenBucket(direct, { prefix: `${prefix}:${i}:` }), {
          name: 'calls',
          quotas: some,
          timeoutMs: 30_000,
        })
        for (let n = 0; n < 40; n++) {
          await Promise.all([limiter.take('k'), limiter.take('k', { cost: 1, atMost: true }), limiter.take(`k${n}`)])
          if (n % 10 === 0) await Promise.all([limiter.refund('k', 1), limiter.reset(`k${n}`), limiter.peek(`k${n}`)])
          if (n % 8 === 0) await scan()
        }
        await limiter.wait('k', { maxWaitMs: 20_000 }).catch(() => undefined)
        await limiter.close()
      }
      await scan()
      expect(seen).toBeGreaterThan(50)
      await sleep(2_000)
      const buckets = (await scan()).filter((key) => /:[012]:\{/.test(key) && !key.includes(':once:'))
      expect(buckets, 'an idle bucket leaves nothing behind').toEqual([])
    })

    it('answers in time while Redis is dead, and starts with new buckets when it is back without its data', async () => {
      const redis = new Redis(server.url)
      redis.on('error', () => undefined)
      clients.push(redis)
      const limiter = limiterOver(redis, uniqueName('killed'))
      await limiter.take('k', { cost: 10 })
      await server.kill()
      for (const { outcome, tookMs } of await Promise.all(everyCall(limiter).map(timed))) {
        expect(outcome).toMatchObject({ code: 'ERR_STORE_UNAVAILABLE' })
        expect(tookMs).toBeLessThan(timeoutMs + slackMs)
      }
      await server.restart()
      for (let allowed = false; !allowed; await sleep(50)) {
        allowed = await limiter.take('k').then(
          (one) => one.allowed,
          () => false,
        )
      }
      await limiter.close()
    })
  },
  { private: true },
)
