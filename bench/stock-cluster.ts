import { Cluster, Redis } from 'ioredis'
import { redisStock, type RedisStockOptions } from 'spillway/stock/redis'
import { startRedisCluster } from '../test/services/index.js'
import { measureOf, type Case } from './rush.js'
import { ours, scripts } from './stock-redis.js'

const shards = 4

/** Whether `redisStock` has the option yet. */
function hasShards(options: RedisStockOptions): boolean {
  try {
    redisStock(new Redis({ lazyConnect: true }), options)
    return true
  } catch {
    return false
  }
}

/** One hot SKU on a Cluster of three masters, in shards and in one slot. Empty where `redisStock` has no shards. */
export async function clusterCases(): Promise<{ readonly cases: readonly Case[] } & AsyncDisposable> {
  const options = { shards } as RedisStockOptions
  if (!hasShards(options)) return { cases: [], [Symbol.asyncDispose]: async () => undefined }
  const service = await startRedisCluster()
  const cluster = new Cluster([...service.nodes])
  const selling = {
    name: `selling, ${shards} shards, Cluster of 3 masters`,
    ours: measureOf(ours(cluster, options).selling),
    note: 'all servers share the cores of the client',
  }
  return {
    cases: [
      { ...selling, theirs: measureOf(ours(cluster).selling), peer: 'spillway, one shard' },
      { ...selling, theirs: measureOf(scripts(cluster).selling), peer: 'one EVALSHA per order' },
    ],
    async [Symbol.asyncDispose]() {
      cluster.disconnect()
      await service.stop()
    },
  }
}
