import { Redis } from 'ioredis'
import { expect, it, onTestFinished } from 'vitest'
import type { StoreUnavailableError } from '../../src/index.js'
import { createStock } from '../../src/stock/index.js'
import { redisStock } from '../../src/stock/redis/index.js'
import { freePort } from '../services/net.js'

it.each([undefined, { mode: 'gate', units: 5 } as const])(
  'a Redis that nobody can reach is named as the cause, with the state of its client, with local %o',
  async (local) => {
    const port = await freePort()
    const redis = new Redis({ port, host: '127.0.0.1', retryStrategy: () => 50 })
    redis.on('error', () => undefined)
    onTestFinished(() => redis.disconnect())
    const stock = createStock(redisStock(redis), { timeoutMs: 1_000, local })
    const calls = [
      stock.open('a', 1),
      stock.restock('a', 1),
      stock.sell({ sku: 'a', orderId: 'b' }),
      stock.level('a'),
      stock.find('b', 'a'),
      stock.remove('a'),
      stock.orders('a')[Symbol.asyncIterator]().next(),
    ]
    const failures = await Promise.all(calls.map((call) => call.catch((error: StoreUnavailableError) => error)))
    for (const error of failures as StoreUnavailableError[]) {
      expect(error).toMatchObject({ code: 'ERR_STORE_UNAVAILABLE', applied: 'no' })
      const why = /the Redis client is not ready \(its status is '\w+'\): connect ECONNREFUSED 127\.0\.0\.1:/
      expect(error.message).toMatch(why)
      expect((error.cause as Error).message).toMatch(why)
      expect((error.cause as Error).cause).toMatchObject({ code: 'ECONNREFUSED', port })
    }
    await stock.close()
  },
)
