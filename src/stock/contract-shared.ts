import assert from 'node:assert/strict'
import type { Trip } from '../core/group-commit.js'
import type { SaleRequest, StockDriver } from './driver.js'
import type { Order, RecordedOrder, RefusalReason, SaleResult, Stock, StockLevel } from './types.js'

/** What a case of the suite is given. */
export interface Bench {
  readonly stock: Stock
  /** A second front over the same units: another process. */
  readonly elsewhere: Stock
  readonly driver: StockDriver
  /** Awaits what may wait for the gates of other processes. */
  readonly onSale: <T>(work: Promise<T>) => Promise<T>
  /** Lets at least so much time pass. */
  readonly advance: (ms: number) => Promise<void>
  /** Whether any SKUs can share a basket. */
  readonly baskets: boolean
  /** Whether the orders of a trip are decided in their order. */
  readonly ordered: boolean
}

export const sku = 'shoe {42}'
export const trip: Trip = { signal: new AbortController().signal, sending: () => undefined }
export const sold: SaleResult = { ok: true, replayed: false }
export const replayed: SaleResult = { ok: true, replayed: true }
export const refused = (reason: RefusalReason, available: number): SaleResult => {
  return { ok: false, reason, available }
}
export const request = (orderId: string, more: Partial<SaleRequest> = {}): SaleRequest => {
  return { sku, orderId, quantity: 1, buyer: undefined, ...more }
}

/** Adds a case to the suite. */
export type Check = (name: string, body: (bench: Bench) => Promise<void>) => void

/** So long that no hold ends in a case that does not wait for it. */
export const longMs = 600_000
/** So short that a case can wait for the end of a hold. */
export const shortMs = 300
/** Waits until every hold of `shortMs` has ended. Timers and the backend's clock may differ by a little. */
export const lapse = ({ advance }: Pick<Bench, 'advance'>): Promise<void> => advance(shortMs + 30)

export const many = (count: number, prefix = 'order'): Order[] =>
  Array.from({ length: count }, (_, i) => ({ sku, orderId: `${prefix}-${i}` }))

export const sellAll = (stock: Stock, orders: readonly Order[]): Promise<SaleResult[]> =>
  Promise.all(orders.map((order) => stock.sell(order)))
export const reserveAll = (stock: Stock, orders: readonly Order[], holdMs = longMs): Promise<SaleResult[]> =>
  Promise.all(orders.map((order) => stock.reserve({ ...order, holdMs })))
export const soldOf = (results: readonly SaleResult[]): number =>
  results.filter((one) => one.ok && !one.replayed).length

export async function listed(stock: Stock, name = sku): Promise<RecordedOrder[]> {
  const orders: RecordedOrder[] = []
  for await (const order of stock.orders(name)) orders.push(order)
  return orders
}

/** The level, after checking that it adds up. */
export async function added(stock: Stock, name = sku): Promise<StockLevel> {
  const level = await stock.level(name)
  const { total, available, held, sold } = level
  for (const count of [total, available, held, sold]) assert.ok(Number.isSafeInteger(count) && count >= 0)
  assert.equal(total, available + held + sold)
  return level
}

/** Available, held and sold units of a quiet moment, after checking that they agree with the recorded orders. */
export async function counts(stock: Stock, name = sku): Promise<[available: number, held: number, sold: number]> {
  const { available, held, sold } = await added(stock, name)
  const recorded = await listed(stock, name)
  assert.equal(new Set(recorded.map((order) => order.orderId)).size, recorded.length)
  const unitsOf = (state: RecordedOrder['state']): number =>
    recorded.reduce((sum, order) => sum + (order.state === state ? order.quantity : 0), 0)
  assert.deepEqual([unitsOf('held'), unitsOf('sold')], [held, sold])
  return [available, held, sold]
}

/** The level of a quiet moment when nothing is held, after checking that it agrees with the recorded orders. */
export async function balanced(stock: Stock): Promise<{ total: number; available: number; sold: number }> {
  const [available, held, sold] = await counts(stock)
  assert.equal(held, 0)
  return { total: available + sold, available, sold }
}
