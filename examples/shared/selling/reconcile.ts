import { setTimeout as sleep } from 'node:timers/promises'
import { NoAnswer } from '../processes.js'
import type { Books } from './audit.js'
import { isNotOnSale, openStock } from './rebuild.js'
import { skuOf, type Sale } from './sales.js'
import { compare, heal } from './sweep.js'

/** What a reconciliation found and did. */
export interface Reconciliation {
  /** Whether the stock was built anew from the database. */
  readonly rebuilt: boolean
  /** Recorded orders that the new stock sold again. */
  readonly orders: number
  /** Orders that were sold but not on their way to the database, and now are. */
  readonly published: number
}

/** Longer than a sale and its message can be on their way: one second for the stock, three for the queue. */
const graceMs = 5_000
const patienceMs = 60_000

/** Whether the stock knows the sale. */
async function isOnSale({ stock }: Books, sale: Sale): Promise<boolean> {
  try {
    await stock.level(skuOf(sale))
    return true
  } catch (error) {
    if (isNotOnSale(error)) return false
    throw error
  }
}

/**
 * Brings stock and database together. A stock that has everything the database has stays, and what it has more is
 * published; one that has lost orders ends, and a new one is built from the database once every message is written.
 */
export async function reconcile(books: Books, sale: Sale): Promise<Reconciliation> {
  const { stores, stock, publisher, lag } = books
  if (sale.generation > 0 && (await isOnSale(books, sale))) {
    const { extraRows, missing } = await compare(stores.db, stock, sale)
    if (extraRows === 0) {
      await heal(publisher, sale, missing)
      return { rebuilt: false, orders: 0, published: missing.length }
    }
    await stock.remove(skuOf(sale))
  }
  if (sale.generation > 0) await stores.retire(skuOf(sale))
  // Nobody can sell from here on; who has sold a moment ago is still publishing.
  if (sale.generation > 0 && !stores.embedded) await sleep(graceMs)
  const deadline = performance.now() + patienceMs
  while ((await lag()) > 0) {
    if (performance.now() > deadline) throw new NoAnswer('the queue does not run empty')
    await sleep(100)
  }
  return { rebuilt: true, orders: await openStock(stores, stock, sale), published: 0 }
}
