import type { SettleResult, Stock } from 'spillway/stock'
import { forEach } from '../shared/run.js'
import { findOrder, type OrderMessage } from '../shared/selling/orders.js'
import { isOnSale } from '../shared/selling/rebuild.js'
import { findSale, skuOf, type Sale } from '../shared/selling/sales.js'
import {
  abandoned,
  authorise,
  beginRefund,
  capture,
  endRefund,
  findPayment,
  release,
  type Payment,
} from './payments.js'
import type { TicketStores } from './stores.js'
import { ticketTables } from './tables.js'

/**
 * What became of a payment or a refund. `over`: the order is in a state in which it cannot be paid for or refunded.
 * `ended`: its hold has ended, or is not known, and no money was taken.
 */
export type Settlement =
  | { readonly kind: 'paid' | 'refunded'; readonly amountCents: number; readonly replayed: boolean }
  | { readonly kind: 'over'; readonly state: string }
  | { readonly kind: 'ended' | 'declined' | 'suspended' | 'rejected' | 'notRecorded' | 'unknown' | 'unknownShow' }

/** Where money and tickets change hands. Each call may be repeated, and what is left half done is finished by `settle`. */
export interface Till {
  pay(showId: string, orderId: string, card: string): Promise<Settlement>
  refund(showId: string, orderId: string): Promise<Settlement>
  /** Finishes what a dead server began. */
  settle(): Promise<void>
}

export function createTill(stores: Pick<TicketStores, 'db' | 'nowMs'>, stock: Stock): Till {
  const shared = stores.db
  const db = ticketTables(shared)

  /** Tickets first, then the money that is set aside: taken if they are the buyer's now, else released. */
  async function finishPayment(sale: Sale, order: OrderMessage): Promise<'paid' | 'ended' | 'suspended' | 'rejected'> {
    const sku = skuOf(sale)
    const outcome: SettleResult = await stock.confirm(order.orderId, sku)
    if (outcome === 'done' || outcome === 'already') {
      if (await capture(db, order)) return 'paid'
      await stock.refund(order.orderId, sku)
      return 'rejected'
    }
    // A stock that was lost comes back with the hold.
    if (outcome === 'unknown' && !(await isOnSale(stock, sku))) return 'suspended'
    await release(db, order)
    return 'ended'
  }

  async function finish(sale: Sale, payment: Omit<Payment, 'state'>): Promise<Settlement> {
    const kind = await finishPayment(sale, payment)
    return kind === 'paid' ? { kind, amountCents: payment.amountCents, replayed: false } : { kind }
  }

  async function finishRefund(sale: Sale, orderId: string): Promise<boolean> {
    const sku = skuOf(sale)
    const outcome = await stock.refund(orderId, sku)
    if (outcome === 'unknown' && !(await isOnSale(stock, sku))) return false
    await endRefund(db, sale.id, orderId)
    return true
  }

  return {
    async pay(showId, orderId, card) {
      const found = await findSale(shared, showId)
      if (!found) return { kind: 'unknownShow' }
      const { sale } = found
      const payment = await findPayment(db, showId, orderId)
      // Somebody has begun, and may have died since; the order service may have recorded the order meanwhile.
      if (payment?.state === 'authorised') return finish(sale, payment)
      if (payment?.state === 'captured') return { kind: 'paid', amountCents: payment.amountCents, replayed: true }
      const row = await findOrder(shared, showId, orderId)
      if (row) return { kind: 'over', state: row.state }
      const known = await stock.find(orderId, skuOf(sale))
      if (!known) {
        // A stock that fell back to an older state may have lost the hold. Unlike `find`, `cancel` is not answered from such a state.
        await stock.cancel(orderId, skuOf(sale))
        return { kind: (await isOnSale(stock, skuOf(sale))) ? 'ended' : 'suspended' }
      }
      if (known.state === 'sold') return { kind: 'over', state: 'accepted' }
      const order = { saleId: showId, orderId, buyer: known.buyerId ?? '', quantity: known.quantity }
      const amountCents = known.quantity * sale.priceCents
      if (!(await authorise(db, { ...order, amountCents }, card, stores.nowMs()))) return { kind: 'declined' }
      return finish(sale, { ...order, amountCents })
    },
    async refund(showId, orderId) {
      const found = await findSale(shared, showId)
      if (!found) return { kind: 'unknownShow' }
      const row = await findOrder(shared, showId, orderId)
      if (!row) {
        const known = await stock.find(orderId, skuOf(found.sale))
        if (!known) return { kind: 'unknown' }
        return known.state === 'sold' ? { kind: 'notRecorded' } : { kind: 'over', state: known.state }
      }
      if (row.state === 'rejected') return { kind: 'over', state: row.state }
      const amountCents = (await findPayment(db, showId, orderId))?.amountCents ?? 0
      if (row.state === 'refunded') return { kind: 'refunded', amountCents, replayed: true }
      if (row.state === 'recorded') await beginRefund(db, { saleId: showId, ...row }, stores.nowMs())
      if (!(await finishRefund(found.sale, orderId))) return { kind: 'suspended' }
      return { kind: 'refunded', amountCents, replayed: false }
    },
    async settle() {
      const { payments, refunds } = await abandoned(db, stores.nowMs())
      const finishers = [
        ...payments.map((payment) => ({
          saleId: payment.saleId,
          finish: (sale: Sale) => finishPayment(sale, payment),
        })),
        ...refunds.map(({ saleId, orderId }) => ({ saleId, finish: (sale: Sale) => finishRefund(sale, orderId) })),
      ]
      await forEach(finishers, async ({ saleId, finish }) => {
        const found = await findSale(shared, saleId)
        if (found && found.sale.generation > 0) await finish(found.sale)
      })
    },
  }
}
