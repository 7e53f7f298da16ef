import { keyString, optionalFunction } from '../../core/check.js'
import type { Trip } from '../../core/group-commit.js'
import { knownOptions } from '../../core/options.js'
import { checkRedisClient, redisLane, tagSafe, type RedisClient } from '../../core/redis-client.js'
import { checkedPrefix } from '../../core/redis-prefix.js'
import { integerReply as count, listReply as list, textReply as text } from '../../core/redis-reply.js'
import { redisScript, runScript, type RedisScript } from '../../core/redis-script.js'
import type { OrderRecord, SaleRequest, Settled, Settlement, StockChanged, StockDriver } from '../driver.js'
import { damagedOrder, damagedSale, orderConflict, tooMuchToConfirm } from '../driver.js'
import type { BasketResult, SaleResult, SettleResult } from '../types.js'
import adjustSource from './adjust.lua'
import findSource from './find.lua'
import levelSource from './level.lua'
import ordersSource from './orders.lua'
import saleSource from './sale.lua'
import sellSource from './sell.lua'
import settleSource from './settle.lua'
import togetherSource from './together.lua'

const saleScript = (source: string): RedisScript => redisScript(`${saleSource}\n${source}`)
const adjustScript = saleScript(adjustSource)
const findScript = saleScript(findSource)
const levelScript = saleScript(levelSource)
const ordersScript = saleScript(ordersSource)
const sellScript = saleScript(sellSource)
const settleScript = saleScript(settleSource)
const togetherScript = saleScript(togetherSource)

type Arguments = readonly (string | number)[]

const pageSize = 1_000
/** The end of a hold that never ends by itself, as sale.lua writes it. */
const never = Number.MAX_SAFE_INTEGER
/** What sale.lua reads of a sale. */
const saleParts = ['stock', 'orders', 'buyers', 'holds', 'closed']
const taken = Object.freeze({ ok: true, replayed: false } as const)
const replayed = Object.freeze({ ok: true, replayed: true } as const)

/** Options of stock in Redis. */
export interface RedisStockOptions {
  /** What the names of all keys begin with. @defaultValue `'spillway:stock:'` */
  readonly prefix?: string | undefined
  /**
   * Names the group of a SKU: the keys of a group's SKUs lie in one slot of a Cluster, so that `sellTogether` can take them in
   * one step. It must give a SKU the same name at every call and in every process. @defaultValue every SKU is alone
   */
  readonly group?: ((sku: string) => string) | undefined
}

/**
 * Stock in Redis 6.2 or newer, Valkey, or a Redis Cluster, shared by every process that uses it: a Lua script decides all
 * orders of a trip in one step. A SKU's keys lie in one slot, have no expiry, and are gone after `remove`. `redis` stays
 * yours to configure and to close.
 *
 * Redis replicates asynchronously: a failover may bring back units whose sale it lost. `orders` against your database shows which.
 */
export function redisStock(redis: RedisClient, options?: RedisStockOptions): StockDriver {
  checkRedisClient('redisStock: redis', redis)
  const known = knownOptions<RedisStockOptions>('redisStock', options, { prefix: true, group: true })
  const { prefix = 'spillway:stock:' } = known
  const group = optionalFunction('group', known.group)
  checkedPrefix(redis, prefix)
  const beginning = (sku: string): string =>
    group
      ? `${prefix}{${tagSafe(keyString('what group answers', group(sku)))}}:${tagSafe(sku)}`
      : `${prefix}{${tagSafe(sku)}}`
  const keysOf = (sku: string, parts: readonly string[]): string[] => {
    const name = beginning(sku)
    return parts.map((part) => `${name}:${part}`)
  }

  async function run(script: RedisScript, sku: string, parts: readonly string[], args: Arguments, trip: Trip) {
    try {
      return await runScript(redis, script, keysOf(sku, parts), args, trip)
    } catch (error) {
      throw isNoSale(error) ? damagedSale(sku, error) : error
    }
  }

  async function sellTogether(
    baskets: readonly (readonly SaleRequest[])[],
    trip: Trip,
  ): Promise<readonly (BasketResult | Error)[]> {
    const skus = [...new Set(baskets.flat().map(({ sku }) => sku))]
    const indexes = new Map(skus.map((sku, i) => [sku, i]))
    const packed = baskets.map((orders) => [
      orders[0]?.holdMs === undefined ? 0 : Math.min(orders[0].holdMs, never),
      orders.map(({ sku, orderId, quantity, buyer }) => [
        ...[indexes.get(sku), orderId, quantity],
        ...(buyer ? [buyer.id, buyer.limit] : ['', 0]),
      ]),
    ])
    const keys = skus.flatMap((sku) => keysOf(sku, saleParts))
    try {
      const reply = list(
        await runScript(redis, togetherScript, keys, [JSON.stringify(packed)], trip),
        3 * baskets.length,
      )
      return baskets.map((orders, i) => basketResult(orders, reply.slice(3 * i)))
    } catch (error) {
      if (!isNoSale(error)) throw error
      if (baskets.length === 1) return [damagedSale(skus.join(', '), error)]
      // Nothing was changed. Alone, the baskets that have nothing to do with what is damaged are decided.
      const alone: (BasketResult | Error)[] = []
      for (const basket of baskets) alone.push(...(await sellTogether([basket], trip)))
      return alone
    }
  }

  return {
    async adjust(sku, changes, trip) {
      const parts = [...saleParts, 'restocks']
      const [first] = changes
      const args = changes.flatMap((change) =>
        change.kind === 'restock'
          ? [change.id, change.quantity]
          : [change.epoch, 'quantity' in change ? change.quantity : 0],
      )
      const reply = list(await run(adjustScript, sku, parts, [first?.kind ?? '', ...args], trip), 3 * changes.length)
      return changes.map((_, i) => {
        const [outcome, available, onSaleInMs] = reply.slice(3 * i)
        return {
          outcome: outcome as StockChanged['outcome'],
          available: count(available),
          onSaleInMs: count(onSaleInMs),
        }
      })
    },
    async sell(sku, orders, trip) {
      const reply = await run(sellScript, sku, saleParts, packed(orders), trip)
      return unpacked(orders, reply)
    },
    sellTogether,
    ...(redis.isCluster === true ? { basketLane: (sku: string) => redisLane(redis, beginning(sku)) } : {}),
    async settle(sku, settlements, trip) {
      const kind = settlements[0]?.kind ?? 'confirm'
      const some = settlements.some(({ quantity }) => quantity !== undefined)
      const args = [
        kind,
        JSON.stringify(settlements.map(({ orderId }) => orderId)),
        some ? JSON.stringify(settlements.map(({ quantity = 0 }) => quantity)) : '',
      ]
      const reply = list(await run(settleScript, sku, saleParts, args, trip))
      if (reply.length === 0) return settlements.map(() => ({ outcome: 'unknown', onSaleInMs: 0 }))
      const [waitMs, letters] = list(reply, 2)
      const outcomes = lettersReply(letters, settlements.length)
      return settlements.map((settlement, i) => settled(sku, settlement, outcomes[i] as string, count(waitMs)))
    },
    async level(sku, close, trip) {
      const args = [close?.below ?? 0, close?.forMs ?? 0]
      const reply = list(await run(levelScript, sku, saleParts, args, trip))
      if (reply.length === 0) return undefined
      const [epoch, total, available, held, units, recorded, closedForMs] = list(reply, 7)
      return {
        epoch: text(epoch),
        total: count(total),
        available: count(available),
        held: count(held),
        sold: count(units),
        recorded: count(recorded),
        closedForMs: count(closedForMs),
      }
    },
    async orders(sku, cursor, trip) {
      const reply = list(await run(ordersScript, sku, ['stock', 'orders'], [cursor ?? '0', pageSize], trip))
      if (reply.length === 0) return undefined
      const [epoch, next, flat, now] = list(reply, 4)
      const orders = records(sku, list(flat), count(now))
      return { epoch: text(epoch), orders, next: text(next) === '0' ? undefined : text(next) }
    },
    async find(sku, orderIds, trip) {
      const [now, found] = list(await run(findScript, sku, ['orders'], orderIds, trip), 2)
      const reply = list(found, orderIds.length)
      return orderIds.map((orderId, i) =>
        reply[i] === null ? undefined : (recordOf(orderId, reply[i], count(now)) ?? damagedOrder(orderId, sku)),
      )
    },
  }
}

/** A key of another type, or one that a script found not to be a sale's. */
const isNoSale = (error: unknown): boolean => error instanceof Error && /\b(?:WRONGTYPE|NOTASALE)\b/.test(error.message)

/** Parallel JSON arrays: Redis decodes them in C, and the usual order, one unit sold to nobody by name, is its id. */
function packed(orders: readonly SaleRequest[]): string[] {
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
function lettersReply(reply: unknown, length: number): string {
  const letters = text(reply)
  if (letters.length === length) return letters
  throw new TypeError(`${letters.length} outcomes of ${length} requests`)
}

/** An answer to an order that took nothing, by its letter of sale.lua. */
function unsold(
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

function unpacked(orders: readonly SaleRequest[], reply: unknown): (SaleResult | Error)[] {
  const parts = list(reply)
  if (parts.length === 0) return orders.map((order) => unsold(order, 'n', 0))
  const [first, letters] = list(parts, 2)
  let available = count(first)
  const outcomes = lettersReply(letters, orders.length)
  return orders.map((order, i) => {
    if (outcomes[i] === 'r') return replayed
    if (outcomes[i] !== 'o') return unsold(order, outcomes[i], available)
    available -= order.quantity
    return taken
  })
}

function basketResult(orders: readonly SaleRequest[], [letter, about, units]: unknown[]): BasketResult | Error {
  if (letter === 'o') return taken
  if (letter === 'r') return replayed
  const refusedBy = count(about)
  const answer = unsold(orders[refusedBy] as SaleRequest, text(letter), count(units))
  return answer instanceof Error ? answer : { ...answer, refusedBy }
}

const outcomes: Readonly<Record<string, SettleResult>> = {
  ...{ d: 'done', w: 'done', a: 'already', e: 'expired', c: 'cancelled', f: 'confirmed', u: 'unknown' },
}

function settled(sku: string, settlement: Settlement, letter: string, waitMs: number): Settled | Error {
  const { orderId } = settlement
  if (letter === 'q') return orderConflict({ orderId, sku }, 'quantity')
  if (letter === 'm') return tooMuchToConfirm(sku, settlement)
  if (letter === 'x') return damagedOrder(orderId, sku)
  const outcome = outcomes[letter]
  if (!outcome) throw new TypeError(`Redis answered ${JSON.stringify(letter)} to a settlement`)
  return { outcome, onSaleInMs: letter === 'w' ? waitMs : 0 }
}

function records(sku: string, flat: readonly unknown[], nowMs: number): OrderRecord[] {
  return Array.from({ length: flat.length / 2 }, (_, i) => {
    const orderId = text(flat[2 * i])
    const order = recordOf(orderId, flat[2 * i + 1], nowMs)
    if (!order) throw damagedOrder(orderId, sku)
    return order
  })
}

/** A record as sale.lua writes it; `undefined` if it is none. */
function recordOf(orderId: string, record: unknown, nowMs: number): OrderRecord | undefined {
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
