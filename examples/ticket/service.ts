import { randomUUID } from 'node:crypto'
import { OrderConflictError, StockFrozenError } from 'spillway'
import type { Publisher } from 'spillway/queue'
import { createRateLimiter, type RateLimiter } from 'spillway/ratelimit'
import type { SaleResult, Stock, StockLevel } from 'spillway/stock'
import { findOrder } from '../shared/selling/orders.js'
import { isOnSale, needStock } from '../shared/selling/rebuild.js'
import { findSale, skuOf, type Sale } from '../shared/selling/sales.js'
import { createShelf, type SaleDraft, type SaleView, type Stall as AnyStall } from '../shared/selling/shelf.js'
import type { OrderView } from '../shared/selling/states.js'
import { findHold, type TicketMessage } from './holds.js'
import type { Door, Options } from './options.js'
import { createPlaces, keptPlaceKey } from './places.js'
import { createSoldOut, type SoldOut } from './sold-out.js'
import type { TicketStores } from './stores.js'
import { ticketTables } from './tables.js'
import { createTill, type Till } from './till.js'
import { createWaitingRoom, letIn, type RoomRefusal, type WaitingRoom } from './waiting-room.js'

export interface Purchase {
  readonly orderId: string
  readonly buyer: string
  readonly quantity: number
  /** A place in line. */
  readonly place?: string | undefined
}

/** What became of an order for tickets. */
export type Decision =
  | { readonly kind: 'accepted'; readonly replayed: boolean }
  | { readonly kind: 'held'; readonly replayed: boolean; readonly endsAtMs: number; readonly amountCents: number }
  | { readonly kind: 'soldOut' | 'buyerLimit' | 'spent'; readonly available: number }
  | { readonly kind: 'notOpen'; readonly opensAtMs: number }
  | { readonly kind: 'conflict' | 'suspended' | 'unknown' }
  | RoomRefusal

export interface TicketOrder extends OrderView {
  /** When its hold ends, or ended. */
  readonly endsAtMs?: number
}

/** What became of the cancellation of a hold. `over`: the order is no hold any more. */
export type Cancellation =
  | { readonly kind: 'cancelled' | 'expired' | 'sold' | 'suspended' | 'unknown' | 'unknownShow' }
  | { readonly kind: 'over'; readonly state: string }

/** The side of the service that faces the buyers. */
export interface Service extends Pick<Till, 'pay' | 'refund'> {
  /** Sells in one step. */
  grab(showId: string, purchase: Purchase): Promise<Decision>
  /** Sets tickets aside until they are paid for, or their time ends. */
  hold(showId: string, purchase: Purchase): Promise<Decision>
  cancel(showId: string, orderId: string): Promise<Cancellation>
  order(showId: string, orderId: string): Promise<TicketOrder | undefined>
  /** Writes a show and puts it on sale, now if it does not say when; `undefined` if the id is taken. */
  open(draft: SaleDraft<Door>): Promise<SaleView<Door> | undefined>
  list(): Promise<SaleView<Door>[]>
  view(showId: string): Promise<SaleView<Door> | undefined>
  /** `'suspended'` while the show has no stock. */
  level(showId: string): Promise<StockLevel | 'suspended' | undefined>
  close(): Promise<void>
}

interface Entrance {
  readonly room: WaitingRoom | undefined
  readonly soldOut: SoldOut
}
type Stall = AnyStall<Stock, Door, Entrance>

const noneLeft = { refusal: { kind: 'soldOut', available: 0 }, giveBack: () => undefined } as const

/** Messages need no order among each other. One key per process keeps a trip's messages in one batch of one partition. */
const partitionKey = randomUUID()

/** A stock that is frozen comes back under another name, as one that is gone does. */
function suspendedIfFrozen(error: unknown): { readonly kind: 'suspended' } {
  if (error instanceof StockFrozenError) return { kind: 'suspended' }
  throw error
}

export async function createService(
  stores: TicketStores,
  publisher: Publisher<TicketMessage>,
  options: Pick<Options, 'gate' | 'workers' | 'placeKey'>,
): Promise<Service> {
  const db = ticketTables(stores.db)
  const places = createPlaces(options.placeKey ?? (await keptPlaceKey(db)))
  const limiters = new Map<string, RateLimiter>()
  const shelf = createShelf<Stock, Door, Entrance>(stores, options, entranceOf)
  const { books } = shelf
  const till = createTill(stores, books)

  function entranceOf(show: Sale<Door>): Entrance {
    const { room } = show.door
    const soldOut = createSoldOut(() => books.level(skuOf(show)))
    if (!room) return { room: undefined, soldOut }
    // Buckets of different quotas are apart.
    const name = `room-${room.perSecond}-${room.burst}`
    const known = limiters.get(name)
    const quota = { capacity: room.burst, refill: room.perSecond, perMs: 1_000 }
    const limiter = known ?? createRateLimiter(stores.buckets, { name, quotas: [quota] })
    limiters.set(name, limiter)
    return { room: createWaitingRoom(room, limiter, places, () => stores.nowMs()), soldOut }
  }

  /** `about` tells the messages of one order apart. */
  const send = (sku: string, about: '' | '/held' | '/cancelled', message: TicketMessage): Promise<void> =>
    publisher.publish({ id: `${sku}/${message.orderId}${about}`, key: partitionKey, body: message })

  /** `'noStock'`: the stock does not know the show. */
  type Ask = (stall: Stall, purchase: Purchase) => Promise<Decision | 'noStock'>

  const orderFor = ({ sale, sku }: Stall, { orderId, buyer, quantity }: Purchase) => {
    return { orderId, sku, quantity, buyer: { id: buyer, limit: sale.limitPerBuyer } }
  }

  function refusalOf(stall: Stall, result: SaleResult & { readonly ok: false }): Decision | 'noStock' {
    const { reason, available } = result
    if (reason === 'sold-out' && available === 0) stall.entrance.soldOut.suspect()
    const kinds = { 'sold-out': 'soldOut', 'buyer-limit': 'buyerLimit', spent: 'spent' } as const
    return reason === 'not-open' ? 'noStock' : { kind: kinds[reason], available }
  }

  const sellTo: Ask = async (stall, purchase) => {
    const { orderId, buyer, quantity } = purchase
    const result = await stall.stock.sell(orderFor(stall, purchase))
    if (!result.ok) return refusalOf(stall, result)
    // Also for a replay: whoever sold it may have died before publishing. The order service takes the message once.
    await send(stall.sku, '', { saleId: stall.sale.id, orderId, buyer, quantity })
    return { kind: 'accepted', replayed: result.replayed }
  }

  const holdFor: Ask = async (stall, purchase) => {
    const { sale, sku, stock } = stall
    const { orderId, buyer, quantity } = purchase
    const { holdMs } = sale.door
    const result = await stock.reserve({ ...orderFor(stall, purchase), holdMs })
    if (!result.ok) return refusalOf(stall, result)
    const leftMs = result.replayed ? ((await books.find(orderId, sku))?.expiresInMs ?? 0) : holdMs
    const endsAtMs = Math.floor(stores.nowMs() + leftMs)
    await send(sku, '/held', { saleId: sale.id, orderId, buyer, quantity, hold: { endsAtMs } })
    return { kind: 'held', replayed: result.replayed, endsAtMs, amountCents: quantity * sale.priceCents }
  }

  /** The stock may not know the show: either it has been rebuilt under its next name, or Redis lost it. */
  async function askStock(ask: Ask, stall: Stall, purchase: Purchase): Promise<Decision> {
    const decision = await ask(stall, purchase)
    if (decision !== 'noStock') return decision
    const current = await shelf.reload(stall.sale.id)
    if (current && current !== stall) return askStock(ask, current, purchase)
    shelf.suspend(stall)
    return { kind: 'suspended' }
  }

  /** What the waiting room says. Whoever asks again for an order that the stock has gets its answer, and takes no turn. */
  async function turnOf({ sale, sku, entrance }: Stall, { orderId, place }: Purchase) {
    const { room, soldOut } = entrance
    if (!room) return letIn
    // Nobody waits for tickets that are all sold.
    const turn = (await soldOut.now()) ? noneLeft : await room.enter(sale.id, orderId, place)
    if (!turn.refusal || !(await books.find(orderId, sku))) return turn
    turn.giveBack()
    return letIn
  }

  const serve =
    (ask: Ask) =>
    async (showId: string, purchase: Purchase): Promise<Decision> => {
      const stall = await shelf.stall(showId)
      if (!stall) return { kind: 'unknown' }
      if (stall === 'suspended') return { kind: 'suspended' }
      const { opensAtMs } = stall.sale
      if (opensAtMs > stores.nowMs()) return { kind: 'notOpen', opensAtMs }
      try {
        const turn = await turnOf(stall, purchase)
        if (turn.refusal) return turn.refusal
        const decision = await askStock(ask, stall, purchase).catch(suspendedIfFrozen)
        if (decision.kind === 'suspended' || ('replayed' in decision && decision.replayed)) turn.giveBack()
        return decision
      } catch (error) {
        if (error instanceof OrderConflictError) return { kind: 'conflict' }
        throw error
      }
    }

  async function cancel(showId: string, orderId: string): Promise<Cancellation> {
    const found = await findSale(stores.db, showId)
    if (!found) return { kind: 'unknownShow' }
    const sku = skuOf(found.sale)
    const held = await books.find(orderId, sku)
    const outcome = await books.cancel(orderId, sku)
    switch (outcome) {
      case 'unknown':
        return { kind: (await isOnSale(books, sku)) ? 'unknown' : 'suspended' }
      case 'confirmed':
        return { kind: 'sold' }
      case 'expired':
        return { kind: 'expired' }
    }
    // The stock answers alike for an order that was refunded, or rejected by the database; that has a row.
    const order = outcome === 'already' ? await findOrder(stores.db, showId, orderId) : undefined
    if (order) return { kind: 'over', state: order.state }
    // One that was cancelled before may not have been published.
    const row = held ? undefined : await findHold(db, showId, orderId)
    if (row?.state !== 'cancelled') {
      const { quantity, buyer } = row ?? { quantity: held?.quantity ?? 1, buyer: held?.buyerId ?? '' }
      await send(sku, '/cancelled', { saleId: showId, orderId, buyer, quantity, hold: 'cancelled' })
    }
    return { kind: 'cancelled' }
  }

  return {
    ...shelf,
    pay: (showId, orderId, card) => till.pay(showId, orderId, card).catch(suspendedIfFrozen),
    refund: (showId, orderId) => till.refund(showId, orderId).catch(suspendedIfFrozen),
    grab: serve(sellTo),
    hold: serve(holdFor),
    cancel: (showId, orderId) => cancel(showId, orderId).catch(suspendedIfFrozen),
    async order(showId, orderId) {
      const found = await findSale(stores.db, showId)
      if (!found) return undefined
      const row = await findOrder(stores.db, showId, orderId)
      if (row) return row
      const known = await books.find(orderId, skuOf(found.sale))
      if (known) {
        const { quantity, buyerId: buyer = '', expiresInMs } = known
        if (known.state === 'sold') return { orderId, buyer, quantity, state: 'accepted' }
        return { orderId, buyer, quantity, state: 'held', endsAtMs: Math.floor(stores.nowMs() + (expiresInMs ?? 0)) }
      }
      const hold = await findHold(db, showId, orderId)
      if (!hold) {
        await needStock(books, found.sale)
        return undefined
      }
      const { buyer, quantity, ends_at_ms: endsAtMs } = hold
      // A hold that lasts is missing only in a stock that is being brought back.
      const state = hold.state === 'held' && Number(endsAtMs) <= stores.nowMs() ? 'expired' : hold.state
      return { orderId, buyer, quantity, state, endsAtMs: Number(endsAtMs) }
    },
    async close() {
      await Promise.all([shelf, ...limiters.values()].map((one) => one.close()))
    },
  }
}
