import { sql } from 'kysely'
import { inTime, isDuplicate } from '../shared/database.js'
import { isOrderId, recordOrders, rowsOf, type OrderMessage, type Tx } from '../shared/selling/orders.js'
import type { PaymentState, TicketDatabase, TicketTx } from './tables.js'

// A stand-in for a payment provider, in the service's own database. Money is set aside, and taken once the tickets are the
// buyer's: a buyer whose hold has ended pays nothing.

export interface Payment extends OrderMessage {
  readonly amountCents: number
  readonly state: PaymentState
}

type Row = {
  sale_id: string
  order_id: string
  buyer: string
  quantity: number
  amount_cents: number
  state: PaymentState
}

const paymentOf = (row: Row): Payment => ({
  saleId: row.sale_id,
  orderId: row.order_id,
  buyer: row.buyer,
  quantity: row.quantity,
  amountCents: Number(row.amount_cents),
  state: row.state,
})

export async function findPayment(db: TicketDatabase, saleId: string, orderId: string): Promise<Payment | undefined> {
  if (!isOrderId(orderId)) return undefined
  const found = db.selectFrom('payments').selectAll().where('sale_id', '=', saleId).where('order_id', '=', orderId)
  const row = await inTime(found.executeTakeFirst())
  return row && paymentOf(row)
}

/** Sets the amount aside; it may be asked again. `false`: the card is declined. */
export async function authorise(
  db: TicketDatabase,
  payment: Omit<Payment, 'state'>,
  card: string,
  atMs: number,
): Promise<boolean> {
  if (card === 'declined') return false
  const { saleId, orderId, buyer, quantity, amountCents } = payment
  const authorised = { state: 'authorised', authorised_at_ms: Math.floor(atMs) } as const
  const row = { sale_id: saleId, order_id: orderId, buyer, quantity, amount_cents: amountCents, ...authorised }
  try {
    await inTime(db.insertInto('payments').values(row).execute())
  } catch (error) {
    if (!isDuplicate(error)) throw error
    const again = db.updateTable('payments').set(authorised).where('sale_id', '=', saleId)
    await inTime(again.where('order_id', '=', orderId).where('state', '=', 'released').execute())
  }
  return true
}

/** Moves a payment on, if it is in that state. */
async function move(
  db: TicketDatabase | TicketTx,
  saleId: string,
  orderId: string,
  from: PaymentState,
  to: PaymentState,
): Promise<void> {
  await db
    .updateTable('payments')
    .set({ state: to })
    .where('sale_id', '=', saleId)
    .where('order_id', '=', orderId)
    .where('state', '=', from)
    .execute()
}

/** Sets the amount aside no more. */
export const release = (db: TicketDatabase, { saleId, orderId }: OrderMessage): Promise<void> =>
  inTime(move(db, saleId, orderId, 'authorised', 'released'))

/**
 * Takes the money and records the order, in one transaction. `false`, and no money taken: the database has no units for it, or it was
 * refunded.
 */
export async function capture(db: TicketDatabase, order: OrderMessage): Promise<boolean> {
  try {
    return await inTime(captureOnce(db, order))
  } catch (error) {
    // Somebody else was recording it when this transaction began: it sees that now.
    if (isDuplicate(error)) return inTime(captureOnce(db, order))
    throw error
  }
}

function captureOnce(db: TicketDatabase, order: OrderMessage): Promise<boolean> {
  const { saleId, orderId, buyer, quantity } = order
  return db.transaction().execute(async (tx) => {
    const shared = tx as unknown as Tx
    await recordOrders(shared, [{ saleId, orderId, buyer, quantity }])
    const state = (await rowsOf(shared, saleId, [orderId])).get(orderId)
    // One that is being refunded gets its money back from there.
    const isSold = state === 'recorded' || state === 'refunding'
    await move(tx, saleId, orderId, 'authorised', isSold ? 'captured' : 'released')
    return isSold
  })
}

/** Marks a recorded order as one whose units go back; it counts as sold no more. */
export async function beginRefund(
  db: TicketDatabase,
  { saleId, orderId, quantity }: OrderMessage,
  atMs: number,
): Promise<void> {
  const work = db.transaction().execute(async (tx) => {
    const marked = await tx
      .updateTable('orders')
      .set({ state: 'refunding' })
      .where('sale_id', '=', saleId)
      .where('order_id', '=', orderId)
      .where('state', '=', 'recorded')
      .executeTakeFirst()
    if (marked.numUpdatedRows === 0n) return
    await tx
      .updateTable('sales')
      .set({ remaining: sql`remaining + ${quantity}`, recorded_orders: sql`recorded_orders - 1` })
      .where('id', '=', saleId)
      .execute()
    const refund = { sale_id: saleId, order_id: orderId, begun_at_ms: Math.floor(atMs) }
    await tx.insertInto('refunds').values(refund).execute()
  })
  await inTime(work)
}

/** Gives the money back, once the units are on sale again. */
export async function endRefund(db: TicketDatabase, saleId: string, orderId: string): Promise<void> {
  const work = db.transaction().execute(async (tx) => {
    await tx
      .updateTable('orders')
      .set({ state: 'refunded' })
      .where('sale_id', '=', saleId)
      .where('order_id', '=', orderId)
      .where('state', '=', 'refunding')
      .execute()
    await move(tx, saleId, orderId, 'captured', 'refunded')
    // A payment whose capture has not come yet: it finds nothing to take.
    await move(tx, saleId, orderId, 'authorised', 'released')
    await tx.deleteFrom('refunds').where('sale_id', '=', saleId).where('order_id', '=', orderId).execute()
  })
  await inTime(work)
}

/** How many payments were taken for orders that the database has not as sold. */
export async function unmatchedPayments(db: TicketDatabase, saleId: string): Promise<number> {
  const taken = db
    .selectFrom('payments')
    .leftJoin('orders', (join) =>
      join.onRef('orders.sale_id', '=', 'payments.sale_id').onRef('orders.order_id', '=', 'payments.order_id'),
    )
    .where('payments.sale_id', '=', saleId)
    .where('payments.state', '=', 'captured')
  const unmatched = taken.where((of) =>
    of.or([of('orders.state', 'is', null), of('orders.state', 'not in', ['recorded', 'refunding'])]),
  )
  const { count } = await inTime(unmatched.select(({ fn }) => fn.countAll().as('count')).executeTakeFirstOrThrow())
  return Number(count)
}

/** Longer than a request that pays or refunds takes. */
const abandonedMs = 10_000
const most = 500

/** Payments and refunds that a dead server left half done. */
export async function abandoned(db: TicketDatabase, nowMs: number) {
  const beforeMs = Math.floor(nowMs - abandonedMs)
  const payments = db.selectFrom('payments').selectAll().where('state', '=', 'authorised')
  const refunds = db.selectFrom('refunds').selectAll().where('begun_at_ms', '<', beforeMs)
  return {
    payments: (await inTime(payments.where('authorised_at_ms', '<', beforeMs).limit(most).execute())).map(paymentOf),
    refunds: (await inTime(refunds.limit(most).execute())).map((row) => ({
      saleId: row.sale_id,
      orderId: row.order_id,
    })),
  }
}
