import { setTimeout as sleep } from 'node:timers/promises'
import { NoAnswer } from '../processes.js'
import type { Books } from './audit.js'
import { levelOf, openStock } from './rebuild.js'
import { findSale, skuOf, takeOver, type Sale } from './sales.js'
import { compare, heal } from './sweep.js'

/** What a reconciliation found and did. */
export interface Reconciliation {
  /** Whether the stock was built anew from the database. */
  readonly rebuilt: boolean
  /** Recorded orders that the new stock was given. */
  readonly orders: number
  /** Orders that were sold and had no row, published again. */
  readonly published: number
}

/** Longer than a sale and its message can be on their way: one second for the stock, three for the queue. */
const graceMs = 5_000
const patienceMs = 60_000

/**
 * Brings stock and database together, and takes the sale over if another strategy sells it. A stock that has everything
 * the database has stays. One that is frozen, that has lost orders or is gone ends, and the sale gets a new one from the
 * database once every message is written. What the stock has and the database has not is published.
 */
export async function reconcile(books: Books, before: Sale, frozen = false): Promise<Reconciliation> {
  const { stores, stock, publisher, lag } = books
  const sale = { ...before, soldBy: stores.strategy }
  let published = 0
  if (before.soldBy !== stores.strategy && !(await takeOver(stores.db, before, stores.strategy))) {
    return { rebuilt: false, orders: 0, published }
  }
  if (sale.generation > 0) {
    if (await levelOf(stock, sale)) {
      const { extraRows, missing } = await compare(stores.db, stock, sale)
      await heal(publisher, sale, missing)
      published = missing.length
      if (extraRows === 0 && !frozen) return { rebuilt: false, orders: 0, published }
      await stock.remove(skuOf(sale))
    }
    await stores.retire(sale)
    // Nobody can sell from here on; who has sold a moment ago is still publishing.
    if (!stores.embedded) await sleep(graceMs)
  }
  const deadline = performance.now() + patienceMs
  while ((await lag()) > 0) {
    if (performance.now() > deadline) throw new NoAnswer('the queue does not run empty')
    await sleep(100)
  }
  const current = (await findSale(stores.db, sale.id))?.sale
  // Another office may have been faster, or the server may be back that has the stock.
  const isOver = !current || skuOf(current) !== skuOf(sale) || (await levelOf(stock, sale)) !== undefined
  return isOver
    ? { rebuilt: false, orders: 0, published }
    : { rebuilt: true, orders: await openStock(stores, stock, sale), published }
}
