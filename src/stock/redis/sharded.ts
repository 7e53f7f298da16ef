import { StockFrozenError, StoreUnavailableError } from '../../core/errors.js'
import type { Trip } from '../../core/group-commit.js'
import {
  damagedSale,
  type OrderRecord,
  type OrdersPage,
  type SaleRequest,
  type Settled,
  type Settlement,
  type StockChange,
  type StockChanged,
  type StockDriver,
  type StockState,
} from '../driver.js'
import type { BasketResult, RefusalReason, SaleResult } from '../types.js'
import { failedAlone, shardLetter, type Elsewhere } from './messages.js'
import { askWherePlaced, groupBy, isElsewhere, unavailable, type Ask, type Placed } from './routing.js'
import type { Sales, ShardState } from './sales.js'
import { homeOf } from './shard-names.js'
import { createShards, type SkuState } from './shards.js'

const isRefusal = (reply: unknown): reply is SaleResult & { ok: false } =>
  typeof reply === 'object' && reply !== null && 'ok' in reply && reply.ok === false

/**
 * Stock whose SKUs are each spread over shards, one sale per shard. An order belongs to the shard of its id. If it names a
 * buyer who is counted in another shard, it is placed first (its own shard notes the other one under its id), and then recorded
 * there: so an id has one outcome, and a buyer one count. A shard that has too few units for an order collects them.
 */
export function createSharded(sales: readonly Sales[]): StockDriver {
  const shards = createShards(sales)
  const [first, ...others] = sales as readonly [Sales, ...Sales[]]
  const homeOfId = (id: string): number => homeOf(id, sales.length)
  const shardAt = (shard: number): Sales => sales[shard] as Sales

  /** As `askWherePlaced`. What nothing is known of may have lost its place in a failover, so all shards are asked about it. */
  async function askEverywhere<Item extends { readonly orderId: string }, Reply>(
    sku: string,
    items: readonly Item[],
    ask: (shard: Sales, items: readonly Item[]) => Promise<readonly (Reply | Error | Elsewhere)[]>,
    isUnknown: (reply: Reply | Error | Elsewhere) => boolean,
    trip: Trip,
  ): Promise<readonly (Reply | Error)[]> {
    const { answers } = await askWherePlaced<Item, Reply>(items, sales.length, (shard, some) =>
      ask(shardAt(shard), some),
    )
    const unknown = answers.flatMap((answer, index) => (isUnknown(answer) ? [index] : []))
    if (unknown.length === 0) return answers
    try {
      // Rejects where a shard is lost, which may have had the order.
      if (!(await shards.read(sku, trip))) return answers
      const asked = unknown.map((index) => items[index] as Item)
      const found = await Promise.allSettled(sales.map((shard) => ask(shard, asked)))
      for (const [i, index] of unknown.entries()) {
        const known = found.map((replies) =>
          replies.status === 'fulfilled'
            ? (replies.value[i] as Reply | Error | Elsewhere)
            : unavailable(replies.reason),
        )
        const best = surest(known.filter((reply) => !isElsewhere(reply) && !isUnknown(reply)) as (Reply | Error)[])
        if (best !== undefined) answers[index] = best
      }
    } catch (error) {
      for (const index of unknown) answers[index] = unavailable(error)
    }
    return answers
  }

  /**
   * Decides orders in one shard, for as long as it can get the units that they want. `homes` and `epoch` as of {@link Sales};
   * `held` are the units that an order of a reconciliation holds already, and needs no more.
   */
  async function decide(
    sku: string,
    shard: number,
    orders: readonly SaleRequest[],
    homes: readonly string[],
    held: readonly number[],
    epoch: string | undefined,
    trip: Trip,
    token: string,
  ): Promise<(SaleResult | Error | Elsewhere)[]> {
    const orderAt = (i: number): SaleRequest => orders[i] as SaleRequest
    const neededBy = (i: number): number => orderAt(i).quantity - (held[i] as number)
    const ask = (some: readonly number[]): Promise<readonly (SaleResult | Error | Elsewhere)[]> => {
      const marks = some.map((i) => homes[i]).join('')
      return shardAt(shard).sell(sku, some.map(orderAt), trip, token, marks, epoch)
    }
    const replies = [...(await ask(orders.map((_, i) => i)))]
    const refusedFor = (...reasons: RefusalReason[]): number[] =>
      orders.flatMap((_, i) => {
        const reply = replies[i]
        return isRefusal(reply) && reasons.includes(reply.reason) ? [i] : []
      })
    // A shard that is not open may not be there yet; to collect units makes it.
    let short = refusedFor('sold-out', 'not-open')
    while (short.length > 0 && !trip.signal.aborted) {
      const wanted = short.map(neededBy)
      const left = await shards.collect(sku, shard, wanted, trip, token).catch(notCollected)
      for (const i of short) replies[i] = left instanceof Error ? left : soldOut(left)
      const enough = short.filter((i) => typeof left === 'number' && neededBy(i) <= left)
      if (enough.length === 0) break
      // What others of the trip were told holds, so a failure is told to these alone.
      const again = await ask(enough).catch((error: unknown) => enough.map(() => unavailable(error)))
      for (const [j, i] of enough.entries()) replies[i] = again[j] as SaleResult | Error | Elsewhere
      const asked = new Set(enough)
      short = refusedFor('sold-out').filter((i) => asked.has(i))
    }
    return replies
  }

  /** An order of a shard refused for another reason than its units says how many are left in all. */
  async function withLeft(sku: string, replies: readonly (SaleResult | Error)[], trip: Trip) {
    const isOther = (reply: SaleResult | Error): boolean =>
      isRefusal(reply) && (reply.reason === 'buyer-limit' || reply.reason === 'spent')
    if (!replies.some(isOther)) return replies
    const left = (await shards.read(sku, trip).catch(() => undefined))?.left
    return replies.map((reply) => (isOther(reply) && left !== undefined ? { ...reply, available: left } : reply))
  }

  /** A refusal is not remembered, so where the order was placed need not be. */
  async function forget(
    sku: string,
    orders: readonly SaleRequest[],
    refused: readonly Placed[],
    trip: Trip,
  ): Promise<void> {
    const idOf = ({ index }: Placed): string => (orders[index] as SaleRequest).orderId
    for (const [shard, ofShard] of groupBy(refused, (one) => homeOfId(idOf(one)))) {
      for (const [epoch, ofSale] of groupBy(ofShard, (one) => one.epoch)) {
        const places = ofSale.flatMap((one) => [idOf(one), one.place])
        await shardAt(shard).move(sku, epoch, ['forget', ...places], trip)
      }
    }
  }

  /** The shards where orders are recorded, which the shards of their ids may not know any more, and the units that they hold. */
  async function recordedAt(sku: string, orders: readonly SaleRequest[], trip: Trip) {
    const ids = orders.map(({ orderId }) => orderId)
    const found = new Map<string, { readonly shard: number; readonly held: number }>()
    await Promise.all(
      sales.map(async (shard, index) => {
        for (const [i, record] of (await shard.find(sku, ids, trip)).entries()) {
          if (!record || !('state' in record) || record.state === 'spent') continue
          found.set(ids[i] as string, { shard: index, held: record.state === 'held' ? record.quantity : 0 })
        }
      }),
    )
    return found
  }

  async function sell(
    sku: string,
    orders: readonly SaleRequest[],
    trip: Trip,
    token = '',
  ): Promise<readonly (SaleResult | Error)[]> {
    const recorded = token === '' ? undefined : await recordedAt(sku, orders, trip)
    const ask: Ask<SaleRequest, SaleResult> = (shard, some, placed) => {
      const homes = some.map(({ orderId, buyer }) => {
        const home = recorded?.get(orderId)?.shard ?? (buyer ? homeOf(buyer.id, sales.length) : shard)
        if (home === shard) return '.'
        return placed ? '!' : shardLetter(home)
      })
      const held = some.map(({ orderId }) => recorded?.get(orderId)?.held ?? 0)
      return decide(sku, shard, some, homes, held, placed?.[0]?.epoch, trip, token)
    }
    const { answers, placed } = await askWherePlaced<SaleRequest, SaleResult>(orders, sales.length, ask)
    const refused = placed.filter(({ index }) => {
      const answer = answers[index]
      return isRefusal(answer) && answer.reason !== 'spent'
    })
    await forget(sku, orders, refused, trip).catch(() => undefined)
    return withLeft(sku, answers, trip)
  }

  /** The counts of the shards that are there, where one was lost; `undefined` where nothing is left of the SKU. */
  async function levelOfRest(sku: string, trip: Trip): Promise<StockState | undefined> {
    const states = await Promise.all(sales.map((shard) => shard.level(sku, undefined, trip)))
    const known = states[0] ?? states.find((state) => state && isUsed(state))
    if (!known) return undefined
    const rest = states.filter((state) => state?.epoch === known.epoch) as ShardState[]
    return { ...levelOf({ epoch: known.epoch, shards: rest, between: 0 }, undefined), frozen: true }
  }

  async function open(sku: string, changes: readonly StockChange[], trip: Trip): Promise<readonly StockChanged[]> {
    if (!(await first.level(sku, undefined, trip))) {
      const states = await Promise.all(others.map((shard) => shard.level(sku, undefined, trip)))
      // Somebody else may have removed it, or opened it, meanwhile.
      const isLost = states.some((state) => state && isUsed(state)) && !(await first.level(sku, undefined, trip))
      if (isLost) throw damagedSale(sku, undefined)
    }
    const changed = await first.adjust(sku, changes, trip)
    // Whoever sells makes the other shards too, if this fails.
    await shards.read(sku, trip).catch(() => undefined)
    return changed
  }

  /** Makes changes one after the other. A failure of one that is not the first is told to those that were applied as well. */
  async function inTurn(
    changes: readonly StockChange[],
    make: (change: StockChange) => Promise<StockChanged>,
  ): Promise<readonly StockChanged[]> {
    const changed: StockChanged[] = []
    for (const change of changes) {
      const made = make(change)
      changed.push(await (changed.length === 0 ? made : made.catch(perhapsApplied)))
    }
    return changed
  }

  async function restock(sku: string, changes: readonly StockChange[], trip: Trip): Promise<readonly StockChanged[]> {
    const takesAway = (change: StockChange): boolean => change.kind === 'restock' && change.quantity < 0
    if (!changes.some(takesAway)) return first.adjust(sku, changes, trip)
    return inTurn(changes, (change) => restockOne(sku, change, trip))
  }

  /** The first shard has all restocks. Where units are to go, it may have to collect them. */
  async function restockOne(sku: string, change: StockChange, trip: Trip): Promise<StockChanged> {
    const wanted = change.kind === 'restock' ? -change.quantity : 0
    for (;;) {
      const [changed] = (await first.adjust(sku, [change], trip)) as [StockChanged]
      if (changed.outcome !== 'refused' || wanted <= 0) return changed
      const available = (await shards.collect(sku, 0, [wanted], trip)) ?? 0
      if (available < wanted) return { ...changed, available }
    }
  }

  async function freeze(sku: string, change: StockChange & { kind: 'freeze' }, trip: Trip): Promise<StockChanged> {
    const { token, forMs } = change
    const states = await Promise.all(sales.map((shard) => shard.level(sku, undefined, trip)))
    const thaws = Math.max(...states.map((state) => state?.thaws ?? 0))
    const [frozen] = (await first.adjust(sku, [change], trip, thaws)) as [StockChanged]
    if (frozen.outcome !== 'done') return frozen
    let onSaleInMs: number | undefined
    try {
      onSaleInMs = await shards.mend(sku, token, forMs, thaws, trip).catch(perhapsApplied)
    } finally {
      // A lease that is left at one shard would keep others from freezing all of them.
      if (onSaleInMs === undefined)
        await keepFrozen(sku, { kind: 'keep-frozen', token, forMs: 0 }, trip).catch(() => undefined)
    }
    if (onSaleInMs === undefined) return { ...frozen, outcome: 'refused' }
    return { ...frozen, onSaleInMs: Math.max(frozen.onSaleInMs, onSaleInMs) }
  }

  /** A change of every shard, the first one last. */
  async function changeEach(sku: string, change: StockChange, trip: Trip): Promise<StockChanged> {
    const changed = await Promise.all(others.map((shard) => shard.adjust(sku, [change], trip))).catch(perhapsApplied)
    const [last] = (await first.adjust(sku, [change], trip).catch(perhapsApplied)) as [StockChanged]
    return changed.flat().find(({ outcome }) => outcome === 'refused') ?? last
  }

  /** As `changeEach`, also where a shard fails: the leases of the others are kept, or end. */
  async function keepFrozen(sku: string, change: StockChange, trip: Trip): Promise<StockChanged> {
    const kept = await Promise.allSettled(others.map((shard) => shard.adjust(sku, [change], trip)))
    const [last] = (await first.adjust(sku, [change], trip).catch(perhapsApplied)) as [StockChanged]
    const changed = kept.flatMap((one) => (one.status === 'fulfilled' ? one.value : perhapsApplied(one.reason)))
    return changed.find(({ outcome }) => outcome === 'refused') ?? last
  }

  async function remove(sku: string, change: StockChange, trip: Trip): Promise<StockChanged> {
    const removed = await changeEach(sku, change, trip)
    // A shard that was being made meanwhile.
    await Promise.all(others.map((shard) => shard.adjust(sku, [change], trip))).catch(perhapsApplied)
    return removed
  }

  function changeOne(sku: string, change: StockChange, trip: Trip): Promise<StockChanged> {
    switch (change.kind) {
      case 'freeze':
        return freeze(sku, change, trip)
      case 'keep-frozen':
        return keepFrozen(sku, change, trip)
      case 'remove':
        return remove(sku, change, trip)
      default:
        return changeEach(sku, change, trip)
    }
  }

  return {
    lane: (_, orderId) => homeOfId(orderId),
    async adjust(sku, changes, trip) {
      switch (changes[0]?.kind) {
        case 'open':
          return open(sku, changes, trip)
        case 'restock':
          return restock(sku, changes, trip)
        default:
          return inTurn(changes, (change) => changeOne(sku, change, trip))
      }
    },
    sell,
    // A basket has one order: one SKU is in several slots, and shares none with others.
    basketLane: (sku) => sku,
    async sellTogether(baskets, trip) {
      const orders = baskets.flat()
      const replies = await sell((orders[0] as SaleRequest).sku, orders, trip)
      return replies.map((reply) => (isRefusal(reply) ? { ...reply, refusedBy: 0 } : reply)) as (BasketResult | Error)[]
    },
    settle: (sku, settlements, trip) =>
      askEverywhere<Settlement, Settled>(
        sku,
        settlements,
        (shard, some) => shard.settle(sku, some, trip),
        (reply) => 'outcome' in reply && reply.outcome === 'unknown',
        trip,
      ),
    async level(sku, close, trip) {
      const state = await shards.readExactly(sku, close, trip).catch((error: unknown) => {
        if (error instanceof StockFrozenError) return undefined
        throw error
      })
      return state ? levelOf(state, state.exact ? close?.below : undefined) : levelOfRest(sku, trip)
    },
    async orders(sku, cursor, trip): Promise<OrdersPage | undefined> {
      const [, index = '0', epoch, rest] = /^(\d+) (\S+) ?(.*)$/.exec(cursor ?? '') ?? []
      const shard = Number(index)
      const page = await shardAt(shard).orders(sku, rest === '' ? undefined : rest, trip)
      if (!page && shard === 0) return undefined
      const of = epoch ?? (page as OrdersPage).epoch
      const isLast = shard + 1 === sales.length
      const nextShard = isLast ? undefined : `${shard + 1} ${of} `
      const next = page?.next === undefined ? nextShard : `${shard} ${of} ${page.next}`
      if (page) return { ...page, next }
      // It is not there yet, or was lost, or the sale has ended.
      const state = await shards.read(sku, trip)
      return state && { epoch: state.epoch, orders: [], next }
    },
    find: (sku, orderIds, trip) =>
      askEverywhere<{ readonly orderId: string }, OrderRecord | undefined>(
        sku,
        orderIds.map((orderId) => ({ orderId })),
        (shard, some) => {
          const ids = some.map(({ orderId }) => orderId)
          return shard.find(sku, ids, trip)
        },
        (reply) => reply === undefined,
        trip,
      ),
  }
}

const isUsed = ({ total, recorded }: StockState): boolean => total > 0 || recorded > 0

/** The shards as one sale. `below` as of a {@link CloseRequest} that all of them were sent. */
function levelOf({ epoch, shards, between }: Omit<SkuState, 'left'>, below: number | undefined): StockState {
  const sum = (of: (state: StockState) => number): number => shards.reduce((total, state) => total + of(state), 0)
  const available = sum((state) => state.available) + between
  const closed = below !== undefined && available < below
  return {
    epoch,
    // A reconciliation thaws all, and a shard that was lost begins anew.
    thaws: Math.max(...shards.map((state) => state.thaws)),
    total: sum((state) => state.total) + between,
    available,
    held: sum((state) => state.held),
    sold: sum((state) => state.sold),
    recorded: sum((state) => state.recorded),
    closedForMs: closed ? Math.min(...shards.map((state) => state.closedForMs)) : 0,
    frozen: shards.some((state) => state.frozen),
  }
}

/** The answer of several shards to one call: what one of them knows; else that it is unknown, if one may have applied it. */
function surest<Reply>(replies: readonly (Reply | Error)[]): Reply | Error | undefined {
  const failures = replies.filter((reply) => reply instanceof StoreUnavailableError)
  return (
    replies.find((reply) => !(reply instanceof Error)) ??
    replies.find((reply) => !(reply instanceof StoreUnavailableError)) ??
    failures.find(({ applied }) => applied === 'unknown') ??
    failures[0]
  )
}

/** What an order is told whose shard had too few units while the others could not be asked: it was not sold. */
const notCollected = (error: unknown): StoreUnavailableError =>
  failedAlone('the shards could not be asked for units', error, 'no')

const soldOut = (left: number | undefined): SaleResult =>
  left === undefined
    ? { ok: false, reason: 'not-open', available: 0 }
    : { ok: false, reason: 'sold-out', available: left }

/** Some of several changes may have been applied before one failed. */
function perhapsApplied(error: unknown): never {
  throw new StoreUnavailableError('stock: a shard gave no answer', { applied: 'unknown', cause: error })
}
