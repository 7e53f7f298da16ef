// The same for what takes the clients of others: ioredis, kafkajs, Kysely.
import type { Cluster, Redis } from 'ioredis'
import type { Kafka } from 'kafkajs'
import type { Kysely } from 'kysely'
import { createCache, memoryTier } from 'spillway/cache'
import { redisTier, redisWriteBehind } from 'spillway/cache/redis'
import { createLock } from 'spillway/lock'
import { redisLock } from 'spillway/lock/redis'
import { redlockLock } from 'spillway/lock/redlock'
import { zookeeperLock } from 'spillway/lock/zookeeper'
import { memoryQueue, startConsumer, startPublisher, type Message } from 'spillway/queue'
import { kafkaQueue } from 'spillway/queue/kafka'
import { sqlInbox } from 'spillway/queue/sql'
import { createRateLimiter } from 'spillway/ratelimit'
import { redisTokenBucket } from 'spillway/ratelimit/redis'
import { createStock } from 'spillway/stock'
import { redisStock } from 'spillway/stock/redis'

interface Order {
  readonly total: number
}
interface Tables {
  orders: { id: string; total: number }
}
declare const redis: Redis | Cluster
declare const nodes: readonly Redis[]
declare const kafka: Kafka
declare const db: Kysely<Tables>
declare const maybe: { readonly text: string | undefined; readonly ms: number | undefined }

export function drivers(): void {
  const limit = { name: 'api', quotas: [{ capacity: 10, refill: 1, perMs: 1_000 }] }
  createRateLimiter(redisTokenBucket(redis, { prefix: maybe.text }), limit)
  createLock(redisLock(redis))
  createLock(redlockLock(nodes))
  createLock(zookeeperLock({ servers: 'localhost:2181', path: maybe.text, sessionTimeoutMs: maybe.ms }))
  createStock(redisStock(redis, { prefix: maybe.text }))
  redisWriteBehind(redis, { prefix: maybe.text })
  createCache<Order>([memoryTier({ maxEntries: 10 }), redisTier(redis, { prefix: maybe.text })], {
    name: 'orders',
    ttlMs: 1_000,
    load: async () => undefined,
  })

  // @ts-expect-error a client where the driver goes
  createRateLimiter(redis, limit)
  // @ts-expect-error a prefix is an option
  redisTokenBucket(redis, 'foo:')
}

export async function queue(): Promise<void> {
  await startPublisher<Order>(kafkaQueue(kafka), { topic: 'orders' })
  const base = { topic: 'orders', group: 'writer' }
  const inbox = sqlInbox(db, { table: maybe.text, retentionMs: maybe.ms })
  // The transaction is that of the inbox, with the tables of its database. No type argument is needed.
  await startConsumer(memoryQueue(), {
    ...base,
    inbox,
    handle: async ({ id, body }: Message<Order>, { tx }) => {
      await tx.insertInto('orders').values({ id, total: body.total }).execute()
      // @ts-expect-error there is no such table
      tx.insertInto('invoices')
    },
  })
  await startConsumer(memoryQueue(), {
    ...base,
    inbox: sqlInbox(db),
    handleBatch: async (messages: readonly Message<Order>[], { tx }) => {
      const rows = messages.map(({ id, body }) => ({ id, total: body.total }))
      await tx.insertInto('orders').values(rows).execute()
    },
  })

  // @ts-expect-error a client where the driver goes
  await startPublisher<Order>(kafka, { topic: 'orders' })
}

// @ts-expect-error internal names are not exported
export type { redisTokenBucketAt } from 'spillway/ratelimit/redis'
