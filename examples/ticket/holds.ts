import { OrderConflictError } from 'spillway'
import type { Stock } from 'spillway/stock'
import { inTime } from '../shared/database.js'
import { isOrderId, recordOrders, type OrderMessage, type Tx } from '../shared/selling/orders.js'
import type { Restore } from '../shared/selling/stores.js'
import type { TicketDatabase, TicketTx } from './tables.js'

/** What travels from a ticketing server to the order service: an order that sold, or with `hold` what became of a hold. */
export interface TicketMessage extends OrderMessage {
  readonly hold?: 'cancelled' | { readonly endsAtMs: number }
}

/** Writes a batch of messages: orders once each, and holds. In whichever order they come, a cancelled hold stays so. */
export async function recordMessages(tx: Tx, messages: readonly TicketMessage[]): Promise<void> {
  const orders = messages.filter(({ hold }) => hold === undefined)
  if (orders.length > 0) await recordOrders(tx, orders)
  const holds = messages.filter(({ hold }) => hold !== undefined)
  // Always in the same order, so that two consumers never wait for each other's rows.
  const keyed = holds.map((hold) => [`${hold.saleId} ${hold.orderId}`, hold] as const)
  for (const [, hold] of keyed.sort(([one], [other]) => (one < other ? -1 : 1))) {
    await recordHold(tx as unknown as TicketTx, hold)
  }
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

/** Brings back into a rebuilt stock the ids that are spent, and the holds whose time has not ended. */
export function restoreTickets(db: TicketDatabase, stock: Stock, nowMs: () => number): Restore {
  return {
    async spent({ id }, sku) {
      const refunds = db.selectFrom('orders').select(['order_id', 'quantity']).where('sale_id', '=', id)
      for (const { order_id: orderId, quantity } of await inTime(
        refunds.where('state', 'in', ['refunding', 'refunded']).execute(),
      )) {
        await stock.sell({ orderId, sku, quantity })
        await stock.refund(orderId, sku)
      }
      const holds = db.selectFrom('holds').select(['order_id', 'quantity']).where('sale_id', '=', id)
      for (const { order_id: orderId, quantity } of await inTime(holds.where('state', '=', 'cancelled').execute())) {
        await stock.reserve({ orderId, sku, quantity, holdMs: momentMs })
        await stock.cancel(orderId, sku)
      }
    },
    async holds({ id }, sku) {
      const lasting = db
        .selectFrom('holds')
        .selectAll()
        .where('sale_id', '=', id)
        .where('state', '=', 'held')
        .where('ends_at_ms', '>', Math.ceil(nowMs()))
      for (const { order_id: orderId, buyer, quantity, ends_at_ms: endsAtMs } of await inTime(lasting.execute())) {
        const holdMs = Number(endsAtMs) - nowMs()
        if (holdMs < 1) continue
        try {
          // Whoever held under the limit of its time holds still.
          const order = { orderId, sku, quantity, buyer: { id: buyer, limit: Number.MAX_SAFE_INTEGER } }
          await stock.reserve({ ...order, holdMs })
        } catch (error) {
          // It was paid for, and is sold in the stock already.
          if (!(error instanceof OrderConflictError)) throw error
        }
      }
    },
  }
}
