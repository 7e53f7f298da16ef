import type { Cluster, Redis } from 'ioredis'
import { createLock, type Lock } from 'spillway/lock'
import { redisLock } from 'spillway/lock/redis'
import { redisStock } from 'spillway/stock/redis'
import type { Options } from '../options.js'
import { skuOf, type Sale } from '../../shared/selling/sales.js'
import type { Database } from '../../shared/selling/tables.js'
import { lockedSeller } from './locked.js'
import { migrateOptimistic, optimisticSeller } from './optimistic.js'
import { redisCounts } from './redis-counts.js'
import { stockSeller, type Seller } from '../../shared/selling/seller.js'
import type { Selling, Strategy } from './seller.js'

/** What a lock's strategy calls its things. Each has counts of its own, since its tokens say nothing about another's. */
export const lockedNames = (strategy: Strategy, prefix: string) => ({
  counts: `${prefix}${strategy}:`,
  lockKey: (sku: string): string => `${prefix}lock:${sku}`,
})

/** A strategy on the servers of the full stack; `prefix` begins its keys in Redis. */
export async function sellOnServers(
  { strategy, zookeeper }: Pick<Options, 'strategy' | 'zookeeper'>,
  { redis, db, prefix }: { readonly redis: Redis | Cluster; readonly db: Database; readonly prefix: string },
): Promise<Selling> {
  const stock = stockSeller(redisStock(redis, { prefix }))
  const optimistic = optimisticSeller(db)
  const countsOf = (name: Strategy) => redisCounts(redis, lockedNames(name, prefix).counts)
  const places: Readonly<Record<Strategy, Pick<Seller, 'remove'>>> = {
    stock: stock(),
    optimistic,
    'redis-lock': countsOf('redis-lock'),
    'zookeeper-lock': countsOf('zookeeper-lock'),
  }
  const lockedBy = (lock: Lock): Seller => lockedSeller(lock, countsOf(strategy), lockedNames(strategy, prefix).lockKey)
  const common = {
    prepare: () => migrateOptimistic(db, 'mysql'),
    async retire(sale: Sale): Promise<void> {
      for (const [name, place] of Object.entries(places)) {
        if (name !== strategy) await place.remove(skuOf({ ...sale, soldBy: name }))
      }
    },
    close: async (): Promise<void> => undefined,
  }

  switch (strategy) {
    case 'stock':
      return { ...common, seller: stock }
    case 'optimistic':
      return { ...common, seller: () => optimistic }
    case 'redis-lock': {
      const lock = createLock(redisLock(redis))
      const seller = lockedBy(lock)
      return { ...common, seller: () => seller, close: () => lock.close() }
    }
    case 'zookeeper-lock': {
      // Its client is loaded for those who lock with it.
      const { zookeeperLock } = await import('spillway/lock/zookeeper')
      const driver = zookeeperLock({ servers: zookeeper as string })
      const lock = createLock(driver, { timeoutMs: 3_000 })
      const seller = lockedBy(lock)
      return {
        ...common,
        seller: () => seller,
        check: { zookeeper: async () => (await lock.tryAcquire(`${prefix}ready`))?.release() },
        async close() {
          await lock.close()
          await driver[Symbol.asyncDispose]()
        },
      }
    }
  }
}
