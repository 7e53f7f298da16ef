import { randomUUID } from 'node:crypto'
import { durationMs, keyString, positiveInteger } from '../core/check.js'
import { sleep, systemClock } from '../core/clock.js'
import { ClosedError, StoreUnavailableError } from '../core/errors.js'
import { createGroupCommit } from '../core/group-commit.js'
import { checkedOptions, checkedQuantity, saleRequest, unitsChange } from './check.js'
import type {
  CloseRequest,
  OrdersPage,
  SaleRequest,
  StockChange,
  StockChanged,
  StockDriver,
  StockState,
} from './driver.js'
import { closedMs } from './gate.js'
import { createGatekeeper } from './gatekeeper.js'
import type { RecordedOrder, SaleResult, Stock, StockOptions } from './types.js'

/** Orders in one trip. More make a trip that keeps everybody else of the backend waiting for milliseconds. */
const mostOrders = 1_000

/**
 * Stock over `driver`: `memoryStock()` within one process, `redisStock(redis)` for many. Does no I/O by itself.
 *
 * @throws TypeError or RangeError for options that make no sense.
 */
export function createStock(driver: StockDriver, options: StockOptions = {}): Stock {
  checkedOptions(options)
  const { local, clock = systemClock } = options
  const timeoutMs = durationMs('timeoutMs', options.timeoutMs ?? 1_000, 1)
  const trips = { module: 'stock', timeoutMs, clock }
  let closed = false

  const sales = createGroupCommit<SaleRequest, SaleResult>({
    ...trips,
    verb: 'sell',
    lane: ({ sku }) => sku,
    maxBatch: mostOrders,
    run: (requests, trip) => driver.sell((requests[0] as SaleRequest).sku, requests, trip),
  })
  const levels = createGroupCommit<{ sku: string; close?: CloseRequest }, StockState | undefined>({
    ...trips,
    verb: 'level',
    lane: ({ sku, close }) => (close ? `close ${sku}` : `read ${sku}`),
    async run(requests, trip) {
      const { sku, close } = requests[0] as { sku: string; close?: CloseRequest }
      const state = await driver.level(sku, close, trip)
      return requests.map(() => state)
    },
  })
  const changes = createGroupCommit<{ sku: string; change: StockChange }, StockChanged>({
    ...trips,
    verb: 'adjust',
    lane: ({ sku }) => sku,
    maxBatch: 1,
    maxInFlight: 16,
    run: async ([one], trip) => (one ? [await driver.adjust(one.sku, one.change, trip)] : []),
  })
  const pages = createGroupCommit<{ sku: string; cursor: string | undefined }, OrdersPage | undefined>({
    ...trips,
    verb: 'orders',
    lane: ({ sku }) => sku,
    maxBatch: 1,
    maxInFlight: 4,
    run: async ([one], trip) => (one ? [await driver.orders(one.sku, one.cursor, trip)] : []),
  })

  const finds = createGroupCommit<{ sku: string; orderId: string }, RecordedOrder | undefined>({
    ...trips,
    verb: 'find',
    lane: ({ sku }) => sku,
    maxBatch: mostOrders,
    run: (requests, trip) =>
      driver.find(
        (requests[0] as { sku: string }).sku,
        requests.map(({ orderId }) => orderId),
        trip,
      ),
  })

  /** A call of two trips still ends in time: the second is given up when the time of both is over. */
  async function inTime<T>(startedMs: number, work: (signal: AbortSignal) => Promise<T>): Promise<T> {
    const giveUp = new AbortController()
    const late = new StoreUnavailableError(`stock: no answer within ${timeoutMs} ms`, { applied: 'unknown' })
    const cancel = clock.after(startedMs + timeoutMs - clock.nowMs(), () => giveUp.abort(late))
    return work(giveUp.signal).finally(cancel)
  }

  async function* pagesOf(sku: string, epoch?: string): AsyncGenerator<OrdersPage> {
    let expected = epoch
    let cursor: string | undefined
    do {
      const page = await pages.call({ sku, cursor })
      if (!page || page.epoch !== (expected ?? page.epoch)) throw notOnSale(sku)
      yield page
      expected = page.epoch
      cursor = page.next
    } while (cursor !== undefined)
  }

  async function* ordersOf(sku: string): AsyncGenerator<RecordedOrder> {
    const seen = new Set<string>()
    for await (const { orders } of pagesOf(sku)) {
      for (const order of orders) {
        if (seen.has(order.orderId)) continue
        seen.add(order.orderId)
        yield order
      }
    }
  }

  async function whenOnSale({ onSaleInMs }: StockChanged, startedMs: number): Promise<void> {
    const leftMs = startedMs + timeoutMs - clock.nowMs()
    if (onSaleInMs > 0) await sleep(Math.min(onSaleInMs, leftMs), { clock })
  }

  const gatekeeper = local
    ? createGatekeeper(
        positiveInteger('local.units', local.units),
        {
          sell: (request, signal) => sales.call(request, signal),
          whatIsLeft: (sku) => levels.call({ sku, close: { below: local.units, forMs: closedMs } }).catch(notAsked),
          pages: pagesOf,
        },
        { clock, inTime },
      )
    : undefined

  const close = async (): Promise<void> => {
    closed = true
    await Promise.all([sales, levels, changes, pages, finds].map((one) => one.close()))
  }

  return {
    async open(sku, quantity) {
      keyString('sku', sku)
      positiveInteger('quantity', quantity)
      const startedMs = clock.nowMs()
      const changed = await changes.call({ sku, change: { kind: 'open', epoch: randomUUID(), quantity } })
      await whenOnSale(changed, startedMs)
      return changed.outcome === 'done'
    },
    async restock(sku, quantity, { id = randomUUID() } = {}) {
      keyString('sku', sku)
      keyString('id', id)
      unitsChange(quantity)
      const startedMs = clock.nowMs()
      const changed = await changes.call({ sku, change: { kind: 'restock', id, quantity } })
      if (changed.outcome === 'not-open') throw notOnSale(sku)
      if (changed.outcome === 'refused') {
        throw new RangeError(`quantity ${quantity} is out of range: ${sku} has ${changed.available} unsold units`)
      }
      await whenOnSale(changed, startedMs)
    },
    // Not an async function: a refusal by the gate, millions of times a second, makes no promise of its own.
    sell(order) {
      try {
        const quantity = checkedQuantity(order)
        if (closed) throw new ClosedError('stock: sell after close')
        if (!gatekeeper) return sales.call(saleRequest(order, quantity))
        return gatekeeper.refusal(order.sku, order.orderId, quantity) ?? gatekeeper.sell(saleRequest(order, quantity))
      } catch (error) {
        return rejected(error)
      }
    },
    async level(sku) {
      keyString('sku', sku)
      const state = await levels.call({ sku })
      if (!state) throw notOnSale(sku)
      const { total, available, held, leased, sold } = state
      return { total, available, held, leased, sold }
    },
    orders(sku) {
      keyString('sku', sku)
      return ordersOf(sku)
    },
    async find(orderId, sku) {
      keyString('orderId', orderId)
      keyString('sku', sku)
      return finds.call({ sku, orderId })
    },
    async remove(sku) {
      keyString('sku', sku)
      const startedMs = clock.nowMs()
      const state = await levels.call({ sku })
      if (!state) return
      await inTime(startedMs, (signal) => changes.call({ sku, change: { kind: 'remove', epoch: state.epoch } }, signal))
    },
    close,
    [Symbol.asyncDispose]: close,
  }
}

const rejected = async (error: unknown): Promise<never> => {
  throw error
}

const notOnSale = (sku: string): RangeError => new RangeError(`sku ${JSON.stringify(sku)} is not on sale`)

/** The question was lost, so the order that waited for the answer was never sent. */
function notAsked(error: unknown): never {
  if (!(error instanceof StoreUnavailableError)) throw error
  throw new StoreUnavailableError('stock: what is left could not be asked', { applied: 'no', cause: error })
}
