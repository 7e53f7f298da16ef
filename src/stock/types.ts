import type { BackgroundListener } from '../core/background.js'
import type { Clock } from '../core/clock.js'

/** An order for units of one SKU. */
export interface Order {
  /**
   * Your id of the order, unique within the SKU; one order may name several SKUs. An id that sold or holds has that one
   * outcome however often, and from whichever process, it is asked. A refusal is not remembered, so a refused id may try
   * again. An id that was cancelled, has expired or was refunded is spent until the SKU is removed.
   */
  readonly orderId: string
  readonly sku: string
  /** Units, all of them or none. @defaultValue 1 */
  readonly quantity?: number | undefined
  /** Caps what one buyer gets of this SKU at `limit` units, counted in the step that sells. */
  readonly buyer?: { readonly id: string; readonly limit: number } | undefined
}

/** An order whose units are set aside until it is confirmed. */
export interface HoldOrder extends Order {
  /**
   * How long, in milliseconds by the backend's clock, at least 1; `Infinity` until it is settled. Redis ends a hold of 2,048 ms
   * or more up to a thousandth of `holdMs` later.
   */
  readonly holdMs: number
}

/**
 * Why an order was refused. `'sold-out'`: fewer units are left than it wants. `'buyer-limit'`: the buyer would have more
 * than the limit. `'not-open'`: the SKU is not on sale. `'spent'`: the id was cancelled, has expired or was refunded.
 */
export type RefusalReason = 'sold-out' | 'buyer-limit' | 'not-open' | 'spent'

/** The answer to an order. `replayed`: this id had sold (or holds) already, and no more units were taken now. */
export type SaleResult =
  | { readonly ok: true; readonly replayed: boolean }
  | {
      readonly ok: false
      readonly reason: RefusalReason
      /**
       * Units that could be sold when the order was decided; 0 with `'not-open'`. With `'sold-out'` it is less than the order
       * wants. A process that says sold out by itself (`local`) tells what was left when it last asked, up to 250 ms ago.
       */
      readonly available: number
    }

/** The answer to a basket. Nothing of it was sold or held unless `ok`. */
export type BasketResult =
  | {
      readonly ok: true
      /** Every order of it was known already. */
      readonly replayed: boolean
    }
  | {
      readonly ok: false
      /** Index into the list of orders. */
      readonly refusedBy: number
      readonly reason: RefusalReason
      /** As of a {@link SaleResult}. */
      readonly available: number
    }

/**
 * What became of a hold or a sale. `'done'`: it was changed now. `'already'`: an earlier call had done the same.
 * `'expired'`: its hold has ended by itself. `'cancelled'`: it was cancelled, or refunded. `'confirmed'`: it is sold, so
 * `cancel` changes nothing; ask `refund`. `'unknown'`: nothing is known under the id, or, of `refund`, it is only held.
 */
export type SettleResult = 'done' | 'already' | 'expired' | 'cancelled' | 'confirmed' | 'unknown'

/** Where the units of a SKU are: `total = available + held + sold`, and none is negative. */
export interface StockLevel {
  readonly total: number
  /**
   * Unsold units, including those that came back and are not on sale yet: while a process may say sold out by itself
   * (`local`), they are sold to nobody, for up to 250 ms.
   */
  readonly available: number
  /** Units of orders that are neither confirmed, nor cancelled, nor expired yet. */
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
  /** In how many milliseconds a hold ends; `Infinity` if it has no end. Only of a hold. */
  readonly expiresInMs?: number | undefined
}

/** An order that the application knows to be sold. */
export interface SoldOrder {
  readonly orderId: string
  /** @defaultValue 1 */
  readonly quantity?: number | undefined
  readonly buyerId?: string | undefined
}

export type SoldOrders = AsyncIterable<SoldOrder> | Iterable<SoldOrder>

/** What a reconciliation found. */
export interface Reconciliation {
  /** Orders of the application that the stock did not have as sold, and now has. */
  readonly recorded: number
  /** Orders of the application for which no units are left, or that the stock knows with other content. */
  readonly unsold: readonly SoldOrder[]
  /**
   * Orders of the stock that the application did not name: sold and on their way to it, or lost on the way; refunded in the
   * application alone; or only held. Look at `state` before you publish one as sold.
   */
  readonly unknown: readonly RecordedOrder[]
}

/** Makes the stock of a frozen SKU agree with the orders of the application, and puts it on sale again. */
export type Reconcile = (orders: SoldOrders) => Promise<Reconciliation>

/**
 * Stock that neither oversells nor undersells. {@link Stock.sell} is the call for a rush. Where a person pays in between,
 * {@link Stock.reserve} sets units aside, and {@link Stock.confirm} sells them. {@link Stock.sellTogether} does either for
 * several SKUs at once. {@link Stock.orders} and {@link Stock.level} are for reconciliation and for people.
 *
 * Concurrent calls share round trips to the backend. A request that has no answer within `timeoutMs` ends in
 * StoreUnavailableError, whose `applied` says whether it may have taken effect. Wrong arguments reject with a TypeError or
 * RangeError before anything is sent, every call after {@link Stock.close} with ClosedError.
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
   * repeat: the same id sells once. OrderConflictError if the id is known with another quantity or another buyer, or holds.
   *
   * After StoreUnavailableError with `applied: 'unknown'` repeat the call with the same id: it answers what happened.
   */
  sell(order: Order): Promise<SaleResult>
  /**
   * As {@link Stock.sell}, but sets the units aside for `holdMs`. A held unit counts as taken, so confirming never fails for want of
   * stock. A hold that nobody confirms ends by itself: its units are on sale again at that moment, and its id is spent.
   * The same id again answers `replayed` and prolongs nothing. OrderConflictError if the id is sold.
   */
  reserve(order: HoldOrder): Promise<SaleResult>
  /**
   * Sells what an order holds: all of it, or `quantity` units of it, and then the rest goes back. `'already'` if it is sold;
   * OrderConflictError if it is sold with another quantity than `quantity`. RangeError for more than it holds.
   */
  confirm(
    orderId: string,
    sku: string,
    options?: { /** @defaultValue all that is held */ readonly quantity?: number | undefined },
  ): Promise<SettleResult>
  /** Gives back what an order holds, once. Resolves when the units are on sale in every process. */
  cancel(orderId: string, sku: string): Promise<SettleResult>
  /** Gives back what an order bought, once. Resolves when the units are on sale in every process. */
  refund(orderId: string, sku: string): Promise<SettleResult>
  /**
   * A basket: orders of several SKUs (at most 1,000), all of them or none, in one atomic step. Sells, or with `holdMs` holds as
   * {@link Stock.reserve} does. Orders may share an order id. Two orders of one SKU are one order of the sum if they have
   * the same id, else a RangeError. An order that is known already counts as fulfilled; OrderConflictError
   * if it is known with another quantity or buyer, as sold where it is to be held, or as held where it is to be sold.
   *
   * On a Cluster the SKUs must share a slot (`group` of `redisStock`), else RangeError.
   */
  sellTogether(orders: readonly Order[], options?: { readonly holdMs?: number | undefined }): Promise<BasketResult>
  /** Counts at one moment; with `shards` above 1 they are no single snapshot. RangeError if the SKU is not on sale. */
  level(sku: string): Promise<StockLevel>
  /**
   * Every recorded order, each once, in no particular order, for reconciliation with a database. Orders that sell while
   * you iterate may be missing. RangeError if the SKU is not on sale, or is removed on the way.
   */
  orders(sku: string): AsyncIterable<RecordedOrder>
  /**
   * What is recorded under an order id: whether a sale happened, without asking for one. `undefined` if nothing is, if its hold
   * was cancelled or has expired, if its sale was refunded, or if the SKU is not on sale. After a failover it may answer from an
   * older state; `sell` with the same id does not.
   */
  find(orderId: string, sku: string): Promise<RecordedOrder | undefined>
  /**
   * Makes the stock agree with the orders that the application knows to be sold. The SKU is frozen meanwhile: nothing is
   * sold, held or settled, in any process (StockFrozenError). For a SKU that the backend has lost, `total` is what to
   * open it with; without it that is a RangeError. StockFrozenError if another process reconciles it.
   */
  reconcile(sku: string, orders: SoldOrders, options?: { readonly total?: number | undefined }): Promise<Reconciliation>
  /** Ends the sale and removes its keys. Nothing happens if the SKU is not on sale. */
  remove(sku: string): Promise<void>
  /**
   * Turns new calls away and waits for those under way, also for each `reconcile` until its orders have ended. A SKU that
   * `onFrozen` was called for is left to other processes. The client stays yours, and open.
   */
  close(): Promise<void>
}

/** Settings of `createStock`. */
export interface StockOptions {
  /** What metrics and events call the stock. It sets no SKUs apart. @defaultValue `'stock'` */
  readonly name?: string | undefined
  /**
   * Milliseconds that a call may take, waiting for its round trip included; in `orders` and `reconcile`, each request.
   * @defaultValue 1_000
   */
  readonly timeoutMs?: number | undefined
  /**
   * `gate` lets `units` units' worth of orders through to the backend, which decides each of them; then it asks what is
   * left. While nothing is left (or less than an order wants) the process answers sold out by itself, except to an id
   * that may have sold before: that one is still answered by the backend, wherever it sold. Give every process more than
   * its part, such as 10 processes × 120 for 1,000 units. Units that come back are on sale in every process at most 250 ms
   * later; until then no process sells them. docs/guarantees.md says which faults make a process refuse wrongly.
   *
   * @defaultValue every order goes to the backend, in shared trips
   */
  readonly local?: { readonly mode: 'gate'; readonly units: number } | undefined
  /**
   * Called when the backend fell back to an older state of a SKU, as after a failover to a replica that lacked the newest
   * changes. The SKU is frozen in every process (StockFrozenError) until `reconcile` was given the orders that you know to be sold: let your
   * own queue run empty first. One process is called; if it fails, another is, or the same again.
   * @defaultValue the SKU stays frozen until `stock.reconcile` is called
   */
  readonly onFrozen?: ((sku: string, reconcile: Reconcile) => unknown) | undefined
  /**
   * Receives errors that no call can report: `onFrozen` failed; or, with `local`, the recorded order ids could not be read.
   * Until they are, each order of a sold-out SKU costs a round trip, and its answer is as right as before.
   * @defaultValue a process warning
   */
  readonly onBackgroundError?: BackgroundListener | undefined
  /** Where time comes from. @defaultValue systemClock */
  readonly clock?: Clock | undefined
}
