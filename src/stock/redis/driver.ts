import { tagSafe, type RedisClient } from '../../core/redis-client.js'
import { redisScript, runScript } from '../../core/redis-script.js'
import type { SaleRequest, StockChanged, StockDriver } from '../driver.js'
import { orderConflict } from '../driver.js'
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

const pageSize = 1_000
const sold: SaleResult = Object.freeze({ ok: true, replayed: false })
const replayed: SaleResult = Object.freeze({ ok: true, replayed: true })

/**
 * Stock in Redis 6.2 or newer, Valkey, or a Redis Cluster, shared by every process that uses it: a Lua script decides all
 * orders of a trip in one step. A SKU's keys lie in one slot, have no expiry, and are gone after `remove`. `redis` stays
 * yours to configure and to close.
 *
 * Redis replicates asynchronously: a failover may bring back units whose sale it lost. `orders` against your database shows which.
 */
export function redisStock(
  redis: RedisClient,
  options: { /** @defaultValue 'spillway:stock:' */ readonly prefix?: string } = {},
): StockDriver {
  const { prefix = 'spillway:stock:' } = options
  if (typeof prefix !== 'string') throw new TypeError(`prefix must be a string, got ${String(prefix)}`)
  // Redis takes the first braces of a key for its hash tag, and none at all if they are empty.
  if (prefix.includes('{}')) throw new RangeError(`prefix must not contain '{}', got ${JSON.stringify(prefix)}`)
  const key = (sku: string, part: string): string => `${prefix}{${tagSafe(sku)}}:${part}`

  return {
    async adjust(sku, change, trip) {
      const keys = ['stock', 'orders', 'buyers', 'restocks', 'closed'].map((part) => key(sku, part))
      const id = change.kind === 'restock' ? change.id : change.epoch
      const args = [change.kind, id, change.kind === 'remove' ? 0 : change.quantity]
      const reply = await runScript(redis, adjustScript, keys, args, trip)
      const [outcome, available, onSaleInMs] = reply as [StockChanged['outcome'], number, number]
      return { outcome, available, onSaleInMs }
    },
    async sell(sku, orders, trip) {
      const keys = ['stock', 'orders', 'buyers', 'closed'].map((part) => key(sku, part))
      const reply = await runScript(redis, sellScript, keys, packed(orders), trip)
      return unpacked(orders, reply as [] | [available: number, outcomes: string])
    },
    async level(sku, close, trip) {
      const keys = ['stock', 'orders', 'closed'].map((part) => key(sku, part))
      const reply = await runScript(redis, levelScript, keys, [close?.below ?? 0, close?.forMs ?? 0], trip)
      const [epoch, ...counts] = reply as [] | [string, ...(string | number)[]]
      if (epoch === undefined) return undefined
      const [total, available, held, leased, units, recorded, closed] = counts.map(Number) as [
        number,
        number,
        number,
        number,
        number,
        number,
        number,
      ]
      return { epoch, total, available, held, leased, sold: units, recorded, closed: closed === 1 }
    },
    async orders(sku, cursor, trip) {
      const keys = ['stock', 'orders'].map((part) => key(sku, part))
      const reply = await runScript(redis, ordersScript, keys, [cursor ?? '0', pageSize], trip)
      const [epoch, next, flat = []] = reply as [] | [string, string, string[]]
      if (epoch === undefined) return undefined
      return { epoch, orders: records(flat), next: next === '0' ? undefined : next }
    },
    async find(sku, orderIds, trip) {
      const reply = await runScript(redis, findScript, [key(sku, 'orders')], orderIds, trip)
      return (reply as (string | null)[]).map((record, i) =>
        record === null ? undefined : recorded(orderIds[i] as string, record),
      )
    },
  }
}

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

function unpacked(orders: readonly SaleRequest[], reply: [] | [number, string]): (SaleResult | Error)[] {
  const [first, outcomes] = reply
  if (first === undefined || outcomes === undefined) {
    return orders.map(() => ({ ok: false, reason: 'not-open', available: 0 }))
  }
  let available = first
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
      default:
        return orderConflict(order, outcomes[i] === 'q' ? 'quantity' : 'buyer')
    }
  })
}

function records(flat: readonly string[]): RecordedOrder[] {
  return Array.from({ length: flat.length / 2 }, (_, i) => recorded(flat[2 * i] as string, flat[2 * i + 1] as string))
}

/** A record as `sell.lua` writes it: state, quantity, and after a space the buyer if one was named. */
function recorded(orderId: string, record: string): RecordedOrder {
  const space = record.indexOf(' ')
  const buyer = space < 0 ? {} : { buyerId: record.slice(space + 1) }
  return { orderId, quantity: Number.parseInt(record.slice(1)), state: 'sold', ...buyer }
}
