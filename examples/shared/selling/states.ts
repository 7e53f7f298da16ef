import type { Sale } from './sales.js'
import type { OrderState } from './tables.js'

export type SaleState = 'upcoming' | 'open' | 'suspended' | 'sold-out'

/** The state of a sale with so many units to sell; `undefined`: its stock does not know it. */
export const stateOf = (sale: Sale, available: number | undefined, nowMs: number): SaleState => {
  if (available === undefined) return 'suspended'
  if (sale.opensAtMs > nowMs) return 'upcoming'
  return available > 0 ? 'open' : 'sold-out'
}

/** An order as its buyer sees it. */
export interface OrderView {
  readonly orderId: string
  readonly buyer: string
  readonly quantity: number
  /** `'accepted'`: sold, and on its way to the database. */
  readonly state: 'held' | 'expired' | 'cancelled' | 'accepted' | OrderState
}
