import type { SoldOrder, StockLevel } from 'spillway/stock'
import { inTime } from '../database.js'
import { NoAnswer } from '../processes.js'
import { advanceGeneration, skuOf, type Sale } from './sales.js'
import type { Stores } from './stores.js'
import type { Seller } from './seller.js'
import type { Database } from './tables.js'

const page = 500

/** All rows of a query, page by page; `read` answers with those whose order id comes after `after`, in the order of their ids. */
export async function* pages<Row extends { readonly order_id: string }>(
  read: (after: string, most: number) => Promise<readonly Row[]>,
): AsyncGenerator<readonly Row[]> {
  for (let after = ''; ;) {
    const rows = await inTime(read(after, page))
    yield rows
    const last = rows.at(-1)
    if (!last || rows.length < page) return
    after = last.order_id
  }
}

/** What a stock answers; `undefined` if it does not know the SKU. */
export async function ifOnSale<T>(answer: Promise<T>): Promise<T | undefined> {
  try {
    return await answer
  } catch (error) {
    if (error instanceof RangeError) return undefined
    throw error
  }
}

/** Whether the stock knows the SKU. */
export const isOnSale = async (stock: Seller, sku: string): Promise<boolean> =>
  (await ifOnSale(stock.level(sku))) !== undefined

/** What is left of a sale; `undefined` while it has no stock. */
export const levelOf = async (stock: Seller, sale: Sale): Promise<StockLevel | undefined> =>
  sale.generation === 0 ? undefined : ifOnSale(stock.level(skuOf(sale)))

/** NoAnswer while a sale that was on sale has no stock: what was not found may be known once the stock is back. */
export async function needStock(stock: Seller, sale: Sale): Promise<void> {
  if (sale.generation > 0 && !(await levelOf(stock, sale))) throw new NoAnswer('the stock is being brought back')
}

/** What the database knows to be sold. */
async function* recordedOrders(db: Database, sale: Sale): AsyncGenerator<SoldOrder> {
  const recorded = db
    .selectFrom('orders')
    .select(['order_id', 'buyer', 'quantity'])
    .where('sale_id', '=', sale.id)
    .where('state', '=', 'recorded')
    .orderBy('order_id')
  const read = (after: string, most: number) => recorded.where('order_id', '>', after).limit(most).execute()
  for await (const rows of pages(read)) {
    for (const { order_id: orderId, buyer, quantity } of rows) {
      yield { orderId, quantity, ...(buyer !== '' && { buyerId: buyer }) }
    }
  }
}

/**
 * Opens the next life of the stock of a sale that this strategy sells, under a name that nobody sells under yet, brings back what the database knows, and
 * only then lets the buyers in. Safe to repeat and to run twice at once: ids sell once, the stock is reconciled by one at a
 * time, and the last step is a comparison. Returns how many recorded orders it brought back.
 */
export async function openStock(stores: Stores, stock: Seller, sale: Sale): Promise<number> {
  const sku = skuOf({ ...sale, generation: sale.generation + 1 })
  await stock.open(sku, sale.quantity)
  let orders = 0
  // Nothing was sold before the first life.
  if (sale.generation > 0) {
    await stores.restore?.spent(sale, sku)
    const { recorded, unsold } = await stock.reconcile(sku, recordedOrders(stores.db, sale))
    const [lost] = unsold
    if (lost) throw new Error(`order ${lost.orderId} could not be sold again, with ${unsold.length - 1} others`)
    orders = recorded
    await stores.restore?.holds(sale, sku)
  }
  await advanceGeneration(stores.db, sale)
  return orders
}
