import { Cluster, Redis } from 'ioredis'
import { it } from 'vitest'
import { lockContract } from '../../src/lock/contract.js'
import { redisLock } from '../../src/lock/redis/index.js'
import { sleep } from '../services/net.js'
import { describeWithServices } from '../services/vitest.js'

/** Redisson's layout has no prefix that would keep the cases apart, so each begins with an empty server of its own. */
const onRealTime = (connect: () => Redis | Cluster, empty: (client: Redis | Cluster) => Promise<unknown>): void =>
  lockContract(it, async () => {
    const clients: (Redis | Cluster)[] = []
    const open = (): Redis | Cluster => {
      const redis = connect()
      clients.push(redis)
      return redis
    }
    await empty(open())
    return {
      driver: () => redisLock(open()),
      advance: (ms) => sleep(ms),
      [Symbol.asyncDispose]: async () => clients.forEach((redis) => redis.disconnect()),
    }
  })

const own = { private: true }

describeWithServices(
  'redisLock',
  ['redis'],
  ({ redis }) =>
    onRealTime(
      () => new Redis(redis.url),
      (client) => client.flushall(),
    ),
  own,
)

describeWithServices(
  'redisLock on a Cluster',
  ['redis-cluster'],
  (services) =>
    onRealTime(
      () => new Cluster([...services['redis-cluster'].nodes]),
      async (client) => {
        await client.ping()
        await Promise.all((client as Cluster).nodes('master').map((node) => node.flushall()))
      },
    ),
  own,
)
