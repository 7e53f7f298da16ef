import { StoreUnavailableError } from '../../core/errors.js'
import { NothingApplied } from '../../core/group-commit.js'
import { integerReply as count, listReply as list, textReply as text } from '../../core/redis-reply.js'
import {
  damagedOrder,
  damagedSale,
  frozenSale,
  openedOtherwise,
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

/** An order that its id's shard knows to be in another. */
export interface Elsewhere {
  readonly shard: number
  /** What that is known by, and forgotten by. */
  readonly place: string
  /** Of the sale in which it is known. */
  readonly epoch: string
}

/** What move.lua keeps of a shard; transfers by the index of the other shard. */
export interface Moves {
  /** Units that came back and are not on sale yet. */
  readonly late: number
  /** Units received less units given. */
  readonly moved: number
  readonly ready: boolean
  /** The last transfer to each shard; no units once they were received. */
  readonly given: readonly { readonly number: number; readonly units: number }[]
  /** The number of the last transfer from each shard. */
  readonly got: readonly number[]
}

/** The letter of a shard in scripts. */
export const shardLetter = (shard: number): string => String.fromCharCode(firstLetter + shard)

const firstLetter = 'A'.charCodeAt(0)

const taken = Object.freeze({ ok: true, replayed: false } as const)
const replayed = Object.freeze({ ok: true, replayed: true } as const)

/** What a script says of a sale that it can do nothing with; `undefined` if it says nothing of the kind. */
export function unfitSale(sku: string, shards: number, error: unknown): Error | undefined {
  if (!(error instanceof Error)) return undefined
  // At the beginning: the key behind it has the name of the SKU, which may be any word.
  const [, what, others] = /^(SHARDS|FROZEN|NOTASALE) (\d*)/.exec(error.message) ?? []
  if (what === 'SHARDS') return openedOtherwise(sku, others as string, shards)
  if (what === 'FROZEN') return frozenSale(sku)
  // A key of another type, or one that a script found not to be a sale's.
  return what === 'NOTASALE' || /\bWRONGTYPE\b/.test(error.message) ? damagedSale(sku, error) : undefined
}

/** The key of the sale that an error of {@link unfitSale} is about, where it names one. */
export const unfitKey = (error: unknown): string | undefined =>
  error instanceof Error ? /^(?:SHARDS \d+|FROZEN|NOTASALE) (.+)$/s.exec(error.message)?.[1] : undefined

/** What a call is told that failed, while others of its round trip did not. `why` names what failed. */
export function failedAlone(
  why: string,
  error: unknown,
  applied: 'no' | 'unknown' = error instanceof NothingApplied ? 'no' : 'unknown',
): StoreUnavailableError {
  if (error instanceof StoreUnavailableError) return error
  return new StoreUnavailableError(`stock: ${why}`, { applied, cause: error })
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

/** Parallel JSON arrays, which Redis decodes in C; the usual order, one unit to nobody by name, is its id. */
function packedOrders(orders: readonly SaleRequest[]): string[] {
  const units = orders.some(({ quantity }) => quantity !== 1)
  const named = orders.some(({ buyer }) => buyer)
  return [
    JSON.stringify(orders.map(({ orderId }) => orderId)),
    units ? JSON.stringify(orders.map(({ quantity }) => quantity)) : '',
    named ? JSON.stringify(orders.map(({ buyer }) => buyer?.id ?? '')) : '',
    named ? JSON.stringify(orders.map(({ buyer }) => buyer?.limit ?? 0)) : '',
  ]
}

/** How long each is to be held, 0 to sell it; `''` where all are to be sold. */
function packedHolds(orders: readonly (SaleRequest | undefined)[]): string {
  const held = orders.some((order) => order?.holdMs !== undefined)
  return held ? JSON.stringify(orders.map((order) => Math.min(order?.holdMs ?? 0, never))) : ''
}

/** Orders for sell.lua. */
export const packed = (orders: readonly SaleRequest[]): string[] => [...packedOrders(orders), packedHolds(orders)]

/** Baskets for together.lua; `skus` are those of the script, in its order. */
export function packedBaskets(baskets: readonly (readonly SaleRequest[])[], skus: readonly string[]): string[] {
  const indexes = new Map(skus.map((sku, i) => [sku, i + 1]))
  const orders = baskets.flat()
  return [
    JSON.stringify(baskets.map(({ length }) => length)),
    packedHolds(baskets.map(([first]) => first)),
    JSON.stringify(orders.map(({ sku }) => indexes.get(sku))),
    ...packedOrders(orders),
  ]
}

/** One letter per request. */
export function lettersReply(reply: unknown, length: number): string {
  const letters = text(reply)
  if (letters.length === length) return letters
  throw new TypeError(`${letters.length} outcomes of ${length} requests`)
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

export function unpacked(
  orders: readonly SaleRequest[],
  first: number,
  outcomes: string,
  version: string,
  epoch: string,
): (SaleResult | Error | Elsewhere)[] {
  let available = first
  return orders.map((order, i) => {
    const letter = outcomes[i] as string
    if (letter === 'r') return replayed
    if (letter !== 'o') return elsewhere(letter, version, epoch) ?? unsold(order, letter, available)
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

export function settled(
  sku: string,
  settlement: Settlement,
  letter: string,
  waitMs: number,
): Settled | Error | Elsewhere {
  const { orderId } = settlement
  const other = elsewhere(letter, '0')
  if (other) return other
  if (letter === 'q') return orderConflict({ orderId, sku }, 'quantity')
  if (letter === 'm') return tooMuchToConfirm(sku, settlement)
  if (letter === 'x') return damagedOrder(orderId, sku)
  const outcome = outcomes[letter]
  if (!outcome) throw new TypeError(`Redis answered ${JSON.stringify(letter)} to a settlement`)
  return { outcome, onSaleInMs: letter === 'w' ? waitMs : 0 }
}

/** A place as sell.lua writes it; `undefined` if it is none. */
export function placedIn(place: unknown): Elsewhere | undefined {
  const [, letter, version] = /^([A-P]) (\d+)$/.exec(text(place)) ?? []
  return letter === undefined ? undefined : elsewhere(letter, version as string)
}

/** Outcomes have small letters, shards have large ones. */
function elsewhere(letter: string, version: string, epoch = ''): Elsewhere | undefined {
  if (letter > 'P') return undefined
  return { shard: letter.charCodeAt(0) - firstLetter, place: `${letter} ${version}`, epoch }
}

export function movesReply(reply: unknown, shards: number): Moves {
  const [late, moved, ready, ...transfers] = list(reply, 3 + 2 * shards)
  return {
    late: count(late),
    moved: count(moved),
    ready: count(ready) === 1,
    given: transfers.slice(0, shards).map((transfer) => {
      const [number, units] = text(transfer).split(' ').map(count)
      return { number: number as number, units: units as number }
    }),
    got: transfers.slice(shards).map(count),
  }
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
