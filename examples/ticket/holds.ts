import { OrderConflictError } from 'spillway'
import type { Order, Stock } from 'spillway/stock'
import type { Selectable } from 'kysely'
import { inTime } from '../shared/database.js'
import { isOrderId, recordOrders, type OrderMessage, type Tx } from '../shared/selling/orders.js'
import { pages } from '../shared/selling/rebuild.js'
import type { Restore } from '../shared/selling/stores.js'
import type { TicketDatabase, TicketTables, TicketTx } from './tables.js'

/** What travels from a ticketing server to the order service: an order that sold, or with `hold` what became of a hold. */
export interface TicketMessage extends OrderMessage {
  readonly hold?: 'cancelled' | { readonly endsAtMs: number }
}

/**
 * Writes a batch of messages: holds, and orders once each. In whichever order they come, a cancelled hold stays so. The orders
 * come last: they lock the show's row, which payments wait for.
 */
export async function recordMessages(tx: Tx, messages: readonly TicketMessage[]): Promise<void> {
  const holds = messages.filter(({ hold }) => hold !== undefined)
  // Always in the same order, so that two consumers never wait for each other's rows.
  const keyed = holds.map((hold) => [`${hold.saleId} ${hold.orderId}`, hold] as const)
  for (const [, hold] of keyed.sort(([one], [other]) => (one < other ? -1 : 1))) {
    await recordHold(tx as unknown as TicketTx, hold)
  }
  const orders = messages.filter(({ hold }) => hold === undefined)
  if (orders.length > 0) await recordOrders(tx, orders)
}

async function recordHold(tx: TicketTx, { saleId, orderId, buyer, quantity, hold }: TicketMessage): Promise<void> {
  const known = await tx
    .selectFrom('holds')
    .select(['state', 'ends_at_ms'])
    .where('sale_id', '=', saleId)
    .where('order_id', '=', orderId)
    .executeTakeFirst()
  const state = hold === 'cancelled' ? 'cancelled' : 'held'
  const endsAtMs = typeof hold === 'object' ? hold.endsAtMs : 0
  if (!known) {
    const row = { sale_id: saleId, order_id: orderId, buyer, quantity, state, ends_at_ms: endsAtMs } as const
    await tx.insertInto('holds').values(row).execute()
  } else if (known.state === 'held') {
    await tx
      .updateTable('holds')
      .set({ state, ends_at_ms: Math.max(endsAtMs, Number(known.ends_at_ms)) })
      .where('sale_id', '=', saleId)
      .where('order_id', '=', orderId)
      .where('state', '=', 'held')
      .execute()
  }
}

export async function findHold(db: TicketDatabase, saleId: string, orderId: string) {
  if (!isOrderId(orderId)) return undefined
  const found = db.selectFrom('holds').selectAll().where('sale_id', '=', saleId).where('order_id', '=', orderId)
  return inTime(found.executeTakeFirst())
}

/** A hold for this long is nobody's; it is cancelled at once. */
const momentMs = 60_000

interface Spent {
  readonly order_id: string
  readonly quantity: number
}

/** Parts of a list that want no more units together than there are. */
function* fitting<Row extends Spent>(rows: readonly Row[], units: number): Generator<readonly Row[]> {
  let part: Row[] = []
  let wanted = 0
  for (const row of rows) {
    if (wanted + row.quantity > units) {
      yield part
      part = []
      wanted = 0
    }
    part.push(row)
    wanted += row.quantity
  }
  yield part
}

/** Brings back into a rebuilt stock the ids that are spent, and the holds whose time has not ended. */
export function restoreTickets(db: TicketDatabase, stock: Stock, nowMs: () => number): Restore {
  async function hold(sku: string, row: Selectable<TicketTables['holds']>): Promise<void> {
    const holdMs = Number(row.ends_at_ms) - nowMs()
    if (holdMs < 1) return
    try {
      // Whoever held under the limit of its time holds still.
      const buyer = { id: row.buyer, limit: Number.MAX_SAFE_INTEGER }
      await stock.reserve({ orderId: row.order_id, sku, quantity: row.quantity, buyer, holdMs })
    } catch (error) {
      // It was paid for, and is sold in the stock already.
      if (!(error instanceof OrderConflictError)) throw error
    }
  }

  return {
    async spent({ id, quantity: units }, sku) {
      /** Each id takes its units and gives them back. */
      async function spend(rows: AsyncIterable<readonly Spent[]>, take: (order: Order) => Promise<unknown>) {
        for await (const page of rows) {
          for (const part of fitting(page, units)) {
            await Promise.all(part.map(({ order_id: orderId, quantity }) => take({ orderId, sku, quantity })))
          }
        }
      }
      const refunds = db
        .selectFrom('orders')
        .select(['order_id', 'quantity'])
        .where('sale_id', '=', id)
        .where('state', 'in', ['refunding', 'refunded'])
        .orderBy('order_id')
      await spend(
        pages((after, most) => refunds.where('order_id', '>', after).limit(most).execute()),
        async (order) => {
          await stock.sell(order)
          await stock.refund(order.orderId, sku)
        },
      )
      const cancelled = db
        .selectFrom('holds')
        .select(['order_id', 'quantity'])
        .where('sale_id', '=', id)
        .where('state', '=', 'cancelled')
        .orderBy('order_id')
      await spend(
        pages((after, most) => cancelled.where('order_id', '>', after).limit(most).execute()),
        async (order) => {
          await stock.reserve({ ...order, holdMs: momentMs })
          await stock.cancel(order.orderId, sku)
        },
      )
    },
    async holds({ id }, sku) {
      const lasting = db
        .selectFrom('holds')
        .selectAll()
        .where('sale_id', '=', id)
        .where('state', '=', 'held')
        .where('ends_at_ms', '>', Math.ceil(nowMs()))
        .orderBy('order_id')
      const read = (after: string, most: number) => lasting.where('order_id', '>', after).limit(most).execute()
      for await (const page of pages(read)) await Promise.all(page.map((row) => hold(sku, row)))
    },
  }
}
