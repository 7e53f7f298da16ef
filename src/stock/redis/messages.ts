import { integerReply as count, textReply as text } from '../../core/redis-reply.js'
import {
  damagedOrder,
  damagedSale,
  frozenSale,
  orderConflict,
  tooMuchToConfirm,
  type OrderRecord,
  type SaleRequest,
  type Settled,
  type Settlement,
  type StockChange,
} from '../driver.js'
import type { BasketResult, SaleResult, SettleResult } from '../types.js'

// Requests as the scripts take them, and what their replies mean.

type Arguments = readonly (string | number)[]

/** The end of a hold that never ends by itself, as sale.lua writes it. */
const never = Number.MAX_SAFE_INTEGER

const taken = Object.freeze({ ok: true, replayed: false } as const)
const replayed = Object.freeze({ ok: true, replayed: true } as const)

/** What a script says of a sale that it can do nothing with; `undefined` if it says nothing of the kind. */
export function unfitSale(sku: string, error: unknown): Error | undefined {
  if (!(error instanceof Error)) return undefined
  if (/\bFROZEN\b/.test(error.message)) return frozenSale(sku)
  // A key of another type, or one that a script found not to be a sale's.
  return /\b(?:WRONGTYPE|NOTASALE)\b/.test(error.message) ? damagedSale(sku, error) : undefined
}

export function changeArguments(change: StockChange): Arguments {
  switch (change.kind) {
    case 'restock':
      return [change.id, change.quantity, 0]
    case 'freeze':
      return [change.token, change.quantity, change.forMs]
    case 'keep-frozen':
      return [change.token, 0, change.forMs]
    case 'thaw':
      return [change.token, 0, 0]
    case 'open':
      return [change.epoch, change.quantity, 0]
    case 'remove':
      return [change.epoch, 0, 0]
  }
}

/** Parallel JSON arrays: Redis decodes them in C, and the usual order, one unit sold to nobody by name, is its id. */
export function packed(orders: readonly SaleRequest[]): string[] {
  const units = orders.some(({ quantity }) => quantity !== 1)
  const named = orders.some(({ buyer }) => buyer)
  const held = orders.some(({ holdMs }) => holdMs !== undefined)
  return [
    JSON.stringify(orders.map(({ orderId }) => orderId)),
    units ? JSON.stringify(orders.map(({ quantity }) => quantity)) : '',
    named ? JSON.stringify(orders.map(({ buyer }) => buyer?.id ?? '')) : '',
    named ? JSON.stringify(orders.map(({ buyer }) => buyer?.limit ?? 0)) : '',
    held ? JSON.stringify(orders.map(({ holdMs = 0 }) => Math.min(holdMs, never))) : '',
  ]
}

/** One letter per request. */
export function lettersReply(reply: unknown, length: number): string {
  const letters = text(reply)
  if (letters.length === length) return letters
  throw new TypeError(`${letters.length} outcomes of ${length} requests`)
}

/** Baskets for together.lua; `indexes` says which of the script's SKUs each is. */
export function packedBaskets(
  baskets: readonly (readonly SaleRequest[])[],
  indexes: ReadonlyMap<string, number>,
): string {
  const order = ({ sku, orderId, quantity, buyer }: SaleRequest): unknown[] => [
    ...[indexes.get(sku), orderId, quantity],
    ...(buyer ? [buyer.id, buyer.limit] : ['', 0]),
  ]
  return JSON.stringify(baskets.map((orders) => [Math.min(orders[0]?.holdMs ?? 0, never), orders.map(order)]))
}

/** An answer to an order that took nothing, by its letter of sale.lua. */
export function unsold(
  order: SaleRequest,
  letter: string | undefined,
  available: number,
): (SaleResult & { ok: false }) | Error {
  switch (letter) {
    case 's':
      return { ok: false, reason: 'sold-out', available }
    case 'b':
      return { ok: false, reason: 'buyer-limit', available }
    case 'p':
      return { ok: false, reason: 'spent', available }
    case 'n':
      return { ok: false, reason: 'not-open', available }
    case 'q':
      return orderConflict(order, 'quantity')
    case 'y':
      return orderConflict(order, 'buyer')
    case 'd':
      return orderConflict(order, 'sold')
    case 'h':
      return orderConflict(order, 'held')
    case 'x':
      return damagedOrder(order.orderId, order.sku)
    default:
      throw new TypeError(`Redis answered ${JSON.stringify(letter)} to an order`)
  }
}

export function unpacked(orders: readonly SaleRequest[], first: number, outcomes: string): (SaleResult | Error)[] {
  let available = first
  return orders.map((order, i) => {
    if (outcomes[i] === 'r') return replayed
    if (outcomes[i] !== 'o') return unsold(order, outcomes[i], available)
    available -= order.quantity
    return taken
  })
}

export function basketResult(orders: readonly SaleRequest[], [letter, about, units]: unknown[]): BasketResult | Error {
  if (letter === 'o') return taken
  if (letter === 'r') return replayed
  const refusedBy = count(about)
  const answer = unsold(orders[refusedBy] as SaleRequest, text(letter), count(units))
  return answer instanceof Error ? answer : { ...answer, refusedBy }
}

const outcomes: Readonly<Record<string, SettleResult>> = {
  ...{ d: 'done', w: 'done', a: 'already', e: 'expired', c: 'cancelled', f: 'confirmed', u: 'unknown' },
}

export function settled(sku: string, settlement: Settlement, letter: string, waitMs: number): Settled | Error {
  const { orderId } = settlement
  if (letter === 'q') return orderConflict({ orderId, sku }, 'quantity')
  if (letter === 'm') return tooMuchToConfirm(sku, settlement)
  if (letter === 'x') return damagedOrder(orderId, sku)
  const outcome = outcomes[letter]
  if (!outcome) throw new TypeError(`Redis answered ${JSON.stringify(letter)} to a settlement`)
  return { outcome, onSaleInMs: letter === 'w' ? waitMs : 0 }
}

export function records(sku: string, flat: readonly unknown[], nowMs: number): OrderRecord[] {
  return Array.from({ length: flat.length / 2 }, (_, i) => {
    const orderId = text(flat[2 * i])
    const order = recordOf(orderId, flat[2 * i + 1], nowMs)
    if (!order) throw damagedOrder(orderId, sku)
    return order
  })
}

/** A record as sale.lua writes it; `undefined` if it is none. */
export function recordOf(orderId: string, record: unknown, nowMs: number): OrderRecord | undefined {
  const found = text(record)
  if (found === 'c' || found === 'r') return { orderId, state: 'spent' }
  const [, bought, held, end, buyer] = /^(?:s(\d+)|h(\d+) (\d+))(?: ([^]+))?$/.exec(found) ?? []
  const quantity = Number(bought ?? held)
  if (Number.isNaN(quantity)) return undefined
  const named = buyer === undefined ? {} : { buyerId: buyer }
  if (end === undefined) return { orderId, quantity, state: 'sold', ...named }
  const endsAtMs = Number(end)
  if (endsAtMs <= nowMs) return { orderId, state: 'spent' }
  const expiresInMs = endsAtMs === never ? Infinity : endsAtMs - nowMs
  return { orderId, quantity, state: 'held', ...named, expiresInMs }
}
