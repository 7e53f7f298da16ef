import { Redis } from 'ioredis'
import { createCache, memoryTier } from 'spillway/cache'
import { redisTier } from 'spillway/cache/redis'
import { createLock } from 'spillway/lock'
import { redisLock } from 'spillway/lock/redis'
import { createRateLimiter } from 'spillway/ratelimit'
import { redisTokenBucket } from 'spillway/ratelimit/redis'
import { createStock } from 'spillway/stock'
import { redisStock } from 'spillway/stock/redis'

const redis = new Redis(process.env['REDIS_URL'] ?? 'redis://127.0.0.1:6379')
const prefix = crypto.randomUUID()
{
  await using limiter = createRateLimiter(redisTokenBucket(redis, { prefix }), {
    name: 'api',
    quotas: [{ capacity: 1, refill: 1, perMs: 60_000 }],
  })
  await using lock = createLock(redisLock(redis))
  await using cache = createCache<string>([memoryTier({ maxEntries: 100 }), redisTier(redis, { prefix })], {
    name: 'names',
    load: async (id) => `name of ${id}`,
    ttlMs: 60_000,
  })
  await using stock = createStock(redisStock(redis, { prefix }))

  const calls = [await limiter.take('user 7'), await limiter.take('user 7')]
  const token = await lock.run(prefix, async ({ fencingToken }) => fencingToken)
  await stock.open('sku-1', 1)
  const sales = [
    await stock.sell({ orderId: 'order 1', sku: 'sku-1' }),
    await stock.sell({ orderId: 'order 2', sku: 'sku-1' }),
  ]
  const name = await cache.get('7')
  console.log(
    `redis: ${calls.map((call) => call.allowed).join()}; token ${token}; ${name}; ${sales.map((sale) => sale.ok).join()}`,
  )
}
redis.disconnect()
