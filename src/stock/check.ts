import { keyString, objectWith, positiveInteger, shown } from '../core/check.js'
import type { SaleRequest, StockDriver } from './driver.js'
import type { Order, StockOptions } from './types.js'

const isObject = (value: unknown): boolean => typeof value === 'object' && value !== null

/** Checks the parts that every order has, and says how many units it is for. */
export function checkedQuantity(order: Order): number {
  if (!isObject(order)) throw new TypeError(`order must be an object, got ${shown(order)}`)
  keyString('sku', order.sku)
  keyString('orderId', order.orderId)
  if (order.buyer !== undefined) {
    if (!isObject(order.buyer)) throw new TypeError(`buyer must be an object, got ${shown(order.buyer)}`)
    keyString('buyer.id', order.buyer.id)
    positiveInteger('buyer.limit', order.buyer.limit)
  }
  return order.quantity === undefined ? 1 : positiveInteger('quantity', order.quantity)
}

/** A copy of a checked order, which no later change of the caller's object reaches. */
export function saleRequest({ sku, orderId, buyer }: Order, quantity: number): SaleRequest {
  return { sku, orderId, quantity, buyer: buyer && { id: buyer.id, limit: buyer.limit } }
}

/** Units to add, or to take away: any integer but 0. */
export function unitsChange(quantity: unknown): number {
  return typeof quantity === 'number' && quantity < 0
    ? -positiveInteger('-quantity', -quantity)
    : positiveInteger('quantity', quantity)
}

const verbs: readonly (keyof StockDriver)[] = ['adjust', 'sell', 'level', 'orders', 'find']

/** Refuses what is no driver, such as a client. */
export const checkedDriver = (driver: StockDriver): StockDriver =>
  objectWith('driver', driver, verbs, 'a StockDriver, such as memoryStock() or redisStock(redis)')

/** Refuses a way of selling that does not exist. */
export function checkedOptions(options: StockOptions): void {
  if (!isObject(options)) throw new TypeError(`options must be an object, got ${shown(options)}`)
  const mode = (options.local as { mode?: unknown } | undefined)?.mode
  if (options.local !== undefined && mode !== 'gate') {
    throw new TypeError(`local.mode must be 'gate', the only one supported, got ${String(mode)}`)
  }
}
