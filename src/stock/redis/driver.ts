import { LRUCache } from 'lru-cache'
import { keyString, optionalFunction } from '../../core/check.js'
import type { Trip } from '../../core/group-commit.js'
import { knownOptions } from '../../core/options.js'
import { checkRedisClient, redisLane, tagSafe, type RedisClient } from '../../core/redis-client.js'
import { checkedPrefix } from '../../core/redis-prefix.js'
import { integerReply as count, listReply as list, textReply as text } from '../../core/redis-reply.js'
import { redisScript, runScript, type RedisScript } from '../../core/redis-script.js'
import { damagedOrder, type SaleRequest, type StockChanged, type StockDriver } from '../driver.js'
import type { BasketResult } from '../types.js'
import {
  basketResult,
  changeArguments,
  lettersReply,
  packed,
  packedBaskets,
  recordOf,
  records,
  settled,
  unfitSale,
  unpacked,
  unsold,
} from './messages.js'
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
/** SKUs whose last version is remembered. */
const mostSeen = 10_000
/** What sale.lua reads of a sale. */
const saleParts = ['stock', 'orders', 'buyers', 'holds', 'closed']

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

  /** The epoch and the version that each sale was last seen with: an older one has lost changes. */
  const seen = new LRUCache<string, { readonly epoch: string; readonly version: number }>({ max: mostSeen })
  const seenOf = (sku: string): string => {
    const last = seen.get(sku)
    return last ? `${last.epoch} ${last.version}` : ''
  }
  function note(sku: string, epoch: unknown, version: unknown): void {
    if (text(epoch) === '') {
      seen.delete(sku)
      return
    }
    const now = { epoch: text(epoch), version: count(version) }
    const last = seen.get(sku)
    if (last?.epoch !== now.epoch || last.version < now.version) seen.set(sku, now)
  }

  async function run(script: RedisScript, sku: string, parts: readonly string[], args: Arguments, trip: Trip) {
    try {
      return await runScript(redis, script, keysOf(sku, parts), args, trip)
    } catch (error) {
      throw unfitSale(sku, error) ?? error
    }
  }

  async function sellTogether(
    baskets: readonly (readonly SaleRequest[])[],
    trip: Trip,
  ): Promise<readonly (BasketResult | Error)[]> {
    const skus = [...new Set(baskets.flat().map(({ sku }) => sku))]
    const indexes = new Map(skus.map((sku, i) => [sku, i]))
    const keys = skus.flatMap((sku) => keysOf(sku, saleParts))
    const args = [packedBaskets(baskets, indexes), JSON.stringify(skus.map(seenOf))]
    try {
      const [answers, states] = list(await runScript(redis, togetherScript, keys, args, trip), 2)
      const state = list(states, 2 * skus.length)
      for (const [i, sku] of skus.entries()) note(sku, state[2 * i], state[2 * i + 1])
      const reply = list(answers, 3 * baskets.length)
      return baskets.map((orders, i) => basketResult(orders, reply.slice(3 * i)))
    } catch (error) {
      const unfit = unfitSale(skus.join(', '), error)
      if (!unfit) throw error
      if (baskets.length === 1) return [unfit]
      // Nothing was changed. Alone, the baskets that have nothing to do with that sale are decided.
      const alone: (BasketResult | Error)[] = []
      for (const basket of baskets) alone.push(...(await sellTogether([basket], trip)))
      return alone
    }
  }

  return {
    async adjust(sku, changes, trip) {
      const parts = [...saleParts, 'restocks']
      const [first] = changes
      const args = [seenOf(sku), first?.kind ?? '', ...changes.flatMap(changeArguments)]
      const [answers, epoch, version] = list(await run(adjustScript, sku, parts, args, trip), 3)
      note(sku, epoch, version)
      const reply = list(answers, 3 * changes.length)
      return changes.map((_, i) => {
        const [outcome, available, onSaleInMs] = reply.slice(3 * i)
        return {
          outcome: outcome as StockChanged['outcome'],
          available: count(available),
          onSaleInMs: count(onSaleInMs),
        }
      })
    },
    async sell(sku, orders, trip, token = '') {
      const reply = list(await run(sellScript, sku, saleParts, [seenOf(sku), ...packed(orders), token], trip))
      if (reply.length === 0) {
        seen.delete(sku)
        return orders.map((order) => unsold(order, 'n', 0))
      }
      const [first, letters, epoch, version] = list(reply, 4)
      note(sku, epoch, version)
      return unpacked(orders, count(first), lettersReply(letters, orders.length))
    },
    sellTogether,
    ...(redis.isCluster === true ? { basketLane: (sku: string) => redisLane(redis, beginning(sku)) } : {}),
    async settle(sku, settlements, trip) {
      const kind = settlements[0]?.kind ?? 'confirm'
      const some = settlements.some(({ quantity }) => quantity !== undefined)
      const args = [
        seenOf(sku),
        kind,
        JSON.stringify(settlements.map(({ orderId }) => orderId)),
        some ? JSON.stringify(settlements.map(({ quantity = 0 }) => quantity)) : '',
      ]
      const reply = list(await run(settleScript, sku, saleParts, args, trip))
      if (reply.length === 0) return settlements.map(() => ({ outcome: 'unknown', onSaleInMs: 0 }))
      const [waitMs, letters, epoch, version] = list(reply, 4)
      note(sku, epoch, version)
      const outcomes = lettersReply(letters, settlements.length)
      return settlements.map((settlement, i) => settled(sku, settlement, outcomes[i] as string, count(waitMs)))
    },
    async level(sku, close, trip) {
      const args = [seenOf(sku), close?.below ?? 0, close?.forMs ?? 0]
      const reply = list(await run(levelScript, sku, saleParts, args, trip))
      if (reply.length === 0) return undefined
      const [epoch, version, total, available, held, units, recorded, closedForMs, frozen] = list(reply, 9)
      note(sku, epoch, version)
      return {
        epoch: text(epoch),
        total: count(total),
        available: count(available),
        held: count(held),
        sold: count(units),
        recorded: count(recorded),
        closedForMs: count(closedForMs),
        frozen: count(frozen) === 1,
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
