import { LRUCache } from 'lru-cache'
import { keyString, optionalFunction, positiveInteger } from '../../core/check.js'
import { knownOptions } from '../../core/options.js'
import { checkRedisClient, redisLane, tagSafe, type RedisClient } from '../../core/redis-client.js'
import { checkedPrefix } from '../../core/redis-prefix.js'
import type { StockDriver } from '../driver.js'
import { createSales } from './sales.js'
import { mostShards, shardName } from './shard-names.js'
import { createSharded } from './sharded.js'

/** SKUs whose shards' names are remembered. */
const mostNames = 10_000

/** Options of stock in Redis. */
export interface RedisStockOptions {
  /** What the names of all keys begin with. @defaultValue `'spillway:stock:'` */
  readonly prefix?: string | undefined
  /**
   * Names the group of a SKU: the keys of a group's SKUs lie in one slot of a Cluster, so that `sellTogether` can take them in
   * one step. It must give a SKU the same name at every call and in every process. @defaultValue every SKU is alone
   */
  readonly group?: ((sku: string) => string) | undefined
  /**
   * Spreads each SKU over so many slots of a Cluster, 1 to 16, for one SKU that is hotter than one of its servers. The
   * promises stay: units move between shards where an order needs them. Every process must give the same number, and it
   * stays until the SKU is removed (else StoreUnavailableError, `applied: 'no'`). `level` is then no snapshot, a sale that needs units of another shard takes more round
   * trips, and `sellTogether` takes no SKU. Not together with `group`. @defaultValue 1
   */
  readonly shards?: number | undefined
}

/**
 * Stock in Redis 6.2 or newer, Valkey, or a Redis Cluster, shared by every process that uses it: a Lua script decides all
 * orders of a trip in one step. A SKU's keys lie in one slot (of each shard), have no expiry, and are gone after `remove`. `redis` stays
 * yours to configure and to close.
 *
 * Redis replicates asynchronously: a failover may bring back units whose sale it lost. `orders` against your database shows which.
 */
export function redisStock(redis: RedisClient, options?: RedisStockOptions): StockDriver {
  checkRedisClient('redisStock: redis', redis)
  const known = knownOptions<RedisStockOptions>('redisStock', options, { prefix: true, group: true, shards: true })
  const { prefix = 'spillway:stock:' } = known
  const group = optionalFunction('group', known.group)
  const shards = positiveInteger('shards', known.shards ?? 1)
  if (shards > mostShards) throw new RangeError(`shards must be 1 to ${mostShards}, got ${shards}`)
  if (shards > 1 && group) throw new RangeError(`shards must be 1 where group is given, got ${shards}`)
  checkedPrefix(redis, prefix)
  if (shards > 1) {
    const names = new LRUCache<string, readonly string[]>({ max: mostNames })
    const namesOf = (sku: string): readonly string[] => {
      const known = names.get(sku) ?? Array.from({ length: shards }, (_, i) => shardName(prefix, sku, i, shards))
      names.set(sku, known)
      return known
    }
    return createSharded(
      Array.from({ length: shards }, (_, i) => createSales(redis, shards, (sku) => namesOf(sku)[i] as string)),
    )
  }
  const nameOf = (sku: string): string =>
    group
      ? `${prefix}{${tagSafe(keyString('what group answers', group(sku)))}}:${tagSafe(sku)}`
      : `${prefix}{${tagSafe(sku)}}`
  return {
    // Without shards no order is elsewhere.
    ...(createSales(redis, 1, nameOf) as StockDriver),
    // `group` is the caller's, and may answer anything.
    ...(group ? { checkSku: (sku: string) => void nameOf(sku) } : {}),
    ...(redis.isCluster === true ? { basketLane: (sku: string) => redisLane(redis, nameOf(sku)) } : {}),
  }
}
