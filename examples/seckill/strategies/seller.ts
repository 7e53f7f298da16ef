import { OrderConflictError } from 'spillway'
import type { Order, SoldOrder } from 'spillway/stock'
import type { Sale } from '../../shared/selling/sales.js'
import type { OpenSeller, Seller, Verdict } from '../../shared/selling/seller.js'

/** The ways to decide an order that the service knows. */
export const strategies = ['stock', 'optimistic', 'redis-lock', 'zookeeper-lock'] as const
export type Strategy = (typeof strategies)[number]

/** A strategy with what it stands on. */
export interface Selling {
  readonly seller: OpenSeller
  /** Makes its tables where they are missing. */
  prepare(): Promise<void>
  /** Ends a sale under all other strategies, so that a service with one of them sells no more of it. */
  retire(sale: Sale): Promise<void>
  /** Asks the server that it needs beside those of the stack. Rejects if that is away. */
  readonly check?: { readonly zookeeper: () => Promise<unknown> }
  close(): Promise<void>
}

/** How long an order waits for its turn, where one is decided after the other. */
export const maxWaitMs = 10_000

/** What a strategy without a step of its own sees before it decides. */
export interface Seen {
  /** Unsold units. */
  readonly left: number
  /** What the order id sold already. */
  readonly known: { readonly quantity: number; readonly buyer: string } | undefined
  /** Units that the buyer has. */
  readonly bought: number
}

/** What follows from what was seen; `undefined`: the order can be sold. OrderConflictError for an id with another order. */
export function verdictOn(order: Order, seen: Seen | undefined): Verdict | undefined {
  if (!seen) return { ok: false, reason: 'not-open', available: 0 }
  const { orderId, sku, quantity = 1, buyer } = order
  const { left, known, bought } = seen
  if (known) {
    if (known.quantity === quantity && known.buyer === (buyer?.id ?? '')) return { ok: true, replayed: true }
    throw new OrderConflictError(`order ${orderId} of ${sku} is known with another quantity or buyer`)
  }
  if (quantity > left) return { ok: false, reason: 'sold-out', available: left }
  if (buyer && bought + quantity > buyer.limit) return { ok: false, reason: 'buyer-limit', available: left }
  return undefined
}

/** Brings back orders by selling them again. */
export const sellingAgain =
  (sell: Seller['sell']): Seller['reconcile'] =>
  async (sku, orders) => {
    const unsold: SoldOrder[] = []
    let recorded = 0
    for await (const order of orders) {
      const { orderId, quantity, buyerId } = order
      // What was sold under the limit of its time stays sold.
      const buyer = buyerId === undefined ? undefined : { id: buyerId, limit: Number.MAX_SAFE_INTEGER }
      let verdict: Verdict
      do verdict = await sell({ orderId, sku, quantity, buyer })
      while (!verdict.ok && (verdict.reason === 'clash' || verdict.reason === 'busy'))
      if (!verdict.ok) unsold.push(order)
      else if (!verdict.replayed) recorded++
    }
    return { recorded, unsold }
  }

export const notOnSale = (sku: string): RangeError => new RangeError(`sku ${JSON.stringify(sku)} is not on sale`)
