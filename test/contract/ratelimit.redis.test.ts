import { Cluster, Redis } from 'ioredis'
import { it } from 'vitest'
import { rateLimitContract } from '../../src/ratelimit/contract.js'
import { redisTokenBucket } from '../../src/ratelimit/redis/index.js'
import { sleep } from '../services/net.js'
import { describeWithServices, uniqueName } from '../services/vitest.js'

const onRealTime = (connect: () => Redis | Cluster): void =>
  rateLimitContract(it, async () => {
    const redis = connect()
    const prefix = uniqueName('contract')
    return {
      driver: () => redisTokenBucket(redis, { prefix }),
      // A timer may fire a little early by the server's clock.
      advance: (ms) => sleep(ms + 5),
      [Symbol.asyncDispose]: async () => redis.disconnect(),
    }
  })

describeWithServices('redisTokenBucket', ['redis'], ({ redis }) => onRealTime(() => new Redis(redis.url)))

describeWithServices('redisTokenBucket on a Cluster', ['redis-cluster'], (services) =>
  onRealTime(() => new Cluster([...services['redis-cluster'].nodes])),
)
