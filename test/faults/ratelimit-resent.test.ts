import { Cluster, Redis } from 'ioredis'
import { afterAll, describe, expect, it, onTestFinished } from 'vitest'
import { createRateLimiter, type RateLimiter, type RateLimiterOptions } from '../../src/ratelimit/index.js'
import { redisTokenBucket } from '../../src/ratelimit/redis/index.js'
import { redisCommand } from '../services/redis-fleet.js'
import { describeWithServices, uniqueName } from '../services/vitest.js'
import { startProxy, type FaultProxy } from '../support/proxy.js'
import { until } from '../support/until.js'

const quotas: RateLimiterOptions['quotas'] = [{ capacity: 20, refill: 1, perMs: 3_600_000 }]
const evalshas = async (port: number): Promise<number> =>
  Number(/cmdstat_evalsha:calls=(\d+)/.exec(String(await redisCommand(port, 'INFO', 'commandstats')))?.[1] ?? 0)

/** What a call leaves of 20 tokens, of which 10 had been taken. */
const verbs: [string, (limiter: RateLimiter) => Promise<unknown>, left: number][] = [
  ['take', (limiter) => limiter.take('k', { cost: 5 }), 5],
  ['take with atMost', (limiter) => limiter.take('k', { cost: 7, atMost: true }), 3],
  ['takes that share a trip', (limiter) => Promise.all([1, 2, 3].map((cost) => limiter.take('k', { cost }))), 4],
  ['wait', (limiter) => limiter.wait('k', { cost: 5 }), 5],
  ['refund', (limiter) => limiter.refund('k', 3), 13],
  ['refunds that share a trip', (limiter) => Promise.all([1, 2].map((tokens) => limiter.refund('k', tokens))), 13],
  ['charge', (limiter) => limiter.charge('k', 3), 7],
  ['reserve', (limiter) => limiter.reserve('k', { cost: 3 }), 7],
  ['reset', (limiter) => limiter.reset('k'), 20],
  ['peek', (limiter) => limiter.peek('k'), 10],
]

describeWithServices(
  'a call whose reply is cut, so that the client sends it again,',
  ['redis'],
  ({ redis: server }) => {
    const direct = new Redis(server.url)
    afterAll(() => direct.disconnect())

    async function setUp(options: Partial<RateLimiterOptions> = {}) {
      const proxy: FaultProxy = await startProxy(server)
      const redis = new Redis({ host: proxy.host, port: proxy.port })
      redis.on('error', () => undefined)
      const prefix = `${uniqueName('resent')}:`
      const over = (client: Redis, more: Partial<RateLimiterOptions> = {}): RateLimiter =>
        createRateLimiter(redisTokenBucket(client, { prefix }), { name: 'calls', quotas, timeoutMs: 60_000, ...more })
      const limiter = over(redis, options)
      const other = over(direct)
      onTestFinished(async () => {
        await limiter.close()
        redis.disconnect()
        await proxy.stop()
      })
      await other.take('k', { cost: 10 })
      // So that no script is sent whole, and the connection is there.
      const patient = over(redis)
      await Promise.all([patient.peek('k'), patient.refund('warm', 1), patient.reset('warm')])
      await patient.close()
      const sent = await evalshas(server.port)
      const resent = async (): Promise<number> => (await evalshas(server.port)) - sent - 1
      return { proxy, limiter, other, resent }
    }

    it.each(verbs)('%s has its effect once', async (_, call, left) => {
      const { proxy, limiter, other, resent } = await setUp()
      proxy.dropReplies(1)
      await call(limiter)
      expect(proxy.counters.droppedReplies).toBe(1)
      expect(await resent(), 'the client sent it again').toBeGreaterThanOrEqual(1)
      expect((await other.peek('k')).remaining).toBe(left)
    })

    it('answers what it answered first, whatever others did meanwhile', async () => {
      const { proxy, limiter, other, resent } = await setUp()
      proxy.dropReplies(1)
      const decision = limiter.take('k', { cost: 5 })
      await until(() => proxy.counters.droppedReplies === 1)
      await other.take('k', { cost: 10, atMost: true })
      expect(await decision).toMatchObject({ allowed: true, granted: 5, remaining: 5 })
      expect(await resent()).toBeGreaterThanOrEqual(2)
      expect((await other.peek('k')).remaining).toBe(0)
    })

    it('takes a block of a lease once', async () => {
      const { proxy, limiter, other, resent } = await setUp({ lease: { tokens: 4, leaseMs: 600_000 } })
      proxy.dropReplies(1)
      expect((await limiter.take('k')).granted).toBe(1)
      expect(await resent()).toBeGreaterThanOrEqual(1)
      expect((await other.peek('k')).remaining).toBe(6)
    })

    it('has its effect once however often that happens, and gives back what came too late', async () => {
      const { proxy, limiter, other } = await setUp({ timeoutMs: 1_500 })
      let granted = 0
      let failed = 0
      for (let n = 0; n < 12; n++) {
        if (n % 3 === 0) proxy.dropReplies(1)
        if (n % 4 === 1) proxy.freeze()
        const call = limiter.take('k').then(
          (one) => void (granted += one.granted),
          () => void failed++,
        )
        await call
        proxy.thaw()
      }
      expect(failed).toBeGreaterThan(0)
      await until(async () => (await other.peek('k')).remaining === 10 - granted)
    })
  },
  { private: true },
)

describeWithServices('on a Cluster', ['redis-cluster'], ({ 'redis-cluster': server }) => {
  const redis = new Cluster(server.nodes.map(({ host, port }) => ({ host, port })))
  afterAll(() => redis.disconnect())
  describe.each([[undefined], ['{shop}:'], ['a{b'], ['a}b{c}{d'], ['%{']])('with the prefix %s', (start) => {
    it('every call has its latch in its slot', async () => {
      const prefix = `${start ?? ''}${uniqueName('latch')}:`
      await using limiter = createRateLimiter(redisTokenBucket(redis, { prefix }), {
        name: 'calls',
        quotas,
        timeoutMs: 60_000,
      })
      const keys = Array.from({ length: 300 }, (_, i) => `${i}${'{x}'.repeat(i % 4)}`)
      for (let n = 0; n < 2; n++) {
        const decisions = await Promise.all(keys.map((key) => limiter.take(key)))
        expect(decisions.every(({ remaining }) => remaining === 19 - n)).toBe(true)
      }
      await Promise.all(keys.map((key) => limiter.refund(key, 1)))
      expect((await Promise.all(keys.map((key) => limiter.peek(key)))).every((one) => one.remaining === 19)).toBe(true)
    })
  })
})
