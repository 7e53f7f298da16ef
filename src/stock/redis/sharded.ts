import { NothingApplied, type Trip } from '../../core/group-commit.js'
import { StoreUnavailableError } from '../../core/errors.js'
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
import type { BasketResult, SaleResult } from '../types.js'
import { shardLetter, type Elsewhere } from './messages.js'
import type { Sales } from './sales.js'
import { homeOf } from './shard-names.js'
import { createShards, type SkuState } from './shards.js'

/** An order, and how its shard notes that it is in another. */
interface Placed {
  readonly orderId: string
  readonly place: string
}

type Places<Item> = ReadonlyMap<number, readonly (readonly [place: number, item: Item])[]>

/** Items by shard, each with its place in the list. */
function byShard<Item>(items: readonly Item[], shardOf: (item: Item, place: number) => number): Places<Item> {
  const groups = new Map<number, (readonly [number, Item])[]>()
  for (const [place, item] of items.entries()) {
    const shard = shardOf(item, place)
    const group = groups.get(shard)
    if (group) group.push([place, item])
    else groups.set(shard, [[place, item]])
  }
  return groups
}

/** What a call is told whose shard could not be asked, while others could. */
function unavailable(error: unknown): Error {
  if (error instanceof StoreUnavailableError) return error
  const applied = error instanceof NothingApplied ? 'no' : 'unknown'
  return new StoreUnavailableError('stock: a shard gave no answer', { applied, cause: error })
}

/** Asks each shard about its items, and puts the answers in their places. Rejects where no shard answered. */
async function askEach<Item, Reply>(
  groups: Places<Item>,
  length: number,
  ask: (shard: number, items: readonly Item[]) => Promise<readonly (Reply | Error)[]>,
): Promise<(Reply | Error)[]> {
  const answers = new Array<Reply | Error>(length)
  const failures: unknown[] = []
  await Promise.all(
    Array.from(groups, async ([shard, group]) => {
      try {
        const replies = await ask(
          shard,
          group.map(([, item]) => item),
        )
        for (const [i, [place]] of group.entries()) answers[place] = replies[i] as Reply | Error
      } catch (error) {
        failures.push(error)
        for (const [place] of group) answers[place] = unavailable(error)
      }
    }),
  )
  if (failures.length === groups.size) throw failures.find((error) => !(error instanceof NothingApplied)) ?? failures[0]
  return answers
}

const isElsewhere = (reply: unknown): reply is Elsewhere =>
  typeof reply === 'object' && reply !== null && 'shard' in reply && 'place' in reply

/** The shard has too few units, or is not there yet. */
const isShort = (reply: unknown): boolean =>
  isRefusal(reply) && (reply.reason === 'sold-out' || reply.reason === 'not-open')

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

  /**
   * Asks the shards of the ids, and then, of those that are placed, the ones where they are. `places`: what the first shard knew of
   * each that is placed.
   */
  async function where<Item extends { readonly orderId: string }, Reply>(
    items: readonly Item[],
    ask: (shard: number, items: readonly Item[], isPlaced: boolean) => Promise<readonly (Reply | Error | Elsewhere)[]>,
  ): Promise<{ readonly answers: (Reply | Error)[]; readonly places: ReadonlyMap<number, string> }> {
    const answers = await askEach<Item, Reply | Elsewhere>(
      byShard(items, ({ orderId }) => homeOfId(orderId)),
      items.length,
      (shard, some) => ask(shard, some, false),
    )
    const placed = answers.flatMap((reply, at) => (isElsewhere(reply) ? [{ at, ...reply }] : []))
    if (placed.length > 0) {
      const found = await askEach<{ readonly at: number }, Reply | Elsewhere>(
        byShard(placed, ({ shard }) => shard),
        placed.length,
        (shard, some) => {
          const there = some.map(({ at }) => items[at] as Item)
          return ask(shard, there, true)
        },
      ).catch((error: unknown) => placed.map(() => unavailable(error)))
      for (const [i, { at }] of placed.entries()) answers[at] = found[i] as Reply | Error
    }
    return {
      answers: answers as (Reply | Error)[],
      places: new Map(placed.map(({ at, place }) => [at, place])),
    }
  }

  /** Decides orders in one shard, for as long as it can get the units that they want. */
  async function decide(
    sku: string,
    shard: number,
    orders: readonly SaleRequest[],
    homes: readonly string[],
    trip: Trip,
    token: string,
  ): Promise<(SaleResult | Error | Elsewhere)[]> {
    const ask = (some: readonly number[]): Promise<readonly (SaleResult | Error | Elsewhere)[]> => {
      const marks = some.map((i) => homes[i]).join('')
      return shardAt(shard).sell(sku, some.map(orderAt), trip, token, marks)
    }
    const orderAt = (i: number): SaleRequest => orders[i] as SaleRequest
    const replies = [...(await ask(orders.map((_, i) => i)))]
    let short = orders.flatMap((_, i) => (isShort(replies[i]) ? [i] : []))
    while (short.length > 0 && !trip.signal.aborted) {
      const wanted = short.map((i) => orderAt(i).quantity)
      const left = await shards.collect(sku, shard, wanted, trip, token).catch(notCollected)
      for (const i of short) replies[i] = left instanceof Error ? left : soldOut(left)
      const enough = short.filter((i) => typeof left === 'number' && orderAt(i).quantity <= left)
      if (enough.length === 0) break
      // What others of the trip were told holds, so a failure is told to these alone.
      const again = await ask(enough).catch((error: unknown) => enough.map(() => unavailable(error)))
      for (const [j, i] of enough.entries()) replies[i] = again[j] as SaleResult | Error | Elsewhere
      short = enough.filter((i) => isShort(replies[i]))
    }
    return replies
  }

  /** An order of a shard refused for another reason than its units says how many are left in all. */
  async function withLeft(sku: string, replies: readonly (SaleResult | Error)[], trip: Trip) {
    const isOther = (reply: SaleResult | Error): boolean => isRefusal(reply) && !isShort(reply)
    if (!replies.some(isOther)) return replies
    const left = (await shards.read(sku, trip).catch(() => undefined))?.left
    return replies.map((reply) => (isOther(reply) && left !== undefined ? { ...reply, available: left } : reply))
  }

  /** A refusal is not remembered, so where the order was placed need not be. */
  async function forget(sku: string, refused: readonly Placed[], trip: Trip): Promise<void> {
    if (refused.length === 0) return
    const state = await shards.read(sku, trip)
    if (!state) return
    for (const [shard, group] of byShard(refused, ({ orderId }) => homeOfId(orderId))) {
      const placed = group.flatMap(([, { orderId, place }]) => [orderId, place])
      await shardAt(shard).move(sku, state.epoch, ['forget', ...placed], trip)
    }
  }

  async function sell(
    sku: string,
    orders: readonly SaleRequest[],
    trip: Trip,
    token = '',
  ): Promise<readonly (SaleResult | Error)[]> {
    const { answers, places } = await where<SaleRequest, SaleResult>(orders, (shard, some, isPlaced) => {
      const homes = some.map(({ buyer }) => {
        const home = buyer ? homeOf(buyer.id, sales.length) : shard
        if (home === shard) return '.'
        return isPlaced ? '!' : shardLetter(home)
      })
      return decide(sku, shard, some, homes, trip, token)
    })
    const refused = [...places].flatMap(([at, place]) => {
      const answer = answers[at]
      const isForgotten = isRefusal(answer) && answer.reason !== 'spent'
      return isForgotten ? [{ orderId: (orders[at] as SaleRequest).orderId, place }] : []
    })
    await forget(sku, refused, trip).catch(() => undefined)
    return withLeft(sku, answers, trip)
  }

  async function open(sku: string, changes: readonly StockChange[], trip: Trip): Promise<readonly StockChanged[]> {
    const states = await Promise.all(sales.map((shard) => shard.level(sku, undefined, trip)))
    const lost = !states[0] && states.some((state) => state && state.total + state.recorded > 0)
    if (lost) throw damagedSale(sku, undefined)
    const changed = await first.adjust(sku, changes, trip)
    // Whoever sells makes the other shards too, if this fails.
    await shards.read(sku, trip).catch(() => undefined)
    return changed
  }

  async function restock(sku: string, changes: readonly StockChange[], trip: Trip): Promise<readonly StockChanged[]> {
    const takesAway = (change: StockChange): boolean => change.kind === 'restock' && change.quantity < 0
    if (!changes.some(takesAway)) return first.adjust(sku, changes, trip)
    const changed: StockChanged[] = []
    for (const change of changes) changed.push(await restockOne(sku, change, trip))
    return changed
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
    const [frozen] = (await first.adjust(sku, [change], trip)) as [StockChanged]
    if (frozen.outcome !== 'done' || (await shards.mend(sku, token, forMs, trip))) return frozen
    await first.adjust(sku, [{ kind: 'keep-frozen', token, forMs: 0 }], trip)
    return { ...frozen, outcome: 'refused' }
  }

  /** A change of every shard, the first one last. */
  async function changeEach(sku: string, change: StockChange, trip: Trip): Promise<StockChanged> {
    const changed = await Promise.all(others.map((shard) => shard.adjust(sku, [change], trip)))
    const [last] = (await first.adjust(sku, [change], trip)) as [StockChanged]
    return changed.flat().find(({ outcome }) => outcome === 'refused') ?? last
  }

  return {
    lane: (_, orderId) => homeOfId(orderId),
    async adjust(sku, changes, trip) {
      switch (changes[0]?.kind) {
        case 'open':
          return open(sku, changes, trip)
        case 'restock':
          return restock(sku, changes, trip)
      }
      const changed: StockChanged[] = []
      for (const change of changes) {
        if (change.kind === 'freeze') changed.push(await freeze(sku, change, trip))
        else changed.push(await changeEach(sku, change, trip))
        // A shard that was being made meanwhile.
        if (change.kind === 'remove') await Promise.all(others.map((shard) => shard.adjust(sku, [change], trip)))
      }
      return changed
    },
    sell,
    // A basket has one order: one SKU is in several slots, and shares none with others.
    basketLane: (sku) => sku,
    async sellTogether(baskets, trip) {
      const orders = baskets.flat()
      const replies = await sell((orders[0] as SaleRequest).sku, orders, trip)
      return replies.map((reply) => (isRefusal(reply) ? { ...reply, refusedBy: 0 } : reply)) as (BasketResult | Error)[]
    },
    async settle(sku, settlements, trip) {
      const ask = (shard: number, some: readonly Settlement[]) => shardAt(shard).settle(sku, some, trip)
      return (await where<Settlement, Settled>(settlements, ask)).answers
    },
    async level(sku, close, trip) {
      const state = await shards.readExactly(sku, close, trip)
      return state && levelOf(state, state.exact ? close?.below : undefined)
    },
    async orders(sku, cursor, trip): Promise<OrdersPage | undefined> {
      const [, index = '0', epoch, rest] = /^(\d+) (\S+) ?(.*)$/.exec(cursor ?? '') ?? []
      const shard = Number(index)
      const page = await shardAt(shard).orders(sku, rest === '' ? undefined : rest, trip)
      if (!page && shard === 0) return undefined
      const of = epoch ?? (page as OrdersPage).epoch
      const isOfSale = page?.epoch === of
      const next =
        isOfSale && page.next !== undefined
          ? `${shard} ${of} ${page.next}`
          : shard + 1 < sales.length
            ? `${shard + 1} ${of} `
            : undefined
      if (shard === 0) return { ...(page as OrdersPage), next }
      return { epoch: of, orders: isOfSale ? page.orders : [], next }
    },
    async find(sku, orderIds, trip) {
      const items = orderIds.map((orderId) => ({ orderId }))
      const { answers } = await where<(typeof items)[number], OrderRecord | undefined>(items, (shard, some) => {
        const ids = some.map(({ orderId }) => orderId)
        return shardAt(shard).find(sku, ids, trip)
      })
      return answers
    },
  }
}

/** The shards as one sale. `below` as of a {@link CloseRequest} that all of them were sent. */
function levelOf({ epoch, shards, between }: SkuState, below: number | undefined): StockState {
  const sum = (of: (state: StockState) => number): number => shards.reduce((total, state) => total + of(state), 0)
  const available = sum((state) => state.available) + between
  const closed = below !== undefined && available < below
  return {
    epoch,
    thaws: sum((state) => state.thaws),
    total: sum((state) => state.total) + between,
    available,
    held: sum((state) => state.held),
    sold: sum((state) => state.sold),
    recorded: sum((state) => state.recorded),
    closedForMs: closed ? Math.min(...shards.map((state) => state.closedForMs)) : 0,
    frozen: shards.some((state) => state.frozen),
  }
}

/** What an order is told whose shard had too few units while the others could not be asked: it was not sold. */
function notCollected(error: unknown): Error {
  if (error instanceof StoreUnavailableError) return error
  return new StoreUnavailableError('stock: the shards could not be asked for units', { applied: 'no', cause: error })
}

const soldOut = (left: number | undefined): SaleResult =>
  left === undefined
    ? { ok: false, reason: 'not-open', available: 0 }
    : { ok: false, reason: 'sold-out', available: left }
