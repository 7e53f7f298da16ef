import { durationMs, keyString, objectWith, optionalFunction, positiveInteger, shown } from '../core/check.js'
import { systemClock } from '../core/clock.js'
import { knownOptions, type Known } from '../core/options.js'
import type { SaleRequest, StockDriver } from './driver.js'
import type { HoldOrder, Order, SoldOrder, StockOptions } from './types.js'

const isObject = (value: unknown): boolean => typeof value === 'object' && value !== null

/** Orders of a basket. */
const mostInBasket = 1_000

const knownOfOrder: Known<Order> = { orderId: true, sku: true, quantity: true, buyer: true }
const knownOfBuyer: Known<NonNullable<Order['buyer']>> = { id: true, limit: true }

/** Compared one by one: a gate answers millions of orders a second, and to look each name up would cost it a third more. */
function hasKnownNames(order: Order): boolean {
  for (const name in order) {
    if (name !== 'sku' && name !== 'orderId' && name !== 'quantity' && name !== 'buyer') return false
  }
  return true
}

/** Checks the parts that every order has, and says how many units it is for. */
export function checkedQuantity(order: Order): number {
  if (!isObject(order)) throw new TypeError(`order must be an object, got ${shown(order)}`)
  if (!hasKnownNames(order)) knownOptions('sell', order, knownOfOrder)
  keyString('sku', order.sku)
  keyString('orderId', order.orderId)
  if (order.buyer !== undefined) {
    if (!isObject(order.buyer)) throw new TypeError(`buyer must be an object, got ${shown(order.buyer)}`)
    knownOptions('sell: buyer', order.buyer, knownOfBuyer)
    keyString('buyer.id', order.buyer.id)
    positiveInteger('buyer.limit', order.buyer.limit)
  }
  return order.quantity === undefined ? 1 : positiveInteger('quantity', order.quantity)
}

/** A copy of a checked order, which no later change of the caller's object reaches. */
export function saleRequest({ sku, orderId, buyer }: Order, quantity: number, holdMs?: number): SaleRequest {
  return { sku, orderId, quantity, buyer: buyer && { id: buyer.id, limit: buyer.limit }, holdMs }
}

/** Whole milliseconds. */
const checkedHoldMs = (value: unknown): number => Math.ceil(durationMs('holdMs', value, 1))

/** A checked copy of an order that is to be held. */
export function holdRequest(order: HoldOrder): SaleRequest {
  if (!isObject(order)) throw new TypeError(`order must be an object, got ${shown(order)}`)
  const { holdMs, ...rest } = order
  return saleRequest(rest, checkedQuantity(rest), checkedHoldMs(holdMs))
}

/** A checked copy of a basket: its orders, those of one SKU as one. */
export interface Basket {
  readonly orders: readonly SaleRequest[]
  /** Where each of `orders` stood in the caller's list; the first of those that are one. */
  readonly places: readonly number[]
}

export function checkedBasket(orders: readonly Order[], options: unknown): Basket {
  if (!Array.isArray(orders)) throw new TypeError(`orders must be an array, got ${shown(orders)}`)
  if (orders.length === 0 || orders.length > mostInBasket) {
    throw new RangeError(`orders must have 1 to ${mostInBasket} elements, got ${orders.length}`)
  }
  const known = knownOptions<{ readonly holdMs?: number | undefined }>('sellTogether', options, { holdMs: true })
  const holdMs = known.holdMs === undefined ? undefined : checkedHoldMs(known.holdMs)
  const places = new Map<string, number>()
  const bySku = new Map<string, SaleRequest>()
  for (const [place, order] of (orders as readonly Order[]).entries()) {
    const request = saleRequest(order, checkedQuantity(order), holdMs)
    const earlier = bySku.get(order.sku)
    bySku.set(order.sku, earlier ? sumOf(earlier, request) : request)
    if (!earlier) places.set(order.sku, place)
  }
  return { orders: [...bySku.values()], places: [...places.values()] }
}

/** Two orders of one SKU in one basket. */
function sumOf(one: SaleRequest, other: SaleRequest): SaleRequest {
  const sku = JSON.stringify(one.sku)
  if (one.orderId !== other.orderId) {
    throw new RangeError(
      `orders of one SKU must have one id in a basket, got ${shown(one.orderId)} and ${shown(other.orderId)} of ${sku}`,
    )
  }
  if (one.buyer && other.buyer && (one.buyer.id !== other.buyer.id || one.buyer.limit !== other.buyer.limit)) {
    throw new RangeError(`order ${shown(one.orderId)} of ${sku} must have one buyer and limit in a basket`)
  }
  const quantity = positiveInteger('the sum of the quantities', one.quantity + other.quantity)
  return { ...one, quantity, buyer: one.buyer ?? other.buyer }
}

const knownOfSoldOrder: Known<SoldOrder> = { orderId: true, quantity: true, buyerId: true }

/** An order of the application, to be recorded as sold whatever limit it was sold under. */
export function soldRequest(order: SoldOrder, sku: string): SaleRequest {
  if (!isObject(order)) throw new TypeError(`order must be an object, got ${shown(order)}`)
  const { orderId, quantity, buyerId } = knownOptions<SoldOrder>('reconcile', order, knownOfSoldOrder)
  return {
    sku,
    orderId: keyString('orderId', orderId),
    quantity: quantity === undefined ? 1 : positiveInteger('quantity', quantity),
    buyer: buyerId === undefined ? undefined : { id: keyString('buyerId', buyerId), limit: Number.MAX_SAFE_INTEGER },
  }
}

/** The orders of an application, and what to open their SKU with; 0 if it is only to be reconciled. */
export function checkedReconcile(orders: unknown, options: unknown): number {
  if (!isObject(orders) || !(Symbol.iterator in (orders as object) || Symbol.asyncIterator in (orders as object))) {
    throw new TypeError(`orders must be iterable, got ${shown(orders)}`)
  }
  const { total } = knownOptions<{ readonly total?: number | undefined }>('reconcile', options, { total: true })
  return total === undefined ? 0 : positiveInteger('total', total)
}

/** The units to confirm, if not all. */
export function confirmQuantity(options: unknown): number | undefined {
  const { quantity } = knownOptions<{ readonly quantity?: number | undefined }>('confirm', options, { quantity: true })
  return quantity === undefined ? undefined : positiveInteger('quantity', quantity)
}

/** Units to add, or to take away: any integer but 0. */
export function unitsChange(quantity: unknown): number {
  return typeof quantity === 'number' && quantity < 0
    ? -positiveInteger('-quantity', -quantity)
    : positiveInteger('quantity', quantity)
}

const verbs: readonly (keyof StockDriver)[] = ['adjust', 'sell', 'sellTogether', 'settle', 'level', 'orders', 'find']

/** Refuses what is no driver, such as a client, and names what came. */
export const checkedDriver = (driver: StockDriver): StockDriver =>
  objectWith('createStock: the driver', driver, verbs, 'a StockDriver, such as memoryStock() or redisStock(redis)')

const knownOfStock: Known<StockOptions> = {
  name: true,
  timeoutMs: true,
  local: true,
  onFrozen: true,
  onBackgroundError: true,
  clock: true,
}

export function checkedOptions(options: StockOptions | undefined) {
  const known = knownOptions<StockOptions>('createStock', options, knownOfStock)
  const { local, clock = systemClock, onBackgroundError } = known
  return {
    name: keyString('name', known.name ?? 'stock'),
    timeoutMs: durationMs('timeoutMs', known.timeoutMs ?? 1_000, 1),
    gateUnits: local === undefined ? undefined : checkedGate(local),
    onFrozen: optionalFunction('onFrozen', known.onFrozen),
    onBackgroundError: optionalFunction('onBackgroundError', onBackgroundError),
    clock,
  }
}

/** The units of a gate. Refuses a way of selling that does not exist. */
function checkedGate(local: NonNullable<StockOptions['local']>): number {
  const { mode } = isObject(local) ? (local as { readonly mode?: unknown }) : {}
  if (mode !== 'gate') throw new TypeError(`local.mode must be 'gate', the only one supported, got ${shown(mode)}`)
  knownOptions('createStock: local', local, { mode: true, units: true })
  return positiveInteger('local.units', local.units)
}

/** The id of a restock, if it has one. */
export function restockId(options: unknown): string | undefined {
  const { id } = knownOptions<{ readonly id?: string | undefined }>('restock', options, { id: true })
  return id === undefined ? undefined : keyString('id', id)
}
