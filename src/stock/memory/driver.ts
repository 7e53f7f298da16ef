import { systemClock, type Clock } from '../../core/clock.js'
import { knownOptions } from '../../core/options.js'
import {
  frozenSale,
  orderConflict,
  tooMuchToConfirm,
  type OrderRecord,
  type SaleRequest,
  type Settled,
  type Settlement,
  type StockChange,
  type StockChanged,
  type StockDriver,
} from '../driver.js'
import type { BasketResult, SaleResult, SettleResult } from '../types.js'
import { createHoldQueue, type HoldQueue } from './hold-queue.js'

/** Options of stock within one process. */
export interface MemoryStockOptions {
  /** @defaultValue systemClock */
  readonly clock?: Clock | undefined
}

interface MemoryOrder {
  readonly orderId: string
  quantity: number
  readonly buyer: string | undefined
  state: 'held' | 'sold' | 'cancelled' | 'expired' | 'refunded'
  /** When a hold ends. */
  readonly endsAtMs: number
}

interface Sale {
  readonly epoch: string
  total: number
  available: number
  held: number
  /** Units that came back while some process may say sold out by itself: not sold until then. */
  late: number
  readonly orders: Map<string, MemoryOrder>
  /** Units that each buyer holds or bought. */
  readonly buyers: Map<string, number>
  readonly holds: HoldQueue<MemoryOrder>
  readonly restocks: Set<string>
  thaws: number
  /** Who reconciles it, and for how long nobody else may. */
  frozen: { readonly token: string; readonly untilMs: number } | undefined
}

const isHeld = ({ state }: MemoryOrder): boolean => state === 'held'

type Refused = SaleResult & { readonly ok: false }
/** What is to be done with an order: it is known, it is refused, or it can be taken. */
type Decision = 'known' | 'take' | Refused | Error

const settledNow = { confirm: 'sold', cancel: 'cancelled', refund: 'refunded' } as const

/** The answer to a settlement of an order that is not in the state that it needs. */
const answers: Record<Settlement['kind'], Record<MemoryOrder['state'], SettleResult>> = {
  confirm: { held: 'done', sold: 'already', cancelled: 'cancelled', refunded: 'cancelled', expired: 'expired' },
  cancel: { held: 'done', sold: 'confirmed', cancelled: 'already', refunded: 'already', expired: 'expired' },
  refund: { held: 'unknown', sold: 'done', cancelled: 'cancelled', refunded: 'already', expired: 'expired' },
}

/**
 * Stock within one process: the embedded default, and the readable specification of what a driver does. It forgets
 * everything when the process ends. Two `createStock` over one of these share its units, as two processes would.
 */
export function memoryStock(options?: MemoryStockOptions): StockDriver {
  const { clock = systemClock } = knownOptions<MemoryStockOptions>('memoryStock', options, { clock: true })
  const sales = new Map<string, Sale>()
  /** Until when some process may say sold out by itself; outlives the sale. About in the order in which that ends. */
  const closedUntilMs = new Map<string, number>()

  const closedForMs = (sku: string): number => {
    const leftMs = (closedUntilMs.get(sku) ?? -Infinity) - clock.nowMs()
    if (leftMs > 0) return leftMs
    closedUntilMs.delete(sku)
    return 0
  }
  const closeFor = (sku: string, forMs: number): void => {
    const nowMs = clock.nowMs()
    closedUntilMs.delete(sku)
    closedUntilMs.set(sku, nowMs + forMs)
    for (const [name, untilMs] of closedUntilMs) {
      if (untilMs > nowMs) break
      closedUntilMs.delete(name)
    }
  }
  const lateUnits = (sku: string, sale: Sale): number => (closedForMs(sku) > 0 ? sale.late : (sale.late = 0))

  /** The sale of a SKU, with the units of ended holds on sale again. */
  function saleOf(sku: string): Sale | undefined {
    const sale = sales.get(sku)
    // Who may say sold out by itself may do so only until the next hold ends, so these units wait for nobody.
    for (const order of sale?.holds.takeUntil(clock.nowMs()) ?? []) {
      order.state = 'expired'
      release(sale as Sale, order, order.quantity)
      ;(sale as Sale).held -= order.quantity
    }
    return sale
  }

  function release(sale: Sale, { buyer }: MemoryOrder, quantity: number): void {
    sale.available += quantity
    if (buyer === undefined) return
    const units = (sale.buyers.get(buyer) ?? 0) - quantity
    if (units === 0) sale.buyers.delete(buyer)
    else sale.buyers.set(buyer, units)
  }

  function adjust(sku: string, change: StockChange): StockChanged {
    const sale = saleOf(sku)
    const answer = (outcome: StockChanged['outcome'], onSaleInMs = 0): StockChanged => {
      return { outcome, available: sales.get(sku)?.available ?? 0, onSaleInMs }
    }
    if (change.kind === 'open') {
      if (sale) return answer(sale.epoch === change.epoch ? 'done' : 'refused', closedForMs(sku))
      const { epoch, quantity } = change
      const late = closedForMs(sku) > 0 ? quantity : 0
      sales.set(sku, {
        ...{ epoch, total: quantity, available: quantity, held: 0, late, thaws: 0, frozen: undefined },
        ...{ orders: new Map(), buyers: new Map(), holds: createHoldQueue(isHeld), restocks: new Set() },
      })
      return answer('done', closedForMs(sku))
    }
    if (change.kind === 'freeze') {
      const { token, quantity, forMs } = change
      if (!sale && quantity === 0) return answer('not-open')
      if (!sale) adjust(sku, { kind: 'open', epoch: token, quantity })
      const opened = sales.get(sku) as Sale
      const { frozen } = opened
      if (frozen && frozen.token !== token && frozen.untilMs > clock.nowMs()) return answer('refused')
      opened.frozen = { token, untilMs: clock.nowMs() + forMs }
      return answer('done', closedForMs(sku))
    }
    if (change.kind === 'keep-frozen') {
      if (sale?.frozen?.token !== change.token) return answer('refused')
      sale.frozen = { token: change.token, untilMs: clock.nowMs() + change.forMs }
      return answer('done')
    }
    if (change.kind === 'thaw') {
      if (!sale) return answer('not-open')
      if (sale.frozen && sale.frozen.token !== change.token) return answer('refused')
      if (sale.frozen) sale.thaws++
      sale.frozen = undefined
      return answer('done')
    }
    if (change.kind === 'remove') {
      if (sale?.epoch === change.epoch) sales.delete(sku)
      return answer('done')
    }
    if (!sale) return answer('not-open')
    const { id, quantity } = change
    if (!sale.restocks.has(id)) {
      if (sale.available + quantity < 0 || sale.total + quantity > Number.MAX_SAFE_INTEGER) return answer('refused')
      sale.restocks.add(id)
      const late = closedForMs(sku) > 0 ? Math.max(0, sale.late + quantity) : 0
      sale.late = Math.min(late, sale.available + quantity)
      sale.total += quantity
      sale.available += quantity
    }
    return answer('done', quantity > 0 ? closedForMs(sku) : 0)
  }

  function decide(order: SaleRequest): Decision {
    const { sku, orderId, quantity, buyer, holdMs } = order
    const sale = saleOf(sku)
    if (!sale) return { ok: false, reason: 'not-open', available: 0 }
    const available = sale.available - lateUnits(sku, sale)
    const refuse = (reason: Refused['reason']): Refused => ({ ok: false, reason, available })
    const known = sale.orders.get(orderId)
    if (known) {
      if (known.state !== 'held' && known.state !== 'sold') return refuse('spent')
      if (known.state !== (holdMs === undefined ? 'sold' : 'held')) return orderConflict(order, known.state)
      if (known.quantity !== quantity) return orderConflict(order, 'quantity')
      if (buyer && known.buyer !== undefined && known.buyer !== buyer.id) return orderConflict(order, 'buyer')
      return 'known'
    }
    if (quantity > available) return refuse('sold-out')
    if (buyer && (sale.buyers.get(buyer.id) ?? 0) + quantity > buyer.limit) return refuse('buyer-limit')
    return 'take'
  }

  function take({ sku, orderId, quantity, buyer, holdMs }: SaleRequest): void {
    const sale = sales.get(sku) as Sale
    const endsAtMs = clock.nowMs() + (holdMs ?? Infinity)
    const state = holdMs === undefined ? 'sold' : 'held'
    const order: MemoryOrder = { orderId, quantity, buyer: buyer?.id, state, endsAtMs }
    sale.orders.set(orderId, order)
    release(sale, order, -quantity)
    if (state === 'sold') return
    sale.held += quantity
    sale.holds.add(order)
  }

  function sell(order: SaleRequest): SaleResult | Error {
    const decision = decide(order)
    if (decision === 'take') take(order)
    return typeof decision === 'string' ? { ok: true, replayed: decision === 'known' } : decision
  }

  /**
   * Who reconciles knows the order to be sold, also where only its hold is recorded, or the end of that. Where there are too
   * few units, what is recorded stays, and it is refused.
   */
  function forgetUnsold(sale: Sale, { orderId, quantity }: SaleRequest): Refused | undefined {
    const order = sale.orders.get(orderId)
    if (!order || order.state === 'sold') return undefined
    const { available } = sale
    if (quantity > available + (order.state === 'held' ? order.quantity : 0)) {
      return { ok: false, reason: 'sold-out', available }
    }
    if (order.state === 'held') {
      release(sale, order, order.quantity)
      sale.held -= order.quantity
      order.state = 'cancelled'
    }
    sale.orders.delete(orderId)
    return undefined
  }

  function sellBasket(basket: readonly SaleRequest[]): BasketResult | Error {
    const decisions = basket.map(decide)
    const conflict = decisions.find((decision) => decision instanceof Error)
    if (conflict) return conflict
    for (const [refusedBy, decision] of decisions.entries()) {
      if (typeof decision === 'object') return { ...(decision as Refused), refusedBy }
    }
    for (const [i, order] of basket.entries()) if (decisions[i] === 'take') take(order)
    return { ok: true, replayed: !decisions.includes('take') }
  }

  function settle(sku: string, settlement: Settlement): Settled | Error {
    const { kind, orderId, quantity } = settlement
    const sale = saleOf(sku)
    const order = sale?.orders.get(orderId)
    if (!sale || !order) return { outcome: 'unknown', onSaleInMs: 0 }
    const outcome = answers[kind][order.state]
    if (kind === 'confirm' && quantity !== undefined) {
      if (outcome === 'already' && quantity !== order.quantity) return orderConflict({ orderId, sku }, 'quantity')
      if (outcome === 'done' && quantity > order.quantity) return tooMuchToConfirm(sku, settlement)
    }
    if (outcome !== 'done') return { outcome, onSaleInMs: 0 }
    const back = kind === 'confirm' ? order.quantity - (quantity ?? order.quantity) : order.quantity
    if (order.state === 'held') sale.held -= order.quantity
    order.state = settledNow[kind]
    if (back === 0) return { outcome, onSaleInMs: 0 }
    if (kind === 'confirm') order.quantity -= back
    if (closedForMs(sku) > 0) sale.late += back
    release(sale, order, back)
    return { outcome, onSaleInMs: closedForMs(sku) }
  }

  function recordOf({ orderId, quantity, state, buyer, endsAtMs }: MemoryOrder): OrderRecord {
    if (state !== 'held' && state !== 'sold') return { orderId, state: 'spent' }
    const expiry = state === 'held' ? { expiresInMs: endsAtMs - clock.nowMs() } : {}
    return { orderId, quantity, state, ...(buyer === undefined ? {} : { buyerId: buyer }), ...expiry }
  }

  function isFrozen(sku: string, token?: string): boolean {
    const frozen = sales.get(sku)?.frozen
    return frozen !== undefined && frozen.token !== token
  }

  return {
    async adjust(sku, changes, trip) {
      trip.sending()
      return changes.map((change) => adjust(sku, change))
    },
    async sell(sku, orders, trip, token) {
      trip.sending()
      if (isFrozen(sku, token)) throw frozenSale(sku)
      const sale = saleOf(sku)
      if (sale?.frozen) sale.late = 0
      return orders.map((order) => (sale?.frozen && forgetUnsold(sale, order)) ?? sell(order))
    },
    async sellTogether(baskets, trip) {
      trip.sending()
      return baskets.map((basket) => {
        const frozen = basket.find(({ sku }) => isFrozen(sku))
        return frozen ? frozenSale(frozen.sku) : sellBasket(basket)
      })
    },
    async settle(sku, settlements, trip) {
      trip.sending()
      if (isFrozen(sku)) throw frozenSale(sku)
      return settlements.map((settlement) => settle(sku, settlement))
    },
    async level(sku, close, trip) {
      trip.sending()
      const sale = saleOf(sku)
      if (!sale) return undefined
      const { epoch, thaws, total, available, held, orders, holds } = sale
      const frozen = sale.frozen !== undefined
      let grantedMs = 0
      if (close !== undefined && !frozen && available < close.below && lateUnits(sku, sale) === 0) {
        grantedMs = Math.min(close.forMs, holds.firstEndMs() - clock.nowMs())
        closeFor(sku, Math.max(grantedMs, closedForMs(sku)))
      }
      const sold = total - available - held
      return { epoch, thaws, total, available, held, sold, recorded: orders.size, closedForMs: grantedMs, frozen }
    },
    async orders(sku, _cursor, trip) {
      trip.sending()
      const sale = saleOf(sku)
      if (!sale) return undefined
      return { epoch: sale.epoch, orders: Array.from(sale.orders.values(), recordOf), next: undefined }
    },
    async find(sku, orderIds, trip) {
      trip.sending()
      const sale = saleOf(sku)
      return orderIds.map((orderId) => {
        const order = sale?.orders.get(orderId)
        return order && recordOf(order)
      })
    },
  }
}
