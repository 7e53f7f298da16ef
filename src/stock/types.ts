import type { BackgroundListener } from '../core/background.js'
import type { Clock } from '../core/clock.js'

/** One buyer's wish for units of one SKU. */
export interface Order {
  /**
   * Your id of the order, unique within the SKU. An id that sold has that one outcome however often, and from whichever
   * process, it is asked. A refusal is not remembered, so a refused id may try again.
   */
  readonly orderId: string
  readonly sku: string
  /** Units, all of them or none. @defaultValue 1 */
  readonly quantity?: number | undefined
  /** Caps what one buyer gets of this SKU at `limit` units, counted in the step that sells. */
  readonly buyer?: { readonly id: string; readonly limit: number } | undefined
}

/**
 * The answer to an order. `replayed`: this id had sold before, and nothing more was sold now. `'spent'` is kept for ids
 * whose sale was taken back.
 */
export type SaleResult =
  | { readonly ok: true; readonly replayed: boolean }
  | {
      readonly ok: false
      readonly reason: 'sold-out' | 'buyer-limit' | 'not-open' | 'spent'
      /**
       * Units that could be sold when the order was decided. A process that says sold out by itself (`local`) tells what
       * was left when it last asked, up to 250 ms ago: never too few for the order, perhaps more or fewer than now.
       */
      readonly available: number
    }

/** Where the units of a SKU are: `total = available + held + sold`, and none is negative. */
export interface StockLevel {
  readonly total: number
  /**
   * Unsold units, including those that came back and are not on sale yet: while a process may say sold out by itself
   * (`local`), they are sold to nobody, for up to 250 ms.
   */
  readonly available: number
  readonly held: number
  readonly sold: number
}

/** An order that sold or holds units, as the backend has it. */
export interface RecordedOrder {
  readonly orderId: string
  readonly quantity: number
  readonly state: 'held' | 'sold'
  /** The buyer, if the order named one. */
  readonly buyerId?: string | undefined
}

/**
 * Stock that neither oversells nor undersells. {@link Stock.sell} is the call for a rush; {@link Stock.orders} and
 * {@link Stock.level} are for reconciliation and for people.
 *
 * Concurrent calls share trips to the backend. None outlives `timeoutMs`: StoreUnavailableError then, whose `applied`
 * says whether it may have taken effect. Wrong arguments reject with a TypeError or RangeError before anything is sent,
 * every call after {@link Stock.close} with ClosedError.
 */
export interface Stock extends AsyncDisposable {
  /**
   * Puts `quantity` units of a SKU on sale. `false` if it is on sale already, sold out or not: then nothing changes, so a
   * deployment that opens its sales again refills none of them.
   */
  open(sku: string, quantity: number): Promise<boolean>
  /**
   * Adds units, or takes unsold ones away with a negative `quantity`. With `id` it applies once however often it is
   * asked; give one, and a call that ended in StoreUnavailableError can simply be repeated.
   *
   * Resolves when the units are on sale in every process. RangeError, and nothing changed, if fewer unsold units are left
   * than are to go, or if the SKU is not on sale.
   */
  restock(sku: string, quantity: number, options?: { readonly id?: string | undefined }): Promise<void>
  /**
   * Sells in one step: counts the units, checks the buyer's limit and records the order id, or does none of it. Safe to
   * repeat: the same id sells once. OrderConflictError if the id is known with another quantity, or with another buyer.
   *
   * After StoreUnavailableError with `applied: 'unknown'` repeat the call with the same id: it answers what happened.
   */
  sell(order: Order): Promise<SaleResult>
  /** Counts at one moment. RangeError if the SKU is not on sale. */
  level(sku: string): Promise<StockLevel>
  /**
   * Every recorded order, each once, in no particular order, for reconciliation with a database. Orders that sell while
   * you iterate may be missing. RangeError if the SKU is not on sale, or is removed on the way.
   */
  orders(sku: string): AsyncIterable<RecordedOrder>
  /** What is recorded under an order id: whether a sale happened, without asking for one. */
  find(orderId: string, sku: string): Promise<RecordedOrder | undefined>
  /** Ends the sale and removes its keys. Nothing happens if the SKU is not on sale. */
  remove(sku: string): Promise<void>
  /** Turns new calls away and waits for those under way. The client stays yours, and open. */
  close(): Promise<void>
}

/** Settings of `createStock`. */
export interface StockOptions {
  /** What metrics and events call the stock. It sets no SKUs apart. @defaultValue `'stock'` */
  readonly name?: string | undefined
  /** How long any one call may take, waiting for its trip included. @defaultValue 1_000 */
  readonly timeoutMs?: number | undefined
  /**
   * `gate` lets `units` units' worth of orders through to the backend, which decides each of them; then it asks what is
   * left. While nothing is left (or less than an order wants) the process answers sold out by itself, except to an id
   * that may have sold before: that one is still answered by the backend, wherever it sold. Give every process more than
   * its part, such as 10 processes × 120 for 1,000 units. Units that come back are on sale in every process within a
   * second; until then they are sold in none, so no process is ever wrong about an order.
   *
   * @defaultValue every order goes to the backend, in shared trips
   */
  readonly local?: { readonly mode: 'gate'; readonly units: number } | undefined
  /**
   * Told of faults that no call can be told of: with `local`, the recorded order ids could not be read. Until they are,
   * each order of a sold-out SKU costs a round trip, and its answer is as right as before.
   * @defaultValue a process warning
   */
  readonly onBackgroundError?: BackgroundListener | undefined
  /** Where time comes from. @defaultValue systemClock */
  readonly clock?: Clock | undefined
}
