import { Cluster, Redis } from 'ioredis'
import { describe, expect, it, onTestFinished } from 'vitest'
import { stockContract } from '../../src/stock/contract.js'
import { createStock, type Order, type StockOptions } from '../../src/stock/index.js'
import { redisStock } from '../../src/stock/redis/index.js'
import { sleep } from '../services/net.js'
import { describeWithServices, uniqueName } from '../services/vitest.js'

interface Place {
  readonly connect: () => Redis | Cluster
  readonly group?: (sku: string) => string
  readonly baskets?: boolean
  readonly shards?: number
}

const onRealTime = ({ connect, group, baskets, shards }: Place, local?: StockOptions['local']): void =>
  stockContract(it.concurrent, async () => {
    const prefix = uniqueName('contract')
    const clients: (Redis | Cluster)[] = []
    return {
      driver() {
        const redis = connect()
        clients.push(redis)
        return redisStock(redis, { prefix: `${prefix}:`, group, shards })
      },
      ...{ local, baskets, ordered: shards === undefined },
      advance: (ms) => sleep(ms),
      [Symbol.asyncDispose]: async () => clients.forEach((redis) => redis.disconnect()),
    }
  })

const withAndWithoutGate = (place: Place): void => {
  describe('every order in the backend', () => onRealTime(place))
  describe('through a gate', () => onRealTime(place, { mode: 'gate', units: 500 }))
}

describeWithServices('redisStock', ['redis'], ({ redis }) =>
  withAndWithoutGate({ connect: () => new Redis(redis.url) }),
)

describeWithServices('redisStock on a Cluster', ['redis-cluster'], (services) => {
  const connect = (): Cluster => new Cluster([...services['redis-cluster'].nodes])
  describe('with SKUs in slots of their own', () => withAndWithoutGate({ connect, baskets: false }))
  describe('with 4 shards', () => withAndWithoutGate({ connect, baskets: false, shards: 4 }))
  describe('with 8 shards', () => onRealTime({ connect, baskets: false, shards: 8 }))
  describe('with all SKUs in one group', () => withAndWithoutGate({ connect, group: () => 'all of {them}' }))

  const stockOf = (group?: (sku: string) => string) => {
    const redis = connect()
    onTestFinished(() => redis.disconnect())
    return createStock(redisStock(redis, { prefix: `${uniqueName('group')}:`, group }), { timeoutMs: 30_000 })
  }

  it('sells together what a group keeps together, and nothing of several groups', async () => {
    const stock = stockOf((sku) => sku.split('/')[0] as string)
    const skus = ['red/hat', 'red/shoe', 'blue/hat']
    for (const sku of skus) await stock.open(sku, 2)
    const [hat, shoe, other] = skus.map((sku) => ({ sku, orderId: 'a' })) as [Order, Order, Order]
    const message = 'skus "red/hat" and "blue/hat" do not share a slot of the Cluster: give redisStock a group'
    for (const options of [undefined, { holdMs: 60_000 }]) {
      const apart = stock.sellTogether([hat, shoe, other], options)
      await expect(apart).rejects.toThrow(new RangeError(message))
    }
    for (const sku of skus) {
      expect(await stock.level(sku)).toEqual({ total: 2, available: 2, held: 0, sold: 0 })
      expect(await stock.find('a', sku)).toBeUndefined()
    }
    expect(await stock.sellTogether([hat, shoe])).toEqual({ ok: true, replayed: false })
    expect(await stock.sellTogether([other, other])).toEqual({ ok: true, replayed: false })
    expect(await Promise.all(skus.map((sku) => stock.level(sku)))).toMatchObject([
      { sold: 1 },
      { sold: 1 },
      { sold: 2 },
    ])
  })

  it('tells apart SKUs whose names and groups look alike', async () => {
    const stock = stockOf((sku) => (sku.length < 4 ? '}' : '{}'))
    const skus = ['a', 'a:', '{a}', '%7Ba}', ':a', '%', '%25', 'stock', 'a:stock']
    for (const [i, sku] of skus.entries()) expect(await stock.open(sku, i + 1)).toBe(true)
    for (const [i, sku] of skus.entries()) expect((await stock.level(sku)).total).toBe(i + 1)
  })
})

describeWithServices('a group that answers nothing that is a name', ['redis', 'redis-cluster'], (services) => {
  const clients = {
    'one server': () => new Redis(services.redis.url),
    'a Cluster': () => new Cluster([...services['redis-cluster'].nodes]),
  }
  const wrong: [answer: unknown, error: ErrorConstructor, message: string][] = [
    [undefined, TypeError, 'what group answers must be a string, got undefined'],
    [7, TypeError, 'what group answers must be a string, got 7'],
    ['', RangeError, 'what group answers must not be empty'],
    ['half \ud800', RangeError, 'what group answers must be well-formed Unicode'],
    ['x'.repeat(8_193), RangeError, 'what group answers must be at most 8192 bytes of UTF-8, got 8193'],
  ]

  it.each(Object.entries(clients))('has nothing sent, and is named: %s', async (_where, connect) => {
    const redis = connect()
    onTestFinished(() => redis.disconnect())
    for (const [answer, error, message] of wrong) {
      const stock = createStock(redisStock(redis, { group: () => answer as string }))
      const order = { sku: 'shoe', orderId: 'a' }
      const calls = [
        ...[stock.open('shoe', 1), stock.restock('shoe', 1), stock.remove('shoe'), stock.level('shoe')],
        ...[stock.sell(order), stock.reserve({ ...order, holdMs: 1_000 }), stock.sellTogether([order])],
        ...[stock.confirm('a', 'shoe'), stock.find('a', 'shoe'), stock.orders('shoe')[Symbol.asyncIterator]().next()],
      ]
      for (const outcome of await Promise.allSettled(calls)) {
        const { reason } = outcome as { readonly reason?: unknown }
        expect(reason).toBeInstanceOf(error)
        expect(reason).toMatchObject({ message: expect.stringContaining(message) as string })
      }
    }
  })
})
