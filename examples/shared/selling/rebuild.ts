import { inTime } from '../database.js'
import { advanceGeneration, skuOf, type Sale } from './sales.js'
import type { Stores } from './stores.js'
import type { Seller } from './seller.js'

const page = 500

/** Whether the stock says that it does not know the SKU. */
export const isNotOnSale = (error: unknown): boolean => error instanceof RangeError

/**
 * Opens the next life of a sale's stock under a name that nobody sells under yet, sells every recorded order in it again,
 * restores what else the service knows, and only then lets the buyers in. Safe to repeat and to run twice at once: ids sell once, and the last step is a
 * comparison. Returns how many orders it sold again.
 */
export async function openStock(stores: Stores, stock: Seller, sale: Sale): Promise<number> {
  const sku = skuOf({ id: sale.id, generation: sale.generation + 1 })
  await stock.open(sku, sale.quantity)
  await stores.restore?.spent(sale, sku)
  let orders = 0
  for (let after = ''; ;) {
    const rows = await inTime(
      stores.db
        .selectFrom('orders')
        .select(['order_id', 'buyer', 'quantity'])
        .where('sale_id', '=', sale.id)
        .where('state', '=', 'recorded')
        .where('order_id', '>', after)
        .orderBy('order_id')
        .limit(page)
        .execute(),
    )
    const sellAgain = async ({ order_id: orderId, buyer, quantity }: (typeof rows)[number]): Promise<boolean> => {
      // What was sold under the limit of its time stays sold.
      const named = buyer === '' ? {} : { buyer: { id: buyer, limit: Number.MAX_SAFE_INTEGER } }
      const result = await stock.sell({ orderId, sku, quantity, ...named })
      if (result.ok || result.reason === 'clash' || result.reason === 'busy') return result.ok
      throw new Error(`order ${orderId} could not be sold again: ${result.reason}`)
    }
    const done = await Promise.all(rows.map(sellAgain))
    // Those that were in each other's way go one after the other.
    for (const row of rows.filter((_, at) => !done[at])) while (!(await sellAgain(row)));
    orders += rows.length
    const last = rows.at(-1)
    if (!last || rows.length < page) break
    after = last.order_id
  }
  await stores.restore?.holds(sale, sku)
  await advanceGeneration(stores.db, sale)
  return orders
}
