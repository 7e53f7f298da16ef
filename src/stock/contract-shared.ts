import type { Trip } from '../core/group-commit.js'
import type { SaleRequest, StockDriver } from './driver.js'
import type { SaleResult, Stock } from './types.js'

/** What a case of the suite is given. */
export interface Bench {
  readonly stock: Stock
  /** A second front over the same units: another process. */
  readonly elsewhere: Stock
  readonly driver: StockDriver
  /** Awaits what may wait for the gates of other processes. */
  readonly onSale: <T>(work: Promise<T>) => Promise<T>
}

export const sku = 'shoe {42}'
export const trip: Trip = { signal: new AbortController().signal, sending: () => undefined }
export const sold: SaleResult = { ok: true, replayed: false }
export const replayed: SaleResult = { ok: true, replayed: true }
export const refused = (reason: 'sold-out' | 'buyer-limit' | 'not-open', available: number): SaleResult => {
  return { ok: false, reason, available }
}
export const request = (orderId: string, more: Partial<SaleRequest> = {}): SaleRequest => {
  return { sku, orderId, quantity: 1, buyer: undefined, ...more }
}

/** Adds a case to the suite. */
export type Check = (name: string, body: (bench: Bench) => Promise<void>) => void
