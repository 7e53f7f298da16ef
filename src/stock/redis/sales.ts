import { LRUCache } from 'lru-cache'
import type { Trip } from '../../core/group-commit.js'
import type { RedisClient } from '../../core/redis-client.js'
import { integerReply as count, listReply as list, textReply as text } from '../../core/redis-reply.js'
import { redisScript, runScript, type RedisScript } from '../../core/redis-script.js'
import {
  damagedOrder,
  type CloseRequest,
  type OrderRecord,
  type SaleRequest,
  type Settled,
  type Settlement,
  type StockChange,
  type StockChanged,
  type StockDriver,
  type StockState,
} from '../driver.js'
import type { BasketResult, SaleResult } from '../types.js'
import {
  basketResult,
  changeArguments,
  failedAlone,
  lettersReply,
  movesReply,
  packed,
  packedBaskets,
  placedIn,
  recordOf,
  records,
  settled,
  unfitKey,
  unfitSale,
  unpacked,
  unsold,
  type Elsewhere,
  type Moves,
} from './messages.js'
import adjustSource from './adjust.lua'
import findSource from './find.lua'
import levelSource from './level.lua'
import moveSource from './move.lua'
import ordersSource from './orders.lua'
import saleSource from './sale.lua'
import sellSource from './sell.lua'
import settleSource from './settle.lua'
import togetherSource from './together.lua'

const saleScript = (source: string): RedisScript => redisScript(`${saleSource}\n${source}`)
const adjustScript = saleScript(adjustSource)
const findScript = saleScript(findSource)
const levelScript = saleScript(levelSource)
const moveScript = saleScript(moveSource)
const ordersScript = saleScript(ordersSource)
const sellScript = saleScript(sellSource)
const settleScript = saleScript(settleSource)
const togetherScript = saleScript(togetherSource)

type Arguments = readonly (string | number)[]

const pageSize = 1_000
/** SKUs whose last version is remembered. */
const mostSeen = 10_000
/** Versions between two thaws, as in adjust.lua. */
const versionsPerThaw = 2 ** 32
/** What sale.lua reads of a sale. */
const saleParts = ['stock', 'orders', 'buyers', 'holds', 'closed']

/** A sale that is a shard. One that is not lacks the moves. */
export type ShardState = StockState & Moves

/**
 * The sales of one Redis or Cluster under the names that `nameOf` gives their keys. Of a SKU with more than one shard, one shard
 * of each: an order of such a SKU may be decided elsewhere.
 */
export interface Sales extends Required<Pick<StockDriver, 'sellTogether' | 'orders'>> {
  /** `thaws` as adjust.lua takes them. */
  adjust(sku: string, changes: readonly StockChange[], trip: Trip, thaws?: number): Promise<readonly StockChanged[]>
  /** `homes` and `epoch` as sell.lua takes them. */
  sell(
    sku: string,
    orders: readonly SaleRequest[],
    trip: Trip,
    token?: string,
    homes?: string,
    epoch?: string,
  ): Promise<readonly (SaleResult | Error | Elsewhere)[]>
  settle(sku: string, settlements: readonly Settlement[], trip: Trip): Promise<readonly (Settled | Error | Elsewhere)[]>
  level(sku: string, close: CloseRequest | undefined, trip: Trip): Promise<ShardState | undefined>
  find(
    sku: string,
    orderIds: readonly string[],
    trip: Trip,
  ): Promise<readonly (OrderRecord | Error | Elsewhere | undefined)[]>
  /** A step of move.lua on the sale of that epoch. `undefined` if that is not here. */
  move(sku: string, epoch: string, step: Arguments, trip: Trip): Promise<readonly [number, number] | undefined>
}

export function createSales(redis: RedisClient, shards: number, nameOf: (sku: string) => string): Sales {
  const keysOf = (sku: string, parts: readonly string[]): string[] => {
    const name = nameOf(sku)
    return parts.map((part) => `${name}:${part}`)
  }
  const placed = shards > 1 ? ['placed'] : []
  const orderParts = [...saleParts, ...placed]

  /** The epoch and the version that each sale was last seen with: an older one has lost changes. Kept until it is removed. */
  const seen = new LRUCache<string, { readonly epoch: string; readonly version: number }>({ max: mostSeen })
  const seenOf = (sku: string): string => {
    const last = seen.get(sku)
    return last ? `${shards} ${last.epoch} ${last.version}` : String(shards)
  }
  function note(sku: string, epoch: unknown, version: unknown): void {
    if (text(epoch) === '') return
    const now = { epoch: text(epoch), version: count(version) }
    const last = seen.get(sku)
    if (last?.epoch !== now.epoch || last.version < now.version) seen.set(sku, now)
  }

  async function run(script: RedisScript, sku: string, parts: readonly string[], args: Arguments, trip: Trip) {
    try {
      return await runScript(redis, script, keysOf(sku, parts), args, trip)
    } catch (error) {
      throw unfitSale(sku, shards, error) ?? error
    }
  }

  async function sellTogether(
    baskets: readonly (readonly SaleRequest[])[],
    trip: Trip,
  ): Promise<readonly (BasketResult | Error)[]> {
    const skus = [...new Set(baskets.flat().map(({ sku }) => sku))]
    const keys = skus.flatMap((sku) => keysOf(sku, saleParts))
    const args = [JSON.stringify(skus.map(seenOf)), ...packedBaskets(baskets, skus)]
    try {
      const [answers, states] = list(await runScript(redis, togetherScript, keys, args, trip), 2)
      const state = list(states, 2 * skus.length)
      for (const [i, sku] of skus.entries()) note(sku, state[2 * i], state[2 * i + 1])
      const reply = list(answers, 3 * baskets.length)
      return baskets.map((orders, i) => basketResult(orders, reply.slice(3 * i)))
    } catch (error) {
      const key = unfitKey(error)
      const sku = skus.find((one) => keysOf(one, saleParts).some((part) => part === key))
      const unfit = unfitSale(sku ?? skus.join(', '), shards, error)
      if (!unfit) throw error
      if (baskets.length === 1) return [unfit]
      // Nothing was changed. The baskets that have nothing to do with that sale are decided without the others.
      const answers = new Map<readonly SaleRequest[], BasketResult | Error>()
      const decide = async (some: readonly (readonly SaleRequest[])[]): Promise<void> => {
        // What the others were told holds, so a failure is told to these alone.
        const failed = (error: unknown) => some.map(() => failedAlone('a basket had no answer', error))
        const replies = await sellTogether(some, trip).catch(failed)
        for (const [i, basket] of some.entries()) answers.set(basket, replies[i] as BasketResult | Error)
      }
      if (sku === undefined) for (const basket of baskets) await decide([basket])
      else {
        const others = baskets.filter((basket) => basket.every((order) => order.sku !== sku))
        if (others.length > 0) await decide(others)
      }
      return baskets.map((basket) => answers.get(basket) ?? unfit)
    }
  }

  return {
    async adjust(sku, changes, trip, thaws = 0) {
      const parts = [...saleParts, 'restocks', ...placed]
      const [first] = changes
      const args = [seenOf(sku), first?.kind ?? '', thaws, ...changes.flatMap(changeArguments)]
      const [answers, epoch, version] = list(await run(adjustScript, sku, parts, args, trip), 3)
      note(sku, epoch, version)
      if (first?.kind === 'remove' && text(epoch) === '') seen.delete(sku)
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
    async sell(sku, orders, trip, token = '', homes = '', onlyIn = '') {
      const args = [seenOf(sku), ...packed(orders), token, homes, onlyIn]
      const reply = list(await run(sellScript, sku, orderParts, args, trip))
      if (reply.length === 0) return orders.map((order) => unsold(order, 'n', 0))
      const [first, letters, epoch, version] = list(reply, 4)
      note(sku, epoch, version)
      return unpacked(orders, count(first), lettersReply(letters, orders.length), text(version), text(epoch))
    },
    sellTogether,
    async settle(sku, settlements, trip) {
      const kind = settlements[0]?.kind ?? 'confirm'
      const some = settlements.some(({ quantity }) => quantity !== undefined)
      const args = [
        seenOf(sku),
        kind,
        JSON.stringify(settlements.map(({ orderId }) => orderId)),
        some ? JSON.stringify(settlements.map(({ quantity = 0 }) => quantity)) : '',
      ]
      const reply = list(await run(settleScript, sku, orderParts, args, trip))
      if (reply.length === 0) return settlements.map(() => ({ outcome: 'unknown', onSaleInMs: 0 }))
      const [waitMs, letters, epoch, version] = list(reply, 4)
      note(sku, epoch, version)
      const outcomes = lettersReply(letters, settlements.length)
      return settlements.map((settlement, i) => settled(sku, settlement, outcomes[i] as string, count(waitMs)))
    },
    async level(sku, close, trip) {
      const args = [seenOf(sku), close?.below ?? 0, close?.forMs ?? 0, shards]
      const reply = list(await run(levelScript, sku, saleParts, args, trip))
      if (reply.length === 0) return undefined
      const [epoch, version, total, available, held, units, recorded, closedForMs, frozen, moves] = reply
      note(sku, epoch, version)
      return {
        epoch: text(epoch),
        thaws: Math.floor(count(version) / versionsPerThaw),
        total: count(total),
        available: count(available),
        held: count(held),
        sold: count(units),
        recorded: count(recorded),
        closedForMs: count(closedForMs),
        frozen: count(frozen) === 1,
        ...(shards > 1 && movesReply(moves, shards)),
      } as ShardState
    },
    async orders(sku, cursor, trip) {
      const args = [cursor ?? '0', pageSize, shards]
      const reply = list(await run(ordersScript, sku, ['stock', 'orders'], args, trip))
      if (reply.length === 0) return undefined
      const [epoch, next, flat, now] = list(reply, 4)
      const orders = records(sku, list(flat), count(now))
      return { epoch: text(epoch), orders, next: text(next) === '0' ? undefined : text(next) }
    },
    async find(sku, orderIds, trip) {
      const [now, found] = list(
        await run(findScript, sku, ['stock', 'orders', ...placed], [shards, ...orderIds], trip),
        2,
      )
      const reply = list(found, orderIds.length)
      return orderIds.map((orderId, i) =>
        reply[i] === null
          ? undefined
          : (placedIn(reply[i]) ?? recordOf(orderId, reply[i], count(now)) ?? damagedOrder(orderId, sku)),
      )
    },
    async move(sku, epoch, step, trip) {
      const reply = await run(moveScript, sku, [...saleParts, 'placed'], [seenOf(sku), epoch, ...step], trip)
      const [found, version, one, other] = list(reply)
      note(sku, found, version)
      return text(found) === '' ? undefined : [count(one), count(other)]
    },
  }
}
