import {
  createStock,
  type Order,
  type Reconciliation,
  type SaleResult,
  type SoldOrders,
  type Stock,
  type StockDriver,
} from 'spillway/stock'

/**
 * What became of an order. `clash`: somebody else's write came first, so nothing was sold; `busy`: its turn did not come
 * in time. Neither is remembered, and the same order may be asked again.
 */
export type Verdict = SaleResult | { readonly ok: false; readonly reason: 'clash' | 'busy' }

/**
 * Decides orders and keeps what it sold: all that queue, database and audit need to know of it. An order id
 * sells once; it is recorded, with its buyer's count, in the step that takes its units. Questions about a SKU that is not
 * on sale reject with RangeError.
 */
export interface Seller extends Pick<Stock, 'open' | 'level' | 'orders' | 'find' | 'remove' | 'close'> {
  sell(order: Order): Promise<Verdict>
  /** Records the orders that were sold before, of a SKU that nobody buys yet. */
  reconcile(sku: string, orders: SoldOrders): Promise<Pick<Reconciliation, 'recorded' | 'unsold'>>
}

export interface SellerOptions {
  /** Orders that this process lets through before it asks what is left. */
  readonly gate?: number
  readonly timeoutMs?: number
  /** Called where the stock finds a SKU in an older state: nobody can sell it any more. */
  readonly onFrozen?: (sku: string) => unknown
}
export type OpenSeller<S extends Seller = Seller> = (options?: SellerOptions) => S

/** The project's own stock. */
export const stockSeller =
  (driver: StockDriver): OpenSeller<Stock> =>
  ({ gate, timeoutMs, onFrozen } = {}) =>
    createStock(driver, {
      ...(gate !== undefined && { local: { mode: 'gate', units: gate } }),
      timeoutMs,
      onFrozen,
    })
