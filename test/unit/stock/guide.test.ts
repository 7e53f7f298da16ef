// The code of docs/guides/stock.md.
import { setTimeout as sleep } from 'node:timers/promises'
import { Cluster, Redis } from 'ioredis'
import { StockFrozenError, StoreUnavailableError } from 'spillway'
import {
  createStock,
  memoryStock,
  type Order,
  type RecordedOrder,
  type SaleResult,
  type SoldOrder,
  type Stock,
} from 'spillway/stock'
import { redisStock } from 'spillway/stock/redis'
import { expect, it } from 'vitest'

it('sells', async () => {
  // #region selling
  await using stock = createStock(memoryStock())
  await stock.open('shoe', 1_000)

  const result = await stock.sell({ sku: 'shoe', orderId: 'o-17', buyer: { id: 'ann', limit: 2 } })
  if (result.ok) console.assert(!result.replayed, 'o-17 was new')
  else console.log(`${result.reason}, ${result.available} left`)
  // #endregion selling
  expect(result).toEqual({ ok: true, replayed: false })
  expect(await stock.level('shoe')).toMatchObject({ available: 999, sold: 1 })
})

it('is made over Redis, with a gate', async () => {
  const url = 'redis://127.0.0.1:1'
  const options = { lazyConnect: true }
  // #region gate
  const redis = new Redis(url, options)
  const stock = createStock(redisStock(redis, { prefix: 'shop:' }), {
    timeoutMs: 500,
    local: { mode: 'gate', units: 120 },
  })
  // #endregion gate
  await expect(stock.sell({ sku: 'shoe', orderId: '' })).rejects.toThrow(RangeError)
  await stock.close()
  redis.disconnect()
})

// #region settle
/** Sells, and asks again with the same id, up to `attempts` times, when the answer does not arrive. */
async function sellForSure(stock: Stock, order: Order, attempts = 5): Promise<SaleResult> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await stock.sell(order)
    } catch (error) {
      if (!(error instanceof StoreUnavailableError) || attempt === attempts) throw error
      await sleep(50 * 2 ** attempt)
    }
  }
}
// #endregion settle

it('settles an order whose answer was lost', async () => {
  const driver = memoryStock()
  let lost = 2
  const stock = createStock({
    ...driver,
    async sell(...args) {
      const replies = await driver.sell(...args)
      if (lost-- > 0) throw new Error('connection lost')
      return replies
    },
  })
  await stock.open('shoe', 10)
  expect(await sellForSure(stock, { sku: 'shoe', orderId: 'a' })).toEqual({ ok: true, replayed: true })
  expect(await stock.level('shoe')).toMatchObject({ sold: 1 })
})

it('tells a buyer of a frozen SKU to come back', async () => {
  const driver = memoryStock()
  const stock = createStock(driver)
  await stock.open('shoe', 10)
  const trip = { signal: new AbortController().signal, sending: () => undefined }
  await driver.adjust('shoe', [{ kind: 'freeze', token: 'other', quantity: 0, forMs: 60_000 }], trip)
  // #region frozen
  /** 202 with the order, 409 without, and 503 to come back a moment later. */
  async function statusOf(order: Order): Promise<number> {
    try {
      return (await stock.sell(order)).ok ? 202 : 409
    } catch (error) {
      if (error instanceof StockFrozenError) return 503
      throw error
    }
  }
  // #endregion frozen
  expect(await statusOf({ sku: 'shoe', orderId: 'a' })).toBe(503)
  expect(await statusOf({ sku: 'lace', orderId: 'a' })).toBe(409)
})

it('freezes a SKU that fell back, and reconciles it with the database', async () => {
  const redis = new Redis({ port: 1, lazyConnect: true })
  const queue = { empty: async () => undefined }
  const database = { ordersOf: (_sku: string): SoldOrder[] => [] }
  const publish = async (_orders: readonly RecordedOrder[]): Promise<void> => undefined
  const apologize = async (_orders: readonly SoldOrder[]): Promise<void> => undefined
  // #region failover
  const stock = createStock(redisStock(redis), {
    async onFrozen(sku, reconcile) {
      await queue.empty() // what was sold and is on its way is in the database then
      const { unsold, unknown } = await reconcile(database.ordersOf(sku))
      await publish(unknown.filter(({ state }) => state === 'sold'))
      await apologize(unsold)
    },
  })
  // #endregion failover
  await stock.close()
  redis.disconnect()
})

it('reconciles by hand a stock that has lost sales', async () => {
  const stock = createStock(memoryStock())
  await stock.open('shoe', 3)
  await stock.sell({ sku: 'shoe', orderId: 'known' })
  await stock.sell({ sku: 'shoe', orderId: 'published, not written yet' })
  const rows = ['known', 'lost', 'lost, and its unit sold to another'].map((orderId) => ({ orderId }))
  // #region reconcile
  const { recorded, unsold, unknown } = await stock.reconcile('shoe', rows, { total: 3 })
  // #endregion reconcile
  expect(recorded).toBe(1)
  expect(unsold).toEqual([rows[2]])
  expect(unknown.map(({ orderId }) => orderId)).toEqual(['published, not written yet'])
  expect(await stock.level('shoe')).toMatchObject({ total: 3, available: 0, sold: 3 })
})

it('holds, and sells when it is paid', async () => {
  const stock = createStock(memoryStock())
  await stock.open('seat', 2)
  const pay = async (orderId: string): Promise<boolean> => orderId === 'o-1'
  // #region hold
  /** A seat is set aside for ten minutes while its buyer pays. */
  async function buy(orderId: string, buyerId: string): Promise<string> {
    const order = { sku: 'seat', orderId, buyer: { id: buyerId, limit: 4 } }
    const held = await stock.reserve({ ...order, holdMs: 600_000 })
    if (!held.ok) return held.reason
    if (!(await pay(orderId))) {
      await stock.cancel(orderId, 'seat')
      return 'not paid'
    }
    const result = await stock.confirm(orderId, 'seat')
    return result === 'done' || result === 'already' ? 'sold' : result // 'expired': give the money back
  }
  // #endregion hold
  expect(await buy('o-1', 'ann')).toBe('sold')
  expect(await buy('o-2', 'bob')).toBe('not paid')
  expect(await stock.level('seat')).toEqual({ total: 2, available: 1, held: 0, sold: 1 })
  // #region refund
  const returned = await stock.refund('o-1', 'seat') // 'done'; and 'already' when it is asked again
  // #endregion refund
  expect(returned).toBe('done')
})

it('sells a basket whole or not at all', async () => {
  const stock = createStock(memoryStock())
  await Promise.all(['shoe', 'lace', 'sole'].map((sku) => stock.open(sku, 5)))
  // #region basket
  const basket = await stock.sellTogether([
    { sku: 'shoe', orderId: 'o-9' },
    { sku: 'lace', orderId: 'o-9', quantity: 2 },
    { sku: 'sole', orderId: 'o-9', quantity: 2 },
  ])
  if (!basket.ok) console.log(`number ${basket.refusedBy} is ${basket.reason}, ${basket.available} left`)
  // #endregion basket
  expect(basket).toEqual({ ok: true, replayed: false })
})

it('groups the SKUs of a Cluster that are sold together', async () => {
  const redis = new Redis({ port: 1, lazyConnect: true })
  // #region group
  const driver = redisStock(redis, { group: (sku) => sku.split('/')[0] as string }) // 'show-7/row-1' and 'show-7/row-2'
  // #endregion group
  expect(Object.keys(driver)).toContain('sellTogether')
  redis.disconnect()
})

it('spreads a SKU over shards', async () => {
  const cluster = new Cluster([{ port: 1 }], { lazyConnect: true })
  // #region shards
  const driver = redisStock(cluster, { shards: 4 }) // the same number in every process, until the SKU is removed
  // #endregion shards
  expect(driver.lane?.('shoe', 'o-1')).toBe(driver.lane?.('hat', 'o-1'))
  cluster.disconnect()
})

it('restocks under an id', async () => {
  const stock = createStock(memoryStock())
  await stock.open('shoe', 10)
  // #region restock
  await stock.restock('shoe', 50, { id: 'delivery-2024-07' })
  await stock.restock('shoe', 50, { id: 'delivery-2024-07' }) // changes nothing more
  await stock.restock('shoe', -20, { id: 'damaged-2024-07' })
  // #endregion restock
  expect(await stock.level('shoe')).toMatchObject({ total: 40, available: 40 })
})
