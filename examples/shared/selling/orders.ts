import { sql, type Transaction } from 'kysely'
import { inTime } from '../database.js'
import type { Database, OrderState, Tables } from './tables.js'

/** What travels from the sale to the database. */
export interface OrderMessage {
  readonly saleId: string
  readonly orderId: string
  readonly buyer: string
  readonly quantity: number
}

export interface OrderRow {
  readonly orderId: string
  readonly buyer: string
  readonly quantity: number
  readonly state: OrderState
}

/** What a buyer's key looks like: printable ASCII without spaces, which every store tells apart byte by byte. */
export const orderIdPattern = '^[!-~]{1,128}$'
const orderIdShape = new RegExp(orderIdPattern)
export const isOrderId = (text: string): boolean => orderIdShape.test(text)

export type Tx = Transaction<Tables>

/** Takes units out of a sale's row, if it has them: the last guard, under the row's lock. */
async function takeUnits(tx: Tx, saleId: string, units: number, orders: number): Promise<boolean> {
  const result = await tx
    .updateTable('sales')
    .set({
      remaining: sql`remaining - ${units}`,
      recorded_orders: sql`recorded_orders + ${orders}`,
    })
    .where('id', '=', saleId)
    .where('remaining', '>=', units)
    .executeTakeFirst()
  return result.numUpdatedRows > 0n
}

async function write(tx: Tx, orders: readonly OrderMessage[], state: OrderRow['state']): Promise<void> {
  if (orders.length === 0) return
  const now = Date.now()
  await tx
    .insertInto('orders')
    .values(
      orders.map(({ saleId, orderId, buyer, quantity }) => ({
        sale_id: saleId,
        order_id: orderId,
        buyer,
        quantity,
        state,
        created_at_ms: now,
      })),
    )
    .execute()
}

/** The states of those orders that have a row. */
export async function rowsOf(
  db: Database | Tx,
  saleId: string,
  orderIds: readonly string[],
): Promise<ReadonlyMap<string, OrderRow['state']>> {
  const rows = await db
    .selectFrom('orders')
    .select(['order_id', 'state'])
    .where('sale_id', '=', saleId)
    .where('order_id', 'in', orderIds)
    .execute()
  return new Map(rows.map((row) => [row.order_id, row.state]))
}

/** Records one sale's orders: all at once, or, where the guard refuses them together, one by one. */
async function recordOfSale(tx: Tx, saleId: string, orders: readonly OrderMessage[]): Promise<void> {
  const units = orders.reduce((sum, { quantity }) => sum + quantity, 0)
  if (await takeUnits(tx, saleId, units, orders.length)) return write(tx, orders, 'recorded')
  const recorded: OrderMessage[] = []
  const rejected: OrderMessage[] = []
  for (const order of orders) {
    const fits = await takeUnits(tx, saleId, order.quantity, 1)
    ;(fits ? recorded : rejected).push(order)
  }
  await write(tx, recorded, 'recorded')
  await write(tx, rejected, 'rejected')
  await tx
    .updateTable('sales')
    .set({ rejected_orders: sql`rejected_orders + ${rejected.length}` })
    .where('id', '=', saleId)
    .execute()
}

/** Writes a batch of orders, each once, within the transaction that also remembers their messages. */
export async function recordOrders(tx: Tx, batch: readonly OrderMessage[]): Promise<void> {
  const bySale = new Map<string, Map<string, OrderMessage>>()
  for (const order of batch) {
    const orders = bySale.get(order.saleId) ?? new Map<string, OrderMessage>()
    bySale.set(order.saleId, orders.set(order.orderId, order))
  }
  // Always in the same order, so that two consumers never wait for each other's rows.
  for (const saleId of [...bySale.keys()].sort()) {
    const orders = bySale.get(saleId) as Map<string, OrderMessage>
    // The inbox lets no message in twice; this look is for those older than its memory.
    const written = await rowsOf(tx, saleId, [...orders.keys()])
    const fresh = [...orders.values()].filter(({ orderId }) => !written.has(orderId))
    if (fresh.length > 0) await recordOfSale(tx, saleId, fresh)
  }
}

export async function findOrder(db: Database, saleId: string, orderId: string): Promise<OrderRow | undefined> {
  if (!isOrderId(orderId)) return undefined
  const row = await inTime(
    db
      .selectFrom('orders')
      .selectAll()
      .where('sale_id', '=', saleId)
      .where('order_id', '=', orderId)
      .executeTakeFirst(),
  )
  return row && { orderId: row.order_id, buyer: row.buyer, quantity: row.quantity, state: row.state }
}
