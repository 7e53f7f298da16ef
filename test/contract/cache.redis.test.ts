import { Cluster, Redis } from 'ioredis'
import { describe, it } from 'vitest'
import { cacheContract, writeBehindContract } from '../../src/cache/contract.js'
import { memoryTier } from '../../src/cache/index.js'
import { redisTier, redisWriteBehind } from '../../src/cache/redis/index.js'
import { sleep } from '../services/net.js'
import { describeWithServices, uniqueName } from '../services/vitest.js'

const onRealTime = (connect: () => Redis | Cluster): void => {
  /** A name and connections for a case. */
  const place = () => {
    const prefix = `${uniqueName('contract')}:`
    const clients: (Redis | Cluster)[] = []
    return {
      prefix,
      connection: () => {
        const redis = connect()
        clients.push(redis)
        return redis
      },
      // A timer may fire a little early by the server's clock.
      advance: (ms: number) => sleep(ms + 5),
      [Symbol.asyncDispose]: async () => clients.forEach((redis) => redis.disconnect()),
    }
  }

  describe('as a tier', () =>
    cacheContract(it.concurrent, async () => {
      const { prefix, connection, ...rest } = place()
      return {
        ...rest,
        tier: () => redisTier(connection(), { prefix }),
        memory: () => memoryTier({ maxEntries: 1_000 }),
      }
    }))

  describe('for write-behind', () =>
    writeBehindContract(it.concurrent, async () => {
      const { prefix, connection, ...rest } = place()
      return { ...rest, driver: () => redisWriteBehind(connection(), { prefix }) }
    }))
}

describeWithServices('Redis', ['redis'], ({ redis }) => onRealTime(() => new Redis(redis.url)))

describeWithServices('a Redis Cluster', ['redis-cluster'], (services) =>
  onRealTime(() => new Cluster([...services['redis-cluster'].nodes])),
)
