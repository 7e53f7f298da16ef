import { setTimeout as sleep } from 'node:timers/promises'
import type { Redis } from 'ioredis'
import type { Kysely, Transaction } from 'kysely'
import { createCache, memoryTier, startWriteBehind } from 'spillway/cache'
import { redisTier, redisWriteBehind } from 'spillway/cache/redis'
import { createLock, createSemaphore, type Lock } from 'spillway/lock'
import { redisLock } from 'spillway/lock/redis'
import { zookeeperLock } from 'spillway/lock/zookeeper'
import { startConsumer, startPublisher, type Consumer, type QueueDriver } from 'spillway/queue'
import { sqlInbox } from 'spillway/queue/sql'
import { createRateLimiter } from 'spillway/ratelimit'
import { redisTokenBucket } from 'spillway/ratelimit/redis'
import { createStock } from 'spillway/stock'
import { redisStock } from 'spillway/stock/redis'
import { soakQuota } from './invariants.js'

/** One kind of load. `run` makes a few calls; what a fault makes fail is thrown, a broken promise goes to `broken`. */
export interface Load {
  readonly run: () => Promise<void>
  readonly close: () => Promise<unknown>
}

export interface LoadContext {
  readonly redis: Redis
  /** A client that no fault meets, for what the checks keep. */
  readonly check: Redis
  readonly zookeeper: string
  readonly queue: QueueDriver
  readonly db: Kysely<{ effects: { id: string } }>
  readonly topic: string
  readonly name: string
  /** Sets this process apart from all others, the ones before it included. */
  readonly process: string
  readonly random: () => number
  readonly broken: (what: string) => void
  readonly granted: (tokens: number) => void
  readonly published: (ids: readonly string[]) => void
  /** So many messages of the topic are not handled. */
  readonly left: (messages: number) => void
}

let made = 0
/** A key that nobody has used before: what is kept for it has to go again. */
const madeUp = ({ process }: LoadContext): string => `${process}-${(++made).toString(36)}`
const pick = ({ random }: LoadContext, count: number): number => Math.floor(random() * count)

async function limiterLoad(context: LoadContext): Promise<Load> {
  const driver = redisTokenBucket(context.redis, { prefix: `${context.name}:` })
  const limiter = createRateLimiter(driver, { name: 'calls', quotas: [soakQuota] })
  const leased = createRateLimiter(driver, {
    name: 'calls',
    quotas: [{ capacity: 1_000, refill: 1_000, perMs: 1_000 }],
    lease: { tokens: 20, leaseMs: 200 },
  })
  return {
    async run() {
      const { allowed } = await limiter.take('everybody')
      if (allowed) context.granted(1)
      await Promise.all([
        limiter.take(madeUp(context)),
        leased.take(`leased ${pick(context, 50)}`),
        leased.take(madeUp(context)),
      ])
      await limiter.wait(madeUp(context), { signal: AbortSignal.timeout(2_000) })
    },
    close: () => Promise.all([limiter.close(), leased.close()]),
  }
}

/** Takes the greatest token seen for a key; a smaller one that comes later is a holder that should know that it is none. */
const fence = `
local seen = tonumber(redis.call('GET', KEYS[1]) or '-1')
if tonumber(ARGV[1]) < seen then return 0 end
redis.call('SET', KEYS[1], ARGV[1], 'EX', 3600)
return 1`

async function lockLoad(context: LoadContext, lock: Lock, kind: string): Promise<Load> {
  async function hold(key: string): Promise<void> {
    await lock.run(
      key,
      async ({ signal, fencingToken }) => {
        if (signal.aborted) return
        const reply = await context.check.eval(fence, 1, `${context.name}:fence:${kind}:${key}`, String(fencingToken))
        if (reply === 0 && !signal.aborted) context.broken(`${kind}: a holder of ${key} came after a greater token`)
      },
      { ttlMs: 3_000, maxWaitMs: 5_000 },
    )
  }
  return {
    async run() {
      await Promise.all([hold(`hot ${pick(context, 3)}`), hold(`hot ${pick(context, 3)}`), hold(madeUp(context))])
    },
    close: () => lock.close(),
  }
}

async function semaphoreLoad(context: LoadContext): Promise<Load> {
  const seats = createSemaphore(redisLock(context.redis), { permits: 3, ttlMs: 3_000 })
  return {
    async run() {
      await using seat = await seats.acquire(`${context.name}:seats`, { maxWaitMs: 5_000 })
      if (!seat.signal.aborted) await context.check.ping()
    },
    close: () => seats.close(),
  }
}

async function cacheLoad(context: LoadContext): Promise<Load> {
  const versionOf = (key: string): string => `${context.name}:source:${key}`
  const cache = createCache<number>(
    [memoryTier({ maxEntries: 500 }), redisTier(context.redis, { prefix: `${context.name}:cache:` })],
    {
      name: 'soak',
      load: async (key) => Number((await context.check.get(versionOf(key))) ?? 0),
      ttlMs: 30_000,
      staleMs: 5_000,
      fleetLoadMs: 2_000,
      tags: (key) => [key.slice(0, 6)],
      onBackgroundError: () => undefined,
    },
  )
  return {
    async run() {
      const key = `own ${context.process} ${pick(context, 20)}`
      const version = await context.check.incr(versionOf(key))
      await context.check.expire(versionOf(key), 600)
      if (context.random() < 0.5) await cache.delete(key)
      else await cache.set(key, version)
      const got = (await cache.get(key)) ?? 0
      if (got < version) context.broken(`cache: ${key} was ${got} after it had been changed to ${version}`)
      await cache.getMany([madeUp(context), madeUp(context), 'shared 1', 'shared 2'])
      if (context.random() < 0.02) await cache.invalidateTag('shared')
    },
    close: () => cache.close(),
  }
}

async function writeBehindLoad(context: LoadContext): Promise<Load> {
  const totals = await startWriteBehind(redisWriteBehind(context.redis, { prefix: `${context.name}:totals:` }), {
    name: 'totals',
    delayMs: 200,
    flush: async () => {
      if (context.random() < 0.02) throw new Error('the database is away')
    },
    onBackgroundError: () => undefined,
  })
  return {
    run: async () =>
      void (await Promise.all([totals.touch(`item ${pick(context, 100)}`), totals.touch(madeUp(context))])),
    close: () => totals.close(),
  }
}

async function stockLoad(context: LoadContext): Promise<Load> {
  const stock = createStock(redisStock(context.redis, { prefix: `${context.name}:stock:` }), {
    local: { mode: 'gate', units: 50 },
  })
  return {
    async run() {
      const sku = madeUp(context)
      await stock.open(sku, 10)
      const orders = Array.from({ length: 12 }, (_, i) => ({ sku, orderId: `${context.process} ${i}` }))
      const sales = await Promise.allSettled(orders.map((order) => stock.sell(order)))
      const sold = sales.filter((sale) => sale.status === 'fulfilled' && sale.value.ok).length
      const away = sales.filter((sale) => sale.status === 'rejected').length
      const level = await stock.level(sku)
      if (level.sold + level.available !== 10 || level.available < 0) context.broken(`stock: ${JSON.stringify(level)}`)
      if (level.sold < sold || level.sold > sold + away) {
        context.broken(`stock: ${sold} orders were answered as sold and ${away} not at all, ${level.sold} are recorded`)
      }
      await stock.remove(sku)
      await stock.sell({ sku: madeUp(context), orderId: 'of nothing on sale' })
    },
    close: () => stock.close(),
  }
}

function startHandling({ queue, topic, name, db }: LoadContext): Promise<Consumer> {
  return startConsumer<string, Transaction<{ effects: { id: string } }>>(queue, {
    topic,
    group: name,
    inbox: sqlInbox(db),
    fromBeginning: true,
    concurrency: 4,
    deadLetterTopic: `${topic}.dead`,
    handleBatch: async (messages, { tx }) => {
      const rows = messages.map(({ body }) => ({ id: body }))
      await tx.insertInto('effects').values(rows).execute()
    },
    onBackgroundError: () => undefined,
  })
}

async function queueLoad(context: LoadContext): Promise<Load> {
  const { queue, topic } = context
  const publisher = await startPublisher<string>(queue, { topic, timeoutMs: 3_000 })
  const consumer = await startHandling(context).catch(async (error: unknown) => {
    // The start is tried again, with another publisher.
    await publisher.close()
    throw error
  })
  return {
    async run() {
      const ids = Array.from({ length: 5 }, () => madeUp(context))
      await publisher.publish(ids.map((id) => ({ id, key: `key ${pick(context, 10)}`, body: id })))
      context.published(ids)
    },
    async close() {
      await Promise.all([publisher.close(), consumer.close()])
    },
  }
}

async function drainLoad(context: LoadContext): Promise<Load> {
  const consumer = await startHandling(context)
  return {
    async run() {
      context.left(await consumer.lag())
      await sleep(200)
    },
    close: () => consumer.close(),
  }
}

/** Every load, by what starts it. A start that meets a fault rejects, and may be tried again. */
export const loads: Readonly<Record<string, (context: LoadContext) => Promise<Load>>> = {
  limiter: limiterLoad,
  lock: (context) => lockLoad(context, createLock(redisLock(context.redis)), 'redis'),
  async zookeeper(context) {
    const driver = zookeeperLock({ servers: context.zookeeper, path: `/${context.name}`, sessionTimeoutMs: 6_000 })
    const load = await lockLoad(context, createLock(driver), 'zookeeper')
    return { ...load, close: () => load.close().then(() => driver[Symbol.asyncDispose]()) }
  },
  semaphore: semaphoreLoad,
  cache: cacheLoad,
  'write-behind': writeBehindLoad,
  stock: stockLoad,
  queue: queueLoad,
}

/** What is left when there is no load any more: the messages that are not handled. */
export const drains: typeof loads = { queue: drainLoad }
