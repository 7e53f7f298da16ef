import { randomUUID } from 'node:crypto'
import { OrderConflictError } from 'spillway'
import type { Publisher } from 'spillway/queue'
import { createRateLimiter, type RateLimiter } from 'spillway/ratelimit'
import type { StockLevel } from 'spillway/stock'
import type { Door, Options } from './options.js'
import { findOrder, type OrderMessage } from './orders.js'
import { isNotOnSale, openStock } from './rebuild.js'
import { findSale, insertSale, listSales, skuOf, type Sale } from './sales.js'
import type { Stores } from './stores.js'
import type { Seller } from './strategies/seller.js'

export interface Purchase {
  readonly orderId: string
  readonly buyer: string
  readonly quantity: number
}

/** What became of a wish to buy. */
export type Decision =
  | { readonly kind: 'accepted' | 'replayed' }
  | { readonly kind: 'soldOut' | 'buyerLimit' | 'spent'; readonly available: number }
  | { readonly kind: 'notOpen'; readonly opensAtMs: number }
  | { readonly kind: 'door'; readonly retryAfterMs: number }
  | { readonly kind: 'conflict' | 'suspended' | 'unknown' | 'clash' | 'busy' }

export type SaleState = 'upcoming' | 'open' | 'suspended' | 'sold-out'
export interface SaleView extends Omit<Sale, 'door' | 'generation'> {
  readonly state: SaleState
  readonly available: number
}
export interface OrderView extends Purchase {
  readonly state: 'accepted' | 'recorded' | 'rejected'
}

/** The side of the service that faces the buyers. */
export interface Service {
  buy(saleId: string, purchase: Purchase): Promise<Decision>
  /** Writes a sale and puts it on sale; `undefined` if the id is taken. */
  open(draft: Omit<Sale, 'id' | 'generation' | 'door'> & { id?: string; door?: Door }): Promise<SaleView | undefined>
  list(): Promise<SaleView[]>
  view(saleId: string): Promise<SaleView | undefined>
  /** `'suspended'` while the sale has no stock. */
  level(saleId: string): Promise<StockLevel | 'suspended' | undefined>
  order(saleId: string, orderId: string): Promise<OrderView | undefined>
  close(): Promise<void>
}

/** A sale as this process sells it. */
interface Stall {
  readonly sale: Sale
  readonly sku: string
  readonly stock: Seller
  readonly door: RateLimiter
  /** Until then the sale is known to have no stock. */
  suspendedUntilMs: number
}

const accepted: Decision = { kind: 'accepted' }
const replayed: Decision = { kind: 'replayed' }
const suspended: Decision = { kind: 'suspended' }

/** How long a process goes by what it knows about a sale without stock, or about an id that is no sale. */
const recheckMs = 250
const mostUnknownIds = 10_000
const mostListed = 100

/** Orders need no order among each other. One key per process keeps a trip's messages in one batch of one partition. */
const partitionKey = randomUUID()

export const stateOf = (sale: Sale, available: number | undefined): SaleState => {
  if (available === undefined) return 'suspended'
  if (sale.opensAtMs > Date.now()) return 'upcoming'
  return available > 0 ? 'open' : 'sold-out'
}

export function createService(
  stores: Stores,
  publisher: Publisher<OrderMessage>,
  options: Pick<Options, 'door' | 'gate' | 'workers'>,
): Service {
  const books = stores.seller()
  const stocks = new Map<number, Seller>()
  const doors = new Map<string, RateLimiter>()
  const stalls = new Map<string, Stall>()
  const loading = new Map<string, Promise<Stall | undefined>>()
  const unknownUntilMs = new Map<string, number>()

  /** Sales of one size share a gate of that size. */
  function stockFor({ quantity }: Sale): Seller {
    const units = options.gate ?? Math.ceil((quantity / options.workers) * 1.2)
    const known = stocks.get(units)
    if (known) return known
    const stock = stores.seller({ gate: units })
    stocks.set(units, stock)
    return stock
  }

  function doorFor(door: Door): RateLimiter {
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

  async function load(saleId: string): Promise<Stall | undefined> {
    const found = await findSale(stores.db, saleId)
    if (!found) {
      if (unknownUntilMs.size >= mostUnknownIds) unknownUntilMs.clear()
      unknownUntilMs.set(saleId, Date.now() + recheckMs)
      return undefined
    }
    const { sale } = found
    const known = stalls.get(saleId)
    if (known?.sale.generation === sale.generation) return known
    const suspendedUntilMs = sale.generation === 0 ? Date.now() + recheckMs : 0
    const stall = { sale, sku: skuOf(sale), stock: stockFor(sale), door: doorFor(sale.door), suspendedUntilMs }
    stalls.set(saleId, stall)
    return stall
  }

  /** Callers that ask at once share one look at the database. */
  function reload(saleId: string): Promise<Stall | undefined> {
    const under = loading.get(saleId)
    if (under) return under
    const look = load(saleId).finally(() => loading.delete(saleId))
    loading.set(saleId, look)
    return look
  }

  async function stallOf(saleId: string): Promise<Stall | undefined> {
    const known = stalls.get(saleId)
    if (known) return known.suspendedUntilMs === 0 || known.suspendedUntilMs > Date.now() ? known : reload(saleId)
    if ((unknownUntilMs.get(saleId) ?? 0) > Date.now()) return undefined
    return reload(saleId)
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
    const current = await reload(stall.sale.id)
    if (current && current !== stall) return sell(current, purchase)
    stall.suspendedUntilMs = Date.now() + recheckMs
    return suspended
  }

  async function levelOf(sale: Sale): Promise<StockLevel | undefined> {
    try {
      return sale.generation === 0 ? undefined : await books.level(skuOf(sale))
    } catch (error) {
      if (isNotOnSale(error)) return undefined
      throw error
    }
  }

  async function viewOf(sale: Sale): Promise<SaleView> {
    const { door: _door, generation: _generation, ...shown } = sale
    const available = (await levelOf(sale))?.available
    return { ...shown, state: stateOf(sale, available), available: available ?? 0 }
  }

  return {
    async buy(saleId, purchase) {
      const stall = stalls.get(saleId)
      const open = stall?.suspendedUntilMs === 0 ? stall : await stallOf(saleId)
      if (!open) return { kind: 'unknown' }
      if (open.suspendedUntilMs > Date.now()) return suspended
      open.suspendedUntilMs = 0
      const { sale, door } = open
      if (sale.opensAtMs > Date.now()) return { kind: 'notOpen', opensAtMs: sale.opensAtMs }
      const pass = await door.take(saleId)
      if (!pass.allowed) return { kind: 'door', retryAfterMs: pass.retryAfterMs }
      try {
        return await sell(open, purchase)
      } catch (error) {
        if (error instanceof OrderConflictError) return { kind: 'conflict' }
        throw error
      }
    },
    async open(draft) {
      const { id = randomUUID(), door = options.door, ...rest } = draft
      const sale: Sale = { ...rest, id, door, generation: 0 }
      if (!(await insertSale(stores.db, sale))) {
        // A sale whose stock could not be opened when it was written is finished by asking again.
        const found = await findSale(stores.db, id)
        if (found?.sale.generation !== 0 || found.sale.quantity !== sale.quantity) return undefined
      }
      unknownUntilMs.delete(id)
      await openStock(stores, books, sale)
      return viewOf({ ...sale, generation: 1 })
    },
    async list() {
      return Promise.all((await listSales(stores.db, mostListed)).map(({ sale }) => viewOf(sale)))
    },
    async view(saleId) {
      const found = await findSale(stores.db, saleId)
      return found && viewOf(found.sale)
    },
    async level(saleId) {
      const found = await findSale(stores.db, saleId)
      return found && ((await levelOf(found.sale)) ?? 'suspended')
    },
    async order(saleId, orderId) {
      const found = await findSale(stores.db, saleId)
      if (!found) return undefined
      const row = await findOrder(stores.db, saleId, orderId)
      if (row) return row
      if (found.sale.generation === 0) return undefined
      const sold = await books.find(orderId, skuOf(found.sale)).catch((error: unknown) => {
        if (isNotOnSale(error)) return undefined
        throw error
      })
      return sold && { orderId, buyer: sold.buyerId ?? '', quantity: sold.quantity, state: 'accepted' }
    },
    async close() {
      await Promise.all([books, ...stocks.values(), ...doors.values()].map((one) => one.close()))
    },
  }
}
