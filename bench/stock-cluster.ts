import { Cluster } from 'ioredis'
import { startRedisCluster } from '../test/services/index.js'
import { measureOf, type Case } from './rush.js'
import { ours, scripts } from './stock-redis.js'

const shards = 4

/** One hot SKU on a Cluster of three masters, in shards and in one slot. */
export async function clusterCases(): Promise<{ readonly cases: readonly Case[] } & AsyncDisposable> {
  const service = await startRedisCluster()
  const cluster = new Cluster([...service.nodes])
  const selling = {
    name: `selling, ${shards} shards, Cluster of 3 masters`,
    ours: measureOf(ours(cluster, { shards }).selling),
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
