import { systemClock, type Clock } from '../../core/clock.js'
import { knownOptions } from '../../core/options.js'
import { orderConflict, type SaleRequest, type StockChange, type StockChanged, type StockDriver } from '../driver.js'
import type { RecordedOrder, SaleResult } from '../types.js'

/** Options of stock within one process. */
export interface MemoryStockOptions {
  /** @defaultValue systemClock */
  readonly clock?: Clock | undefined
}

interface MemoryOrder {
  readonly quantity: number
  readonly buyer: string | undefined
}

interface Sale {
  readonly epoch: string
  total: number
  available: number
  sold: number
  /** Units that came back while some process may say sold out by itself: not sold until then. */
  late: number
  readonly orders: Map<string, MemoryOrder>
  readonly buyers: Map<string, number>
  readonly restocks: Set<string>
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

  function adjust(sku: string, change: StockChange): StockChanged {
    const sale = sales.get(sku)
    const answer = (outcome: StockChanged['outcome'], onSaleInMs = 0): StockChanged => {
      return { outcome, available: sales.get(sku)?.available ?? 0, onSaleInMs }
    }
    if (change.kind === 'open') {
      if (sale) return answer(sale.epoch === change.epoch ? 'done' : 'refused', closedForMs(sku))
      const { epoch, quantity } = change
      const lists = { orders: new Map(), buyers: new Map(), restocks: new Set<string>() }
      const late = closedForMs(sku) > 0 ? quantity : 0
      sales.set(sku, { epoch, total: quantity, available: quantity, sold: 0, late, ...lists })
      return answer('done', closedForMs(sku))
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

  function sell(order: SaleRequest): SaleResult | Error {
    const { sku, orderId, quantity, buyer } = order
    const sale = sales.get(sku)
    if (!sale) return { ok: false, reason: 'not-open', available: 0 }
    const known = sale.orders.get(orderId)
    if (known) {
      if (known.quantity !== quantity) return orderConflict(order, 'quantity')
      if (buyer && known.buyer !== undefined && known.buyer !== buyer.id) return orderConflict(order, 'buyer')
      return { ok: true, replayed: true }
    }
    const available = sale.available - lateUnits(sku, sale)
    if (quantity > available) return { ok: false, reason: 'sold-out', available }
    if (buyer) {
      const bought = (sale.buyers.get(buyer.id) ?? 0) + quantity
      if (bought > buyer.limit) return { ok: false, reason: 'buyer-limit', available }
      sale.buyers.set(buyer.id, bought)
    }
    sale.orders.set(orderId, { quantity, buyer: buyer?.id })
    sale.available -= quantity
    sale.sold += quantity
    return { ok: true, replayed: false }
  }

  return {
    async adjust(sku, changes, trip) {
      trip.sending()
      return changes.map((change) => adjust(sku, change))
    },
    async sell(_sku, orders, trip) {
      trip.sending()
      return orders.map(sell)
    },
    async level(sku, close, trip) {
      trip.sending()
      const sale = sales.get(sku)
      if (!sale) return undefined
      const { epoch, total, available, sold, orders } = sale
      const closed = close !== undefined && available < close.below && lateUnits(sku, sale) === 0
      if (closed) closeFor(sku, Math.max(close.forMs, closedForMs(sku)))
      return { epoch, total, available, held: 0, sold, recorded: orders.size, closed }
    },
    async orders(sku, _cursor, trip) {
      trip.sending()
      const sale = sales.get(sku)
      if (!sale) return undefined
      const orders = Array.from(sale.orders, ([orderId, order]) => recorded(orderId, order))
      return { epoch: sale.epoch, orders, next: undefined }
    },
    async find(sku, orderIds, trip) {
      trip.sending()
      return orderIds.map((orderId) => {
        const order = sales.get(sku)?.orders.get(orderId)
        return order && recorded(orderId, order)
      })
    },
  }
}

function recorded(orderId: string, { quantity, buyer }: MemoryOrder): RecordedOrder {
  return { orderId, quantity, state: 'sold', ...(buyer === undefined ? {} : { buyerId: buyer }) }
}
