// The code of docs/guides/stock.md.
import { Redis } from 'ioredis'
import { StoreUnavailableError } from 'spillway'
import { createStock, memoryStock, type Order, type SaleResult, type Stock } from 'spillway/stock'
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
/** Sells, and asks again with the same id for as long as the answer does not arrive. */
async function sellForSure(stock: Stock, order: Order, attempts = 5): Promise<SaleResult> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await stock.sell(order)
    } catch (error) {
      if (!(error instanceof StoreUnavailableError) || attempt === attempts) throw error
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

// #region reconcile
/** Makes the stock agree with the database. Answers the orders for which no unit is left, and those to write. */
async function reconcile(stock: Stock, sku: string, database: ReadonlyMap<string, Order>) {
  const unsold: Order[] = []
  for (const order of database.values()) {
    // An order that the stock still knows is replayed; one that it has lost is sold again.
    if (!(await stock.sell(order)).ok) unsold.push(order)
  }
  const unwritten: string[] = []
  for await (const { orderId } of stock.orders(sku)) if (!database.has(orderId)) unwritten.push(orderId)
  return { unsold, unwritten }
}
// #endregion reconcile

it('reconciles a stock that has lost sales with the database', async () => {
  const stock = createStock(memoryStock())
  await stock.open('shoe', 3)
  await stock.sell({ sku: 'shoe', orderId: 'known' })
  await stock.sell({ sku: 'shoe', orderId: 'published, not written yet' })
  const rows = ['known', 'lost', 'lost, and its unit sold to another'].map((orderId) => ({ sku: 'shoe', orderId }))
  const { unsold, unwritten } = await reconcile(stock, 'shoe', new Map(rows.map((row) => [row.orderId, row])))
  expect(unsold).toEqual([rows[2]])
  expect(unwritten).toEqual(['published, not written yet'])
  expect(await stock.level('shoe')).toMatchObject({ total: 3, available: 0, sold: 3 })
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
