import { AsyncLocalStorage } from 'node:async_hooks'
import { Redis } from 'ioredis'
import { afterAll, describe, expect, it } from 'vitest'
import { systemClock } from '../../src/core/clock.js'
import {
  createStock,
  memoryStock,
  type SaleResult,
  type StockDriver,
  type StockOptions,
} from '../../src/stock/index.js'
import { redisStock } from '../../src/stock/redis/index.js'
import { describeWithServices, uniqueName } from '../services/vitest.js'
import { watchedDriver } from '../unit/stock/watched-driver.js'

// 20,000 calls of every verb in one tick, as they come when a sale begins or a queue of requests is let go. None is
// rejected, and what is done for each is a part of a shared round trip: that is counted, not timed. The default time-out
// of a second is what each must hold.

const herd = 20_000
const sku = 'shoe'

/** Makes the calls in one tick, and fails with what the first that was rejected says. */
const all = <T>(call: (i: number) => Promise<T>): Promise<T[]> =>
  Promise.all(Array.from({ length: herd }, (_, i) => call(i)))
const soldOf = (results: readonly SaleResult[]): number => results.filter((one) => one.ok && !one.replayed).length

const modes: [string, StockOptions][] = [
  ['without a gate', { timeoutMs: 30_000 }],
  ['with a gate', { timeoutMs: 30_000, local: { mode: 'gate', units: 120 } }],
]

function herds(newDriver: () => StockDriver): void {
  describe.each(modes)('%s', (_name, options) => {
    const setUp = () => {
      const driver = watchedDriver(systemClock, newDriver())
      return { stock: createStock(driver, options), trips: driver.trips }
    }
    /** A batch is 500 calls; some are under way before the herd has all come. */
    const mostTrips = 2 * Math.ceil(herd / 500)

    it('sells to a herd', async () => {
      const { stock, trips } = setUp()
      await stock.open(sku, 1_000_000)
      expect(soldOf(await all((i) => stock.sell({ sku, orderId: `o${i}` })))).toBe(herd)
      expect(trips.sell + trips.level).toBeLessThanOrEqual(2 * mostTrips)
      expect(await stock.level(sku)).toMatchObject({ sold: herd })
    })

    it('sells out to a herd, and sells every unit', async () => {
      const { stock, trips } = setUp()
      await stock.open(sku, 700)
      expect(soldOf(await all((i) => stock.sell({ sku, orderId: `o${i}`, buyer: { id: `b${i}`, limit: 1 } })))).toBe(
        700,
      )
      expect(trips.sell + trips.level).toBeLessThanOrEqual(2 * mostTrips)
    })

    it('opens, restocks, reads, lists, finds and removes for a herd', async () => {
      const { stock, trips } = setUp()
      const opened = await all(() => stock.open(sku, 5))
      expect(opened.filter(Boolean)).toHaveLength(1)
      await all((i) => stock.restock(sku, 1, { id: `r${i % (herd / 2)}` }))
      expect(trips.adjust).toBeLessThanOrEqual(2 * mostTrips)
      const levels = await all(() => stock.level(sku))
      for (const level of levels) expect(level).toMatchObject({ total: herd / 2 + 5 })
      expect(trips.level).toBeLessThanOrEqual(mostTrips)
      await stock.sell({ sku, orderId: 'a' })
      const found = await all((i) => stock.find(i % 2 ? 'a' : 'b', sku))
      expect(found.filter(Boolean)).toHaveLength(herd / 2)
      expect(trips.find).toBeLessThanOrEqual(mostTrips)
      const lists = await all(async () => {
        const seen: object[] = []
        for await (const order of stock.orders(sku)) seen.push(order)
        return seen
      })
      for (const list of lists) expect(list).toEqual([{ orderId: 'a', quantity: 1, state: 'sold' }])
      expect(new Set(lists.flat()).size, 'what one caller does with an order reaches no other').toBe(herd)
      expect(trips.orders).toBeLessThanOrEqual(mostTrips)
      const before = trips.adjust + trips.level
      await all(() => stock.remove(sku))
      expect(trips.adjust + trips.level - before).toBeLessThanOrEqual(2 * mostTrips)
      await expect(stock.level(sku)).rejects.toThrow(RangeError)
    })
  })
}

describe('a herd in memory', () => herds(() => memoryStock()))

// A server of its own: a herd leaves more keys than other tests can look through.
describeWithServices(
  'a herd in front of Redis',
  ['redis'],
  ({ redis: server }) => {
    const redis = new Redis(server.url)
    afterAll(() => redis.disconnect())
    herds(() => redisStock(redis, { prefix: `${uniqueName('herd')}:` }))

    it.each(modes)('makes its round trips in the context of no request, %s', async (_name, options) => {
      const request = new AsyncLocalStorage<string>()
      const contexts: unknown[] = []
      const real = redisStock(redis, { prefix: `${uniqueName('context')}:` })
      const note =
        <Args extends unknown[], Reply>(call: (...args: Args) => Reply) =>
        (...args: Args): Reply => {
          contexts.push(request.getStore())
          return call(...args)
        }
      await using stock = createStock(
        {
          adjust: note(real.adjust.bind(real)),
          sell: note(real.sell.bind(real)),
          sellTogether: note(real.sellTogether.bind(real)),
          settle: note(real.settle.bind(real)),
          level: note(real.level.bind(real)),
          orders: note(real.orders.bind(real)),
          find: note(real.find.bind(real)),
        },
        options,
      )
      await request.run('opener', () => stock.open(sku, 300))
      await Promise.all(
        Array.from({ length: 400 }, async (_, i) => {
          await new Promise((resolve) => setTimeout(resolve, i % 100))
          await request.run(`request ${i}`, async () => {
            await stock.reserve({ sku, orderId: `o${i}`, holdMs: 60_000 })
            await stock.confirm(`o${i}`, sku)
            await stock.sellTogether([{ sku, orderId: `o${i}` }])
            expect(request.getStore()).toBe(`request ${i}`)
          })
        }),
      )
      await request.run('remover', () => stock.remove(sku))
      expect(contexts.length).toBeGreaterThan(4)
      expect(new Set(contexts)).toEqual(new Set([undefined]))
    })
  },
  { private: true },
)
