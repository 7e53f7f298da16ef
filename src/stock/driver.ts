import { OrderConflictError, StockFrozenError, StoreUnavailableError } from '../core/errors.js'
import type { Trip } from '../core/group-commit.js'
import type { BasketResult, RecordedOrder, SaleResult, SettleResult, StockLevel } from './types.js'

/** One order on its way to the backend, checked and complete. */
export interface SaleRequest {
  readonly sku: string
  readonly orderId: string
  readonly quantity: number
  readonly buyer: { readonly id: string; readonly limit: number } | undefined
  /** How long to hold the units; absent: sell them. */
  readonly holdMs?: number | undefined
}

/** A change of the sale itself. Each may arrive twice, and applies once. */
export type StockChange =
  /** `epoch` is the new sale's own random id; finding it there already means that this very change was applied. */
  | { readonly kind: 'open'; readonly epoch: string; readonly quantity: number }
  | { readonly kind: 'restock'; readonly id: string; readonly quantity: number }
  /**
   * Lets nobody sell but the holder of the token, until the thaw, and nobody else freeze for `forMs`. Where the SKU is not on
   * sale it is opened frozen with `quantity`, unless that is 0. Its `onSaleInMs` is 0 when no process may say sold out by itself.
   */
  | { readonly kind: 'freeze'; readonly token: string; readonly quantity: number; readonly forMs: number }
  /** Keeps a freeze of one's own for longer. */
  | { readonly kind: 'keep-frozen'; readonly token: string; readonly forMs: number }
  | { readonly kind: 'thaw'; readonly token: string }
  /** Ends the sale of that epoch and no other, so that a late duplicate spares a sale opened since. */
  | { readonly kind: 'remove'; readonly epoch: string }

/** What became of a change. */
export interface StockChanged {
  /** `refused`: the sale is not as the change needs it (already open, too few units, too many units, frozen by another). */
  readonly outcome: 'done' | 'refused' | 'not-open'
  /** Unsold units after it. */
  readonly available: number
  /** Milliseconds until added units can be sold; above 0 while some process may still say sold out by itself. */
  readonly onSaleInMs: number
}

/** The end of a hold, or the return of a sale. */
export interface Settlement {
  readonly kind: 'confirm' | 'cancel' | 'refund'
  readonly orderId: string
  /** Units to confirm; absent: all that are held. */
  readonly quantity?: number | undefined
}

/** What became of a settlement. */
export interface Settled {
  readonly outcome: SettleResult
  /** As of {@link StockChanged}, for the units that came back. */
  readonly onSaleInMs: number
}

/** Asks the backend for the right to say sold out, for `forMs`, if fewer than `below` units are left. */
export interface CloseRequest {
  readonly below: number
  readonly forMs: number
}

/** A sale as the backend sees it. */
export interface StockState extends StockLevel {
  /** Random id of the sale, made when it was opened. */
  readonly epoch: string
  /** A number that grows each time the sale is put on sale again after a freeze. */
  readonly thaws: number
  /** How many order ids are recorded, spent ones included. It never falls between two thaws. */
  readonly recorded: number
  /**
   * For how long the {@link CloseRequest} was granted, 0 if it was not: units that come back meanwhile are sold only
   * afterwards. It ends when the next hold does.
   */
  readonly closedForMs: number
  /** Whether it is frozen: then `sell`, `sellTogether` and `settle` answer with StockFrozenError. */
  readonly frozen: boolean
}

/** What is recorded under an order id. */
export type OrderRecord = RecordedOrder | { readonly orderId: string; readonly state: 'spent' }

/** A part of the recorded orders. */
export interface OrdersPage {
  readonly epoch: string
  readonly orders: readonly OrderRecord[]
  /** Where the next page begins; `undefined` after the last. */
  readonly next: string | undefined
}

/**
 * What a backend does for stock: one attempt per call, no waiting, no retry. Every verb is atomic for each SKU (`sellTogether` for
 * each basket), goes by the backend's clock, and may run twice (a client resends what was under way when its connection
 * broke). A hold whose time has passed counts as ended in every verb. `sell`, `sellTogether` and `settle` of a frozen sale reject
 * with StockFrozenError. Pass it to `createStock`.
 *
 * Calls `trip.sending()` right before the request leaves the process.
 */
export interface StockDriver {
  /** Orders of one SKU that differ in it are decided in trips of their own. Absent: all of a SKU share trips. */
  lane?(sku: string, orderId: string): number
  /** Throws a TypeError or RangeError for a SKU that the backend cannot have. Absent: it can have all. */
  checkSku?(sku: string): void
  /** Makes changes of one kind one after the other and answers in their order; there are at most 1,000. */
  adjust(sku: string, changes: readonly StockChange[], trip: Trip): Promise<readonly StockChanged[]>
  /**
   * Decides the orders one after the other and answers in their order; there are at most 1,000 and an id may be among
   * them twice. An error in a place (OrderConflictError, `damagedOrder`) fails that order alone. `token`, of whoever has
   * frozen the sale: then an order sells if there are units, although its id is held or spent.
   */
  sell(
    sku: string,
    orders: readonly SaleRequest[],
    trip: Trip,
    token?: string,
  ): Promise<readonly (SaleResult | Error)[]>
  /**
   * Decides baskets one after the other, each whole or not at all; they have at most 1,000 orders together. The orders of a
   * basket are of different SKUs, all of one {@link StockDriver.basketLane}.
   */
  sellTogether(baskets: readonly (readonly SaleRequest[])[], trip: Trip): Promise<readonly (BasketResult | Error)[]>
  /** SKUs of different lanes cannot be in one basket. Absent: all can. A RangeError if the SKU can be in none. */
  basketLane?(sku: string): string | number
  /** Settles orders one after the other and answers in their order; there are at most 1,000, of one kind. */
  settle(sku: string, settlements: readonly Settlement[], trip: Trip): Promise<readonly (Settled | Error)[]>
  /** `undefined` when the SKU is not on sale. */
  level(sku: string, close: CloseRequest | undefined, trip: Trip): Promise<StockState | undefined>
  /**
   * A page of recorded orders, from the beginning or from `cursor`; `undefined` when the SKU is not on sale. All that is
   * recorded when the first page is read is in one of the pages; an order may be in two.
   */
  orders(sku: string, cursor: string | undefined, trip: Trip): Promise<OrdersPage | undefined>
  /**
   * What is recorded under each id, in the order asked. Of a SKU that is not on sale nothing is. An error in a place
   * fails that question alone.
   */
  find(sku: string, orderIds: readonly string[], trip: Trip): Promise<readonly (OrderRecord | Error | undefined)[]>
}

/** How an order that came back differs from what is recorded under its id. */
export type Conflict = 'quantity' | 'buyer' | 'sold' | 'held'

/** An order id came back with something else than it is known with. */
export function orderConflict({ orderId, sku }: Pick<SaleRequest, 'orderId' | 'sku'>, what: Conflict): Error {
  const order = `stock: order ${JSON.stringify(orderId)} of ${JSON.stringify(sku)}`
  const known = what === 'quantity' || what === 'buyer' ? `known with another ${what}` : `${what} already`
  return new OrderConflictError(`${order} is ${known}`)
}

/** More was to be confirmed than the order holds. */
export function tooMuchToConfirm(sku: string, { orderId, quantity }: Settlement): RangeError {
  return new RangeError(
    `quantity ${quantity} is out of range: order ${JSON.stringify(orderId)} of ${JSON.stringify(sku)} holds fewer units`,
  )
}

/** What a backend holds under an order id, or for its buyer, is nothing that a driver writes. */
export function damagedOrder(orderId: string, sku: string): StoreUnavailableError {
  return new StoreUnavailableError(
    `stock: what is stored for order ${JSON.stringify(orderId)} of ${JSON.stringify(sku)} was not written by spillway`,
    { applied: 'no' },
  )
}

/** The sale of a SKU has lost changes that somebody had seen: nothing of it is sold until it was reconciled. */
export function frozenSale(sku: string): StockFrozenError {
  return new StockFrozenError(
    `stock: ${JSON.stringify(sku)} is frozen: the backend fell back to an older state of it, or it is being reconciled`,
  )
}

/** The SKU is spread otherwise than this process does, which could find no order and no buyer of it. */
export function openedOtherwise(sku: string, opened: string, given: number): StoreUnavailableError {
  const why = `was opened with shards: ${opened}, and redisStock was given shards: ${given}`
  return new StoreUnavailableError(`stock: ${JSON.stringify(sku)} ${why}`, { applied: 'no' })
}

/** What a backend holds at a SKU's keys is no sale. */
export function damagedSale(sku: string, cause: unknown): StoreUnavailableError {
  return new StoreUnavailableError(
    `stock: what is stored for ${JSON.stringify(sku)} is not a sale, or only a part of one`,
    { applied: 'no', cause },
  )
}
