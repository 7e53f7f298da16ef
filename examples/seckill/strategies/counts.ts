import type { Order, RecordedOrder, StockLevel } from 'spillway/stock'
import type { Seen } from './seller.js'

/** What a holder of the lock makes of the numbers that it read. */
export interface Decrement {
  readonly order: Order
  /** Unsold units from now on. */
  readonly left: number
  /** Units of the buyer from now on. */
  readonly bought: number
}

/**
 * A SKU's numbers, which one process reads, changes and writes back: right only under a lock. They are also the resource
 * that fences the lock: a read with a token shuts out every smaller one, and a write needs the token of the last read.
 * A token is shut out as soon as the next holder *reads*: if only writes were looked at, a late write could still slip in
 * between the read and the write of that holder, which then overwrites it. Without a token nothing is checked.
 */
export interface Counts {
  /** `false` if the SKU is on sale. */
  open(sku: string, quantity: number): Promise<boolean>
  /** `undefined` if the SKU is not on sale. */
  read(order: Order, token: bigint | undefined): Promise<Seen | undefined | 'stale'>
  /** Writes the numbers and records the order, in one step; `false`, and nothing written, for a token that was shut out. */
  write(decrement: Decrement, token: bigint | undefined): Promise<boolean>
  level(sku: string): Promise<StockLevel>
  orders(sku: string): AsyncIterable<RecordedOrder>
  find(orderId: string, sku: string): Promise<RecordedOrder | undefined>
  remove(sku: string): Promise<void>
}

/** Tokens as texts of one length, so that they compare as texts do, beyond what a floating-point number can hold. */
export const tokenText = (token: bigint | undefined): string => token?.toString().padStart(20, '0') ?? ''

export const levelOf = (total: number, left: number): StockLevel => {
  return { total, available: left, held: 0, sold: total - left }
}

export const recordOf = (orderId: string, quantity: number, buyer: string): RecordedOrder => {
  return { orderId, quantity, state: 'sold', ...(buyer !== '' && { buyerId: buyer }) }
}
