import { randomUUID } from 'node:crypto'
import { OrderConflictError, StockFrozenError } from 'spillway'
import type { Publisher } from 'spillway/queue'
import { createRateLimiter, type RateLimiter } from 'spillway/ratelimit'
import type { StockLevel } from 'spillway/stock'
import { findOrder, type OrderMessage } from '../shared/selling/orders.js'
import { needStock } from '../shared/selling/rebuild.js'
import { findSale, skuOf, type Sale } from '../shared/selling/sales.js'
import type { Seller } from '../shared/selling/seller.js'
import { createShelf, type SaleDraft, type SaleView, type Stall as AnyStall } from '../shared/selling/shelf.js'
import type { OrderView } from '../shared/selling/states.js'
import type { Stores } from '../shared/selling/stores.js'
import type { Door, Options } from './options.js'

export interface Purchase {
  readonly orderId: string
  readonly buyer: string
  readonly quantity: number
}

/** What became of an order. */
export type Decision =
  | { readonly kind: 'accepted' | 'replayed' }
  | { readonly kind: 'soldOut' | 'buyerLimit' | 'spent'; readonly available: number }
  | { readonly kind: 'notOpen'; readonly opensAtMs: number }
  | { readonly kind: 'door'; readonly retryAfterMs: number }
  | { readonly kind: 'conflict' | 'suspended' | 'unknown' | 'clash' | 'busy' }

/** The side of the service that faces the buyers. */
export interface Service {
  buy(saleId: string, purchase: Purchase): Promise<Decision>
  /** Writes a sale and puts it on sale; `undefined` if the id is taken. */
  open(draft: Omit<SaleDraft<Door>, 'door'> & { readonly door?: Door }): Promise<SaleView<Door> | undefined>
  list(): Promise<SaleView<Door>[]>
  view(saleId: string): Promise<SaleView<Door> | undefined>
  /** `'suspended'` while the sale has no stock. */
  level(saleId: string): Promise<StockLevel | 'suspended' | undefined>
  order(saleId: string, orderId: string): Promise<OrderView | undefined>
  close(): Promise<void>
}

type Stall = AnyStall<Seller, Door, RateLimiter>

const accepted: Decision = { kind: 'accepted' }
const replayed: Decision = { kind: 'replayed' }
const suspended: Decision = { kind: 'suspended' }

/** Orders need no order among each other. One key per process keeps a trip's messages in one batch of one partition. */
const partitionKey = randomUUID()

export function createService(
  stores: Stores,
  publisher: Publisher<OrderMessage>,
  options: Pick<Options, 'door' | 'gate' | 'workers'>,
): Service {
  const doors = new Map<string, RateLimiter>()
  const shelf = createShelf<Seller, Door, RateLimiter>(stores, options, doorOf)
  const { books } = shelf

  function doorOf({ door }: Sale<Door>): RateLimiter {
    const key = JSON.stringify(door)
    const known = doors.get(key)
    if (known) return known
    // Blocks of a hundredth: large enough to cost no trip per buyer, small enough to leave the other processes theirs.
    const tokens = Math.min(5_000, Math.floor(door.capacity / 100))
    const lease = tokens > 0 ? { lease: { tokens, leaseMs: 1_000 } } : {}
    // Buckets of different quotas are apart.
    const name = `door-${door.capacity}-${door.refill}-${door.perMs}-${door.initial}`
    const limiter = createRateLimiter(stores.buckets, { name, quotas: [door], ...lease })
    doors.set(key, limiter)
    return limiter
  }

  async function sell(stall: Stall, purchase: Purchase): Promise<Decision> {
    const { sale, sku, stock } = stall
    const { orderId, buyer, quantity } = purchase
    const result = await stock.sell({ orderId, sku, quantity, buyer: { id: buyer, limit: sale.limitPerBuyer } })
    if (result.ok) {
      // Also for a replay: whoever sold it may have died before publishing. The consumer takes the message once.
      await publisher.publish({
        id: `${sku}/${orderId}`,
        key: partitionKey,
        body: { saleId: sale.id, orderId, buyer, quantity },
      })
      return result.replayed ? replayed : accepted
    }
    switch (result.reason) {
      case 'sold-out':
        return { kind: 'soldOut', available: result.available }
      case 'buyer-limit':
        return { kind: 'buyerLimit', available: result.available }
      case 'spent':
        return { kind: 'spent', available: result.available }
      case 'not-open':
        return sellInNextLife(stall, purchase)
      case 'clash':
      case 'busy':
        return { kind: result.reason }
    }
  }

  /** The stock does not know the sale: either it has been rebuilt under its next name, or Redis lost it. */
  async function sellInNextLife(stall: Stall, purchase: Purchase): Promise<Decision> {
    const current = await shelf.reload(stall.sale.id)
    if (current && current !== stall) return sell(current, purchase)
    shelf.suspend(stall)
    return suspended
  }

  return {
    ...shelf,
    async buy(saleId, purchase) {
      const stall = await shelf.stall(saleId)
      if (!stall) return { kind: 'unknown' }
      if (stall === 'suspended') return suspended
      const { sale, entrance } = stall
      if (sale.opensAtMs > stores.nowMs()) return { kind: 'notOpen', opensAtMs: sale.opensAtMs }
      const pass = await entrance.take(saleId)
      if (!pass.allowed) return { kind: 'door', retryAfterMs: pass.retryAfterMs }
      try {
        return await sell(stall, purchase)
      } catch (error) {
        if (error instanceof OrderConflictError) return { kind: 'conflict' }
        if (error instanceof StockFrozenError) return suspended
        throw error
      }
    },
    open: ({ door = options.door, ...draft }) => shelf.open({ ...draft, door }),
    async order(saleId, orderId) {
      const found = await findSale(stores.db, saleId)
      if (!found) return undefined
      const row = await findOrder(stores.db, saleId, orderId)
      if (row) return row
      const sold = await books.find(orderId, skuOf(found.sale))
      if (sold) return { orderId, buyer: sold.buyerId ?? '', quantity: sold.quantity, state: 'accepted' }
      await needStock(books, found.sale)
      return undefined
    },
    async close() {
      await Promise.all([shelf, ...doors.values()].map((one) => one.close()))
    },
  }
}
