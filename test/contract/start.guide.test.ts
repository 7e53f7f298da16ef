// The code of docs/guides/start.md, on a real Redis.
import fastify, { type FastifyInstance } from 'fastify'
import { Redis } from 'ioredis'
import { ClosedError } from 'spillway'
import { createCache, memoryTier } from 'spillway/cache'
import { redisTier } from 'spillway/cache/redis'
import { createLock } from 'spillway/lock'
import { redisLock } from 'spillway/lock/redis'
import { memoryQueue, startConsumer, startPublisher } from 'spillway/queue'
import { createRateLimiter } from 'spillway/ratelimit'
import { redisTokenBucket } from 'spillway/ratelimit/redis'
import { expect, it, onTestFinished } from 'vitest'
import { describeWithServices } from '../services/vitest.js'

describeWithServices(
  'the guide to the start',
  ['redis'],
  ({ redis: server }) => {
    const { url } = server

    /** One process of a service. */
    function startProcess(): { app: FastifyInstance; redis: Redis } {
      const app = fastify()
      // #region redis
      const redis = new Redis(url)
      redis.on('error', (error) => app.log.error(error)) // ioredis reconnects by itself

      const limiter = createRateLimiter(redisTokenBucket(redis), {
        name: 'hello',
        quotas: [{ capacity: 3, refill: 1, perMs: 1_000 }],
        timeoutMs: 200,
        whenStoreFails: 'allow', // or 'refuse', 'throw', or a limiter in memory
      })
      // #endregion redis
      app.get('/hello', async (_request, reply) => {
        const decision = await limiter.take('everybody')
        return reply.code(decision.allowed ? 200 : 429).send()
      })
      onTestFinished(async () => {
        await app.close()
        await limiter.close()
        redis.disconnect()
      })
      return { app, redis }
    }

    it('shares a bucket between processes', async () => {
      const processes = [startProcess(), startProcess()]
      for (const { redis } of processes) await redis.ping()
      const ask = (app: FastifyInstance) => Array.from({ length: 10 }, async () => app.inject({ url: '/hello' }))
      const answers = await Promise.all(processes.flatMap(({ app }) => ask(app)))
      // A call that takes longer than 200 ms is let through.
      const statuses = answers.map(({ statusCode }) => statusCode)
      expect(statuses).toContain(200)
      expect(new Set([...statuses, 429])).toEqual(new Set([200, 429]))
    })

    it('closes in the order in which one part needs another', async () => {
      const queue = memoryQueue()
      const app = fastify()
      const redis = new Redis(url)
      const limiter = createRateLimiter(redisTokenBucket(redis), {
        name: 'hello',
        quotas: [{ capacity: 3, refill: 1, perMs: 1_000 }],
      })
      const lock = createLock(redisLock(redis), { timeoutMs: 30_000 })
      const cache = createCache([memoryTier({ maxEntries: 100 }), redisTier(redis)], {
        name: 'hello',
        load: (key) => key,
        ttlMs: 60_000,
      })
      const publisher = await startPublisher<string>(queue, { topic: 'hello' })
      const consumer = await startConsumer(queue, { topic: 'hello', group: 'hello', handle: () => undefined })
      // #region close
      async function shutDown(): Promise<void> {
        await app.close() // 1. accepts nothing more, and answers what is under way
        await consumer.close() // 2. waits for handlers, up to `drainMs`, and commits what they finished
        await publisher.close() // 3. waits for what is on its way
        await lock.close() // 4. tells those who still hold, then frees their keys
        await Promise.all([cache.close(), limiter.close()]) // 5. also stock and write-behind
        await redis.quit() // 6. the clients last: they are yours
      }
      process.once('SIGTERM', () => {
        setTimeout(() => process.exit(1), 30_000).unref() // if something hangs
        void shutDown()
      })
      // #endregion close
      process.off('SIGTERM', process.listeners('SIGTERM').at(-1) as () => void)
      const lease = await lock.acquire('k', { maxWaitMs: 20_000 })
      await shutDown()
      expect(lease.signal.aborted).toBe(true)
      await expect(limiter.take('k')).rejects.toThrow(ClosedError)
      await expect(publisher.publish({ id: '1', body: 'x' })).rejects.toThrow(ClosedError)
      await expect.poll(() => redis.status, { timeout: 20_000 }).toBe('end')
    })
  },
  { private: true },
)
