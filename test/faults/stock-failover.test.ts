import { Redis } from 'ioredis'
import { expect, it, onTestFinished } from 'vitest'
import { createStock, type SoldOrder, type Stock, type StockOptions } from '../../src/stock/index.js'
import { redisStock } from '../../src/stock/redis/index.js'
import { startRedis } from '../services/index.js'
import { describeWithServices, uniqueName } from '../services/vitest.js'
import { startProxy } from '../support/proxy.js'
import { until } from '../support/until.js'

// A replica is promoted whose link was cut: it lacks the newest sales, and their units are on sale again there. The database
// of the test is a map, which has every order that was answered.

const units = 1_000
const patient = { timeoutMs: 30_000 }

const orderOf = (sku: string, name: string, i: number) => ({ sku, orderId: `${name}-${i}` })

describeWithServices(
  'a replica that lacks the newest sales when it takes over',
  ['redis'],
  ({ redis: replica }) => {
    const setUp = async () => {
      const master = await startRedis({ private: true })
      const admin = new Redis(replica.url)
      await admin.call('REPLICAOF', master.host, `${master.port}`)
      await until(async () => (await admin.info('replication')).includes('master_link_status:up'))
      const target = { host: master.host, port: master.port }
      const proxy = await startProxy(target)
      const prefix = `${uniqueName('failover')}:`
      const clients: Redis[] = []
      const open = (options: StockOptions = {}): Stock => {
        const client = new Redis(proxy.port, { retryStrategy: () => 20 })
        client.on('error', () => undefined)
        clients.push(client)
        return createStock(redisStock(client, { prefix }), { ...patient, ...options })
      }
      onTestFinished(async () => {
        for (const client of clients) client.disconnect()
        await proxy.stop()
        await admin.call('REPLICAOF', 'NO', 'ONE')
        admin.disconnect()
        await master.stop()
      })
      return {
        open,
        /** Waits until the replica has all that the master has, then cuts the link. */
        cutLink: async () => {
          const redis = clients[0] as Redis
          expect(await redis.wait(1, 10_000)).toBe(1)
          await admin.call('REPLICAOF', 'NO', 'ONE')
        },
        failOver: async () => {
          await master.kill()
          target.port = replica.port
          proxy.cut()
        },
      }
    }

    /** Sells under `count` ids, and writes down what sold. */
    const sellAll = async (
      stock: Stock,
      sku: string,
      name: string,
      count: number,
      database: Map<string, SoldOrder>,
    ) => {
      const orders = Array.from({ length: count }, (_, i) => orderOf(sku, name, i))
      const results = await Promise.all(orders.map((order) => stock.sell(order)))
      for (const [i, { orderId }] of orders.entries()) if (results[i]?.ok) database.set(orderId, { orderId })
      return results.filter(({ ok }) => ok).length
    }

    it.each<[string, StockOptions]>([
      ['without a gate', {}],
      ['with a gate', { local: { mode: 'gate', units: 400 } }],
    ])('sells nothing twice: the SKU is frozen, and reconciled with the database, %s', async (_name, options) => {
      const { open, cutLink, failOver } = await setUp()
      const sku = 'shoe'
      const database = new Map<string, SoldOrder>()
      const reconciled: unknown[] = []
      const onFrozen: StockOptions['onFrozen'] = async (frozen, reconcile) => {
        expect(frozen).toBe(sku)
        const { recorded, unsold, unknown } = await reconcile(database.values())
        reconciled.push({ recorded, unsold: unsold.length, unknown: unknown.length })
      }
      const stocks = [open({ ...options, onFrozen }), open({ ...options, onFrozen })] as [Stock, Stock]
      const [stock, other] = stocks
      await stock.open(sku, units)
      expect(await sellAll(stock, sku, 'before', 300, database)).toBe(300)
      await cutLink()
      // The replica will know nothing of these.
      expect(await sellAll(stock, sku, 'lost', 500, database)).toBe(500)
      expect(await sellAll(other, sku, 'lost-there', 100, database)).toBe(100)
      await failOver()

      const late = await stock.sell(orderOf(sku, 'late', 0)).catch((error: unknown) => error)
      expect(late).toMatchObject({ code: 'ERR_STORE_UNAVAILABLE', applied: 'no', message: /"shoe" is frozen/ })
      await until(() => reconciled.length > 0, 'the application was asked')
      expect(reconciled[0]).toEqual({ recorded: 600, unsold: 0, unknown: 0 })
      expect(await stock.level(sku)).toEqual({ total: units, available: 100, held: 0, sold: 900 })
      // What was sold before is replayed, by every process; the rest is sold once, and nothing more.
      for (const each of stocks) {
        expect(await each.sell(orderOf(sku, 'lost', 7))).toEqual({ ok: true, replayed: true })
        expect(await each.sell(orderOf(sku, 'lost-there', 7))).toEqual({ ok: true, replayed: true })
      }
      const more = await Promise.all(stocks.map((each, i) => sellAll(each, sku, `after-${i}`, 300, database)))
      expect(more[0]! + more[1]!).toBe(100)
      expect(database.size).toBe(units)
      expect(await stock.level(sku)).toEqual({ total: units, available: 0, held: 0, sold: units })
      await Promise.all(stocks.map((each) => each.close()))
    })

    it('lists every order, although a replica that lacks nothing takes over on the way', async () => {
      const { open, cutLink, failOver } = await setUp()
      const sku = 'shoe'
      const database = new Map<string, SoldOrder>()
      const stock = open()
      await stock.open(sku, 5_000)
      expect(await sellAll(stock, sku, 'sold', 5_000, database)).toBe(5_000)
      await cutLink()
      const listed: string[] = []
      for await (const { orderId } of stock.orders(sku)) {
        if (listed.length === 0) {
          await failOver()
          await until(() => stock.level(sku), 'the replica answers')
        }
        listed.push(orderId)
      }
      expect(new Set(listed).size).toBe(listed.length)
      expect(listed.length).toBe(5_000)
      await stock.close()
    })

    it('stays frozen for every process until somebody reconciles it by hand', async () => {
      const { open, cutLink, failOver } = await setUp()
      const sku = 'shoe'
      const database = new Map<string, SoldOrder>()
      const [stock, stranger] = [open(), open()] as [Stock, Stock]
      await stock.open(sku, 10)
      await stock.sell(orderOf(sku, 'before', 0))
      await cutLink()
      await sellAll(stock, sku, 'lost', 5, database)
      await stock.sell(orderOf(sku, 'unwritten', 0))
      await failOver()
      const frozen = { code: 'ERR_STORE_UNAVAILABLE', applied: 'no' }
      // A level can be read, and shows it to the store as well.
      expect(await stock.level(sku)).toMatchObject({ total: 10, sold: 1 })
      await expect(stranger.sell(orderOf(sku, 'late', 0))).rejects.toMatchObject(frozen)
      await expect(stranger.reserve({ ...orderOf(sku, 'late', 1), holdMs: 1_000 })).rejects.toMatchObject(frozen)
      await expect(stranger.refund('before-0', sku)).rejects.toMatchObject(frozen)
      await expect(stranger.sellTogether([orderOf(sku, 'late', 2)])).rejects.toMatchObject(frozen)
      expect(await stranger.reconcile(sku, database.values())).toEqual({
        recorded: 5,
        unsold: [],
        unknown: [{ orderId: 'before-0', quantity: 1, state: 'sold' }],
      })
      expect(await stock.sell(orderOf(sku, 'lost', 3))).toEqual({ ok: true, replayed: true })
      expect(await stock.sell(orderOf(sku, 'late', 0))).toEqual({ ok: true, replayed: false })
      expect(await stranger.level(sku)).toEqual({ total: 10, available: 3, held: 0, sold: 7 })
      await Promise.all([stock.close(), stranger.close()])
    })
  },
  { private: true },
)
