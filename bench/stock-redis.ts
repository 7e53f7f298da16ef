import { createHash } from 'node:crypto'
import type { Cluster, Redis } from 'ioredis'
import { createStock } from 'spillway/stock'
import { redisStock, type RedisStockOptions } from 'spillway/stock/redis'
import { freshName, plenty, type Seller } from './rush.js'

const holdMs = 60_000

// Nothing remembers an id that was refused. These are flat strings, as a parser of requests makes them.
const lateIds = Array.from({ length: 65_536 }, (_, i) => Buffer.from(`late-${i}`).toString())
const lateId = (caller: number, order: number): string => lateIds[(caller * 131 + order) & 65_535] as string

/** Spillway in Redis. */
export const ours = (redis: Redis | Cluster, options?: RedisStockOptions) => {
  const open = async (skus: number) => {
    const stock = createStock(redisStock(redis, options), { timeoutMs: 10_000 })
    const names = Array.from({ length: skus }, freshName)
    for (const sku of names) await stock.open(sku, plenty)
    const close = async (): Promise<void> => {
      for (const sku of names) await stock.remove(sku)
      await stock.close()
    }
    return { stock, sku: names[0] as string, names, close }
  }
  return {
    selling: async () => {
      const { stock, sku, close } = await open(1)
      const ask = (orderId: string) => stock.sell({ sku, orderId })
      const record = (ids: readonly string[]) => Promise.all(ids.map(ask))
      return { ask, expects: ({ ok }: { ok: boolean }) => ok, record, close }
    },
    soldOut: async () => {
      const stock = createStock(redisStock(redis), { local: { mode: 'gate', units: 1_200 } })
      const sku = freshName()
      await stock.open(sku, 1_000)
      for (let i = 0; i < 1_002; i++) await stock.sell({ sku, orderId: `buyer-${i}` })
      return {
        ask: (orderId: string) => stock.sell({ sku, orderId }),
        expects: ({ ok }: { ok: boolean }) => !ok,
        idOf: lateId,
        async close() {
          await stock.remove(sku)
          await stock.close()
        },
      }
    },
    holding: async () => {
      const { stock, sku, close } = await open(1)
      const ask = async (orderId: string): Promise<string> => {
        const held = await stock.reserve({ sku, orderId, holdMs })
        return held.ok ? stock.confirm(orderId, sku) : held.reason
      }
      return { ask, expects: (answer: string) => answer === 'done', close }
    },
    baskets: async () => {
      const { stock, names, close } = await open(3)
      const ask = (orderId: string) => stock.sellTogether(names.map((sku) => ({ sku, orderId })))
      return { ask, expects: ({ ok }: { ok: boolean }) => ok, close }
    },
  }
}

// The peers: what an order costs when each has a script call of its own. They record the id and count, no more.
const sellScript = `
if redis.call('HEXISTS', KEYS[2], ARGV[1]) == 1 then return 2 end
local left = tonumber(redis.call('GET', KEYS[1]))
if left < 1 then return 0 end
redis.call('SET', KEYS[1], left - 1)
redis.call('HSET', KEYS[2], ARGV[1], 1)
return 1
`
const holdScript = `
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local ended = redis.call('ZRANGEBYSCORE', KEYS[3], '-inf', now, 'LIMIT', 0, 100)
for _, id in ipairs(ended) do
  redis.call('ZREM', KEYS[3], id)
  redis.call('HSET', KEYS[2], id, 'e')
  redis.call('INCR', KEYS[1])
end
if redis.call('HEXISTS', KEYS[2], ARGV[1]) == 1 then return 2 end
local left = tonumber(redis.call('GET', KEYS[1]))
if left < 1 then return 0 end
redis.call('SET', KEYS[1], left - 1)
redis.call('HSET', KEYS[2], ARGV[1], 'h')
redis.call('ZADD', KEYS[3], now + ARGV[2], ARGV[1])
return 1
`
const confirmScript = `
if redis.call('HGET', KEYS[2], ARGV[1]) ~= 'h' then return 0 end
local time = redis.call('TIME')
if tonumber(redis.call('ZSCORE', KEYS[3], ARGV[1])) <= time[1] * 1000 + math.floor(time[2] / 1000) then return 2 end
redis.call('ZREM', KEYS[3], ARGV[1])
redis.call('HSET', KEYS[2], ARGV[1], 's')
return 1
`
const basketScript = `
for i = 1, 3 do
  if redis.call('HEXISTS', KEYS[i + 3], ARGV[1]) == 1 then return 2 end
  if tonumber(redis.call('GET', KEYS[i])) < 1 then return 0 end
end
for i = 1, 3 do
  redis.call('DECR', KEYS[i])
  redis.call('HSET', KEYS[i + 3], ARGV[1], 1)
end
return 1
`

/** A script as one EVALSHA a call. */
function caller(redis: Redis | Cluster, source: string, keys: readonly string[]) {
  const sha1 = createHash('sha1').update(source).digest('hex')
  const client = redis as Redis
  let known = false
  return async (...args: readonly (string | number)[]): Promise<unknown> => {
    if (known) return client.evalsha(sha1, keys.length, ...keys, ...args)
    const reply = await client.eval(source, keys.length, ...keys, ...args)
    known = true
    return reply
  }
}

/** One script per order in Redis. */
export const scripts = (redis: Redis | Cluster) => {
  const seller = async (units: number, expected: number, idOf?: Seller['idOf']) => {
    const name = freshName()
    const keys = [`{${name}}:stock`, `{${name}}:orders`] as const
    await redis.set(keys[0], units)
    const sell = caller(redis, sellScript, keys)
    return {
      ask: (orderId: string) => sell(orderId),
      expects: (reply: unknown) => reply === expected,
      ...(idOf && { idOf }),
      record: (ids: readonly string[]) => redis.hset(keys[1], ...ids.flatMap((id) => [id, '1'])),
      close: () => redis.unlink(...keys),
    }
  }
  return {
    selling: () => seller(plenty, 1),
    soldOut: () => seller(0, 0, lateId),
    holding: async (): Promise<Seller> => {
      const name = freshName()
      const keys = [`{${name}}:stock`, `{${name}}:orders`, `{${name}}:holds`] as const
      await redis.set(keys[0], plenty)
      const [hold, confirm] = [caller(redis, holdScript, keys), caller(redis, confirmScript, keys)]
      return {
        ask: async (orderId) => ((await hold(orderId, holdMs)) === 1 ? confirm(orderId) : undefined),
        expects: (reply) => reply === 1,
        close: () => redis.unlink(...keys),
      }
    },
    baskets: async (): Promise<Seller> => {
      const names = Array.from({ length: 3 }, freshName)
      const [stocks, orders] = [names.map((name) => `${name}:stock`), names.map((name) => `${name}:orders`)]
      for (const stock of stocks) await redis.set(stock, plenty)
      const sell = caller(redis, basketScript, [...stocks, ...orders])
      return {
        ask: (orderId) => sell(orderId),
        expects: (reply) => reply === 1,
        close: () => redis.unlink(...stocks, ...orders),
      }
    },
  }
}
