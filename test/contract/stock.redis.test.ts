import { Cluster, Redis } from 'ioredis'
import { describe, it } from 'vitest'
import { stockContract } from '../../src/stock/contract.js'
import type { StockOptions } from '../../src/stock/index.js'
import { redisStock } from '../../src/stock/redis/index.js'
import { sleep } from '../services/net.js'
import { describeWithServices, uniqueName } from '../services/vitest.js'

const onRealTime = (connect: () => Redis | Cluster, local?: StockOptions['local']): void =>
  stockContract(it, async () => {
    const prefix = uniqueName('contract')
    const clients: (Redis | Cluster)[] = []
    return {
      driver() {
        const redis = connect()
        clients.push(redis)
        return redisStock(redis, { prefix: `${prefix}:` })
      },
      ...(local ? { local } : {}),
      advance: (ms) => sleep(ms),
      [Symbol.asyncDispose]: async () => clients.forEach((redis) => redis.disconnect()),
    }
  })

const withAndWithoutGate = (connect: () => Redis | Cluster): void => {
  describe('every order in the backend', () => onRealTime(connect))
  describe('through a gate', () => onRealTime(connect, { mode: 'gate', units: 500 }))
}

describeWithServices('redisStock', ['redis'], ({ redis }) => withAndWithoutGate(() => new Redis(redis.url)))

describeWithServices('redisStock on a Cluster', ['redis-cluster'], (services) =>
  withAndWithoutGate(() => new Cluster([...services['redis-cluster'].nodes])),
)
