import type { Publisher } from 'spillway/queue'
import { inTime } from '../database.js'
import { rowsOf, type OrderMessage } from './orders.js'
import { skuOf, type Sale } from './sales.js'
import { ifOnSale } from './rebuild.js'
import type { Seller } from './seller.js'
import type { Database } from './tables.js'

/** The orders that the stock recorded, held against the rows of the database. */
export interface Comparison {
  readonly recordedOrders: number
  readonly recordedUnits: number
  readonly rows: number
  readonly rowUnits: number
  readonly rejected: number
  /** Recorded orders without a row. */
  readonly missing: readonly OrderMessage[]
  /** Rows without a recorded order: the stock has forgotten something. */
  readonly extraRows: number
}

const page = 500

interface RowCounts {
  readonly rows: number
  readonly rowUnits: number
  readonly rejected: number
  /** Orders that were, or are being, refunded. The number never falls. */
  readonly refunds: number
}

export async function countRows(db: Database, saleId: string): Promise<RowCounts> {
  const counted = await inTime(
    db
      .selectFrom('orders')
      .select(['state', ({ fn }) => fn.countAll().as('orders'), ({ fn }) => fn.sum('quantity').as('units')])
      .where('sale_id', '=', saleId)
      .groupBy('state')
      .execute(),
    10_000,
  )
  const of = (state: string) => counted.find((group) => group.state === state)
  return {
    rows: Number(of('recorded')?.orders ?? 0),
    rowUnits: Number(of('recorded')?.units ?? 0),
    rejected: Number(of('rejected')?.orders ?? 0),
    refunds: Number(of('refunding')?.orders ?? 0) + Number(of('refunded')?.orders ?? 0),
  }
}

/** Walks all of a sale's sold orders. For a sale that the stock does not know, all rows are extra. */
export async function compare(db: Database, stock: Seller, sale: Sale): Promise<Comparison> {
  for (;;) {
    const { refunds, ...compared } = await walk(db, stock, sale)
    // One that was refunded on the way had its row counted, and was not met.
    if ((await countRows(db, sale.id)).refunds === refunds) return compared
  }
}

async function walk(db: Database, stock: Seller, sale: Sale): Promise<Comparison & Pick<RowCounts, 'refunds'>> {
  // Rows first: whatever has a row now was recorded before, so the walk below meets it.
  const counts = await countRows(db, sale.id)
  const missing: OrderMessage[] = []
  let recordedOrders = 0
  let recordedUnits = 0
  let met = 0
  let chunk: OrderMessage[] = []
  const look = async (): Promise<void> => {
    if (chunk.length === 0) return
    const rows = await inTime(
      rowsOf(
        db,
        sale.id,
        chunk.map(({ orderId }) => orderId),
      ),
    )
    for (const order of chunk) {
      const state = rows.get(order.orderId)
      if (state === undefined) missing.push(order)
      else if (state === 'recorded') met++
    }
    chunk = []
  }
  async function walk(): Promise<void> {
    for await (const { orderId, quantity, state, buyerId = '' } of stock.orders(skuOf(sale))) {
      if (state === 'held') continue
      recordedOrders++
      recordedUnits += quantity
      if (chunk.push({ saleId: sale.id, orderId, buyer: buyerId, quantity }) === page) await look()
    }
  }
  await ifOnSale(walk())
  await look()
  return { ...counts, recordedOrders, recordedUnits, missing, extraRows: Math.max(0, counts.rows - met) }
}

/**
 * Publishes again what was sold but has no row: the orders of a worker that died, or lost the queue, between selling and
 * publishing. Under their own ids, so that one that was merely slow is still recorded once.
 */
export async function heal(
  publisher: Publisher<OrderMessage>,
  sale: Sale,
  missing: readonly OrderMessage[],
): Promise<void> {
  const sku = skuOf(sale)
  for (let at = 0; at < missing.length; at += page) {
    await publisher.publish(
      missing.slice(at, at + page).map((order) => ({ id: `${sku}/${order.orderId}`, body: order })),
    )
  }
}
