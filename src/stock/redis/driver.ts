import type { Trip } from '../../core/group-commit.js'
import { knownOptions } from '../../core/options.js'
import { checkRedisClient, tagSafe, type RedisClient } from '../../core/redis-client.js'
import { checkedPrefix } from '../../core/redis-prefix.js'
import { integerReply as count, listReply as list, textReply as text } from '../../core/redis-reply.js'
import { redisScript, runScript, type RedisScript } from '../../core/redis-script.js'
import type { SaleRequest, StockChanged, StockDriver } from '../driver.js'
import { damagedOrder, damagedSale, orderConflict } from '../driver.js'
import type { RecordedOrder, SaleResult } from '../types.js'
import adjustSource from './adjust.lua'
import findSource from './find.lua'
import levelSource from './level.lua'
import ordersSource from './orders.lua'
import sellSource from './sell.lua'

const adjustScript = redisScript(adjustSource)
const findScript = redisScript(findSource)
const levelScript = redisScript(levelSource)
const ordersScript = redisScript(ordersSource)
const sellScript = redisScript(sellSource)

type Arguments = readonly (string | number)[]

const pageSize = 1_000
const sold: SaleResult = Object.freeze({ ok: true, replayed: false })
const replayed: SaleResult = Object.freeze({ ok: true, replayed: true })

/** Options of stock in Redis. */
export interface RedisStockOptions {
  /** What the names of all keys begin with. @defaultValue `'spillway:stock:'` */
  readonly prefix?: string | undefined
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
  const { prefix = 'spillway:stock:' } = knownOptions<RedisStockOptions>('redisStock', options, { prefix: true })
  checkedPrefix(redis, prefix)
  const key = (sku: string, part: string): string => `${prefix}{${tagSafe(sku)}}:${part}`

  async function run(script: RedisScript, sku: string, parts: readonly string[], args: Arguments, trip: Trip) {
    try {
      return await runScript(
        redis,
        script,
        parts.map((part) => key(sku, part)),
        args,
        trip,
      )
    } catch (error) {
      throw isNoSale(error) ? damagedSale(sku, error) : error
    }
  }

  return {
    async adjust(sku, changes, trip) {
      const parts = ['stock', 'orders', 'buyers', 'restocks', 'closed']
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
      const reply = await run(sellScript, sku, ['stock', 'orders', 'buyers', 'closed'], packed(orders), trip)
      return unpacked(orders, reply)
    },
    async level(sku, close, trip) {
      const args = [close?.below ?? 0, close?.forMs ?? 0]
      const reply = list(await run(levelScript, sku, ['stock', 'orders', 'closed'], args, trip))
      if (reply.length === 0) return undefined
      const [epoch, total, available, held, units, recorded, closed] = list(reply, 7)
      return {
        epoch: text(epoch),
        total: count(total),
        available: count(available),
        held: count(held),
        sold: count(units),
        recorded: count(recorded),
        closed: count(closed) === 1,
      }
    },
    async orders(sku, cursor, trip) {
      const reply = list(await run(ordersScript, sku, ['stock', 'orders'], [cursor ?? '0', pageSize], trip))
      if (reply.length === 0) return undefined
      const [epoch, next, flat] = list(reply, 3)
      return { epoch: text(epoch), orders: records(sku, list(flat)), next: text(next) === '0' ? undefined : text(next) }
    },
    async find(sku, orderIds, trip) {
      const reply = list(await run(findScript, sku, ['orders'], orderIds, trip), orderIds.length)
      return orderIds.map((orderId, i) =>
        reply[i] === null ? undefined : (recorded(orderId, reply[i]) ?? damagedOrder(orderId, sku)),
      )
    },
  }
}

/** A key of another type, or one that a script found not to be a sale's. */
const isNoSale = (error: unknown): boolean => error instanceof Error && /\b(?:WRONGTYPE|NOTASALE)\b/.test(error.message)

/** Parallel JSON arrays: Redis decodes them in C, and the usual order, for one unit and nobody in particular, is its id. */
function packed(orders: readonly SaleRequest[]): string[] {
  const units = orders.some(({ quantity }) => quantity !== 1)
  const named = orders.some(({ buyer }) => buyer)
  return [
    JSON.stringify(orders.map(({ orderId }) => orderId)),
    units ? JSON.stringify(orders.map(({ quantity }) => quantity)) : '',
    named ? JSON.stringify(orders.map(({ buyer }) => buyer?.id ?? '')) : '',
    named ? JSON.stringify(orders.map(({ buyer }) => buyer?.limit ?? 0)) : '',
  ]
}

function unpacked(orders: readonly SaleRequest[], reply: unknown): (SaleResult | Error)[] {
  const parts = list(reply)
  if (parts.length === 0) return orders.map(() => ({ ok: false, reason: 'not-open', available: 0 }))
  const [first, letters] = list(parts, 2)
  let available = count(first)
  const outcomes = text(letters)
  if (outcomes.length !== orders.length) throw new TypeError(`${outcomes.length} outcomes of ${orders.length} orders`)
  return orders.map((order, i) => {
    switch (outcomes[i]) {
      case 'o':
        available -= order.quantity
        return sold
      case 'r':
        return replayed
      case 's':
        return { ok: false, reason: 'sold-out', available }
      case 'b':
        return { ok: false, reason: 'buyer-limit', available }
      case 'x':
        return damagedOrder(order.orderId, order.sku)
      default:
        return orderConflict(order, outcomes[i] === 'q' ? 'quantity' : 'buyer')
    }
  })
}

function records(sku: string, flat: readonly unknown[]): RecordedOrder[] {
  return Array.from({ length: flat.length / 2 }, (_, i) => {
    const orderId = text(flat[2 * i])
    const order = recorded(orderId, flat[2 * i + 1])
    if (!order) throw damagedOrder(orderId, sku)
    return order
  })
}

/** A record as `sell.lua` writes it: state, quantity, and after a space the buyer if one was named. */
function recorded(orderId: string, record: unknown): RecordedOrder | undefined {
  const [, quantity, buyerId] = /^s(\d+)(?: ([^]+))?$/.exec(text(record)) ?? []
  if (quantity === undefined) return undefined
  return { orderId, quantity: Number(quantity), state: 'sold', ...(buyerId === undefined ? {} : { buyerId }) }
}
