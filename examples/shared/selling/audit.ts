import type { Publisher } from 'spillway/queue'
import type { OrderMessage } from './orders.js'
import { levelOf } from './rebuild.js'
import type { SaleAudit } from '../rush/types.js'
import { findSale, type Sale } from './sales.js'
import type { Stores } from './stores.js'
import type { Seller } from './seller.js'
import { compare, heal } from './sweep.js'

export interface Books {
  readonly stores: Stores
  /** Without a gate: for questions, not for buyers. */
  readonly stock: Seller
  readonly publisher: Publisher<OrderMessage>
  /** Messages that have no effect yet. */
  readonly lag: () => Promise<number>
}

/** A sale that the stock does not know is audited as if the stock had sold nothing: it does not hold. */
const nothing = { total: 0, available: 0, held: 0, sold: 0 }

/**
 * Holds a sale's books together: units sold, orders recorded by the stock, rows in the database, and what is missing from
 * the stock and from the database's own count. `settled` when nothing is on its way any more; orders that a dead worker
 * left unpublished are published on the way, and the audit is settled when they have arrived.
 */
export async function audit(books: Books, sale: Sale): Promise<SaleAudit> {
  const { stores, stock, publisher, lag } = books
  const level = async () => (await levelOf(stock, sale)) ?? nothing
  const counted = async () => (await findSale(stores.db, sale.id))?.books
  const before = await level()
  const countedBefore = await counted()
  const waiting = await lag()
  const compared = await compare(stores.db, stock, sale)
  const after = await level()
  const countedAfter = await counted()
  const databaseDifference = countedAfter?.recordedUnits ?? 0
  const noneSold = before.sold === after.sold
  // What is recorded meanwhile may be in one of the things that are compared and not in another.
  const noneRecorded =
    countedBefore?.recordedOrders === countedAfter?.recordedOrders &&
    countedBefore?.rejectedOrders === countedAfter?.rejectedOrders
  const quiet = waiting === 0 && noneSold && noneRecorded && compared.missing.length === 0
  if (waiting === 0 && noneSold) await heal(publisher, sale, compared.missing)

  const { recordedOrders, recordedUnits, rows, rowUnits, rejected, missing, extraRows } = compared
  const stockDifference = after.total - after.available - after.held
  const equal = [recordedUnits, rowUnits, stockDifference, databaseDifference].every((units) => units === after.sold)
  return {
    settled: quiet,
    ok: quiet && equal && recordedOrders === rows && rejected === 0 && extraRows === 0 && after.total === sale.quantity,
    lag: waiting,
    total: after.total,
    sold: after.sold,
    recordedOrders,
    recordedUnits,
    rows,
    rowUnits,
    rejected,
    stockDifference,
    databaseDifference,
    missingRows: missing.length,
    extraRows,
  }
}
