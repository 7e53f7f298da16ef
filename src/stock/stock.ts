import { randomUUID } from 'node:crypto'
import { backgroundReporter } from '../core/background.js'
import { keyString, positiveInteger } from '../core/check.js'
import { sleep } from '../core/clock.js'
import { channels, type StockOrderEvent, type StockSettlementEvent } from '../core/diagnostics.js'
import { ClosedError } from '../core/errors.js'
import { createGroupCommit } from '../core/group-commit.js'
import {
  checkedBasket,
  checkedDriver,
  checkedOptions,
  checkedQuantity,
  checkedReconcile,
  confirmQuantity,
  holdRequest,
  restockId,
  saleRequest,
  soldRequest,
  unitsChange,
  type Basket,
} from './check.js'
import type {
  OrderRecord,
  OrdersPage,
  SaleRequest,
  Settled,
  Settlement,
  StockChange,
  StockChanged,
  StockDriver,
  StockState,
} from './driver.js'
import { createGatekeeper, questionOf } from './gatekeeper.js'
import { createReconciler, tellingOfFrozen } from './reconcile.js'
import type { BasketResult, Order, RecordedOrder, SaleResult, SettleResult, Stock, StockOptions } from './types.js'

/**
 * Calls in one trip, and orders of the baskets in one. More keep everybody else of the backend waiting for too long: with ten
 * million orders recorded, 1,000 holds took Redis 9 ms.
 */
const mostInTrip = 500

/** A change as its caller asks for it, who does not know the epoch of what is to be removed. */
type Change = { readonly sku: string } & (Exclude<StockChange, { kind: 'remove' }> | { readonly kind: 'remove' })

const nothingToRemove: StockChanged = { outcome: 'done', available: 0, onSaleInMs: 0 }

/**
 * Stock over `driver`: `memoryStock()` within one process, `redisStock(redis)` for many. Does no I/O by itself.
 *
 * @throws TypeError for what is no stock driver and for options that are not known, TypeError or RangeError for values that
 * make no sense.
 */
export function createStock(driver: StockDriver, options?: StockOptions): Stock {
  const { name, timeoutMs, gateUnits, onFrozen, onBackgroundError, clock } = checkedOptions(options)
  const backend = tellingOfFrozen(checkedDriver(driver), (sku) => reconciler.noticed(sku))
  const trips = { module: 'stock', name, timeoutMs, clock }
  const report = backgroundReporter('stock', name, onBackgroundError, clock)
  let closed = false

  /** Said at once: the same call would fail for ever. */
  function checked(sku: string): string {
    backend.checkSku?.(sku)
    return sku
  }

  /** Reconciliations that run use the same round trips as callers do, and end only after `close` was called. */
  function checkOpen(call: string): void {
    if (closed) throw new ClosedError(`stock: ${call} after close`)
  }

  const laneWithin = (sku: string, orderId: string): string =>
    backend.lane ? `${backend.lane(sku, orderId)} ${sku}` : sku

  const gatekeeper =
    gateUnits === undefined ? undefined : createGatekeeper(gateUnits, { ...backend, pages: pagesOf }, report, clock)

  const sales = createGroupCommit<SaleRequest, SaleResult>({
    ...trips,
    verb: 'sell',
    lane: ({ sku, orderId }) => laneWithin(checked(sku), orderId),
    maxBatch: mostInTrip,
    run: (requests, trip) =>
      gatekeeper ? gatekeeper.sell(requests, trip) : backend.sell((requests[0] as SaleRequest).sku, requests, trip),
  })
  const baskets = createGroupCommit<readonly SaleRequest[], BasketResult>({
    ...trips,
    verb: 'sellTogether',
    lane: ([first]) => laneOf(first as SaleRequest),
    maxBatch: mostInTrip,
    maxWeight: { of: (orders) => orders.length, most: mostInTrip },
    run: (requests, trip) => (gatekeeper ?? backend).sellTogether(requests, trip),
  })
  const settlements = createGroupCommit<{ readonly sku: string } & Settlement, Settled>({
    ...trips,
    verb: 'settle',
    lane: ({ sku, kind, orderId }) => `${kind} ${laneWithin(checked(sku), orderId)}`,
    maxBatch: mostInTrip,
    run: (requests, trip) => backend.settle((requests[0] as { readonly sku: string }).sku, requests, trip),
  })
  const levels = createGroupCommit<string, StockState | undefined>({
    ...trips,
    verb: 'level',
    lane: checked,
    async run(skus, trip) {
      const state = await backend.level(skus[0] as string, undefined, trip)
      return skus.map(() => state)
    },
  })
  const changes = createGroupCommit<Change, StockChanged>({
    ...trips,
    verb: 'adjust',
    // What one change may do another may not, by the rights of the client's user: so those of a trip are of one kind.
    lane: ({ sku, kind }) => `${kind} ${checked(sku)}`,
    maxBatch: mostInTrip,
    async run(requests, trip) {
      const { sku, kind } = requests[0] as Change
      if (kind !== 'remove') return backend.adjust(sku, requests as readonly StockChange[], trip)
      // Removals name the sale that they end. Reading which it is sends none of them.
      const state = await backend.level(sku, undefined, questionOf(trip))
      if (!state) return requests.map(() => nothingToRemove)
      const { epoch } = state
      const [changed] = await backend.adjust(sku, [{ kind, epoch }], trip)
      return requests.map(() => changed ?? nothingToRemove)
    },
  })
  const pages = createGroupCommit<{ sku: string; cursor: string | undefined }, OrdersPage | undefined>({
    ...trips,
    verb: 'orders',
    lane: ({ sku, cursor = '' }) => `${cursor} ${checked(sku)}`,
    async run(requests, trip) {
      const { sku, cursor } = requests[0] as { sku: string; cursor: string | undefined }
      const page = await backend.orders(sku, cursor, trip)
      return requests.map(() => page)
    },
  })
  const finds = createGroupCommit<{ sku: string; orderId: string }, OrderRecord | undefined>({
    ...trips,
    verb: 'find',
    lane: ({ sku }) => checked(sku),
    maxBatch: mostInTrip,
    run: (requests, trip) =>
      backend.find(
        (requests[0] as { sku: string }).sku,
        requests.map(({ orderId }) => orderId),
        trip,
      ),
  })

  const records = createGroupCommit<{ readonly order: SaleRequest; readonly token: string }, SaleResult>({
    ...trips,
    verb: 'sell',
    lane: ({ order, token }) => `${token} ${order.sku}`,
    maxBatch: mostInTrip,
    run(requests, trip) {
      const { order, token } = requests[0] as (typeof requests)[number]
      return backend.sell(
        order.sku,
        requests.map((request) => request.order),
        trip,
        token,
      )
    },
  })
  const reconciler = createReconciler(
    {
      change: (sku, change) => changes.call({ sku, ...change }),
      record: (order, token) => records.call({ order, token }),
      orders: ordersOf,
      isFrozen: async (sku) => (await levels.call(sku))?.frozen === true,
    },
    soldRequest,
    onFrozen,
    report,
    clock,
  )

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

  async function* ordersOf(sku: string, check?: () => void): AsyncGenerator<RecordedOrder> {
    check?.()
    const seen = new Set<string>()
    for await (const { orders } of pagesOf(sku)) {
      for (const order of orders) {
        if (order.state === 'spent' || seen.has(order.orderId)) continue
        seen.add(order.orderId)
        // Others may be given the same page.
        yield { ...order }
      }
    }
  }

  function laneOf({ sku }: SaleRequest): string | number {
    checked(sku)
    return backend.basketLane?.(sku) ?? 0
  }

  async function whenOnSale({ onSaleInMs }: StockChanged | Settled, startedMs: number): Promise<void> {
    const leftMs = startedMs + timeoutMs - clock.nowMs()
    if (onSaleInMs > 0) await sleep(Math.min(onSaleInMs, leftMs), { clock })
  }

  // Not an async function: a refusal by the gate, millions of times a second, makes no promise of its own.
  function answerTo(order: Order, quantity: number, holdMs?: number): Promise<SaleResult> {
    const refusal = gatekeeper?.refusal(order.sku, order.orderId, quantity)
    return refusal ?? sales.call(saleRequest(order, quantity, holdMs))
  }

  /** Asks for orders together, and tells who listens of each. */
  async function observed<Reply extends SaleResult | BasketResult>(
    orders: readonly SaleRequest[],
    ask: () => Promise<Reply>,
  ): Promise<Reply> {
    if (!channels.stockOrder.hasSubscribers) return ask()
    const startedMs = clock.nowMs()
    const publish = (outcome: StockOrderEvent['outcome'] | undefined, more?: { readonly error: unknown }): void => {
      const durationMs = clock.nowMs() - startedMs
      for (const { sku, orderId, quantity, holdMs } of orders) {
        const taken = holdMs === undefined ? 'sold' : 'held'
        channels.stockOrder.publish({ name, sku, orderId, quantity, outcome: outcome ?? taken, durationMs, ...more })
      }
    }
    try {
      const result = await ask()
      publish(result.ok ? (result.replayed ? 'replayed' : undefined) : result.reason)
      return result
    } catch (error) {
      publish('failed', { error })
      throw error
    }
  }

  async function sellBasket({ orders, places }: Basket): Promise<BasketResult> {
    const [first] = orders as readonly [SaleRequest]
    const lane = laneOf(first)
    const stranger = orders.find((order) => laneOf(order) !== lane)
    if (stranger) throw notTogether(first.sku, stranger.sku, backend.lane ? 'no shards' : 'a group')
    const result = await observed(orders, () => gatekeeper?.basketRefusal(orders) ?? baskets.call(orders))
    return result.ok ? result : { ...result, refusedBy: places[result.refusedBy] as number }
  }

  async function settle(
    kind: Settlement['kind'],
    orderId: string,
    sku: string,
    quantity?: number,
  ): Promise<SettleResult> {
    keyString('orderId', orderId)
    keyString('sku', sku)
    const startedMs = clock.nowMs()
    const publish = (outcome: StockSettlementEvent['outcome'], more?: { readonly error: unknown }): void => {
      if (!channels.stockSettlement.hasSubscribers) return
      const durationMs = clock.nowMs() - startedMs
      channels.stockSettlement.publish({ name, verb: kind, sku, orderId, outcome, durationMs, ...more })
    }
    try {
      const settled = await settlements.call({ sku, kind, orderId, quantity })
      publish(settled.outcome)
      await whenOnSale(settled, startedMs)
      return settled.outcome
    } catch (error) {
      publish('failed', { error })
      throw error
    }
  }

  const close = async (): Promise<void> => {
    closed = true
    const unneeded = [sales, baskets, settlements, finds].map((one) => one.close())
    await reconciler.close()
    await Promise.all([...unneeded, ...[levels, changes, pages, records].map((one) => one.close())])
    gatekeeper?.close()
  }

  return {
    async open(sku, quantity) {
      keyString('sku', sku)
      positiveInteger('quantity', quantity)
      checkOpen('open')
      const startedMs = clock.nowMs()
      const changed = await changes.call({ sku, kind: 'open', epoch: randomUUID(), quantity })
      await whenOnSale(changed, startedMs)
      return changed.outcome === 'done'
    },
    async restock(sku, quantity, options) {
      keyString('sku', sku)
      const id = restockId(options) ?? randomUUID()
      unitsChange(quantity)
      checkOpen('restock')
      const startedMs = clock.nowMs()
      const changed = await changes.call({ sku, kind: 'restock', id, quantity })
      if (changed.outcome === 'not-open') throw notOnSale(sku)
      if (changed.outcome === 'refused') {
        throw new RangeError(`quantity ${quantity} is out of range: ${sku} has ${changed.available} unsold units`)
      }
      await whenOnSale(changed, startedMs)
    },
    sell(order) {
      try {
        const quantity = checkedQuantity(order)
        checkOpen('sell')
        if (!channels.stockOrder.hasSubscribers) return answerTo(order, quantity)
        const request = saleRequest(order, quantity)
        return observed([request], () => answerTo(request, quantity))
      } catch (error) {
        return rejected(error)
      }
    },
    async reserve(order) {
      const request = holdRequest(order)
      checkOpen('reserve')
      return observed([request], () => answerTo(request, request.quantity, request.holdMs))
    },
    async confirm(orderId, sku, options) {
      return settle('confirm', orderId, sku, confirmQuantity(options))
    },
    async cancel(orderId, sku) {
      return settle('cancel', orderId, sku)
    },
    async refund(orderId, sku) {
      return settle('refund', orderId, sku)
    },
    async sellTogether(orders, options) {
      const basket = checkedBasket(orders, options)
      checkOpen('sellTogether')
      return sellBasket(basket)
    },
    async level(sku) {
      keyString('sku', sku)
      checkOpen('level')
      const state = await levels.call(sku)
      if (!state) throw notOnSale(sku)
      const { total, available, held, sold } = state
      return { total, available, held, sold }
    },
    orders(sku) {
      keyString('sku', sku)
      return ordersOf(sku, () => checkOpen('orders'))
    },
    async find(orderId, sku) {
      keyString('orderId', orderId)
      keyString('sku', sku)
      const record = await finds.call({ sku, orderId })
      return record?.state === 'spent' ? undefined : record
    },
    async reconcile(sku, orders, options) {
      keyString('sku', sku)
      return reconciler.reconcile(sku, checkedReconcile(orders, options), orders)
    },
    async remove(sku) {
      keyString('sku', sku)
      checkOpen('remove')
      await changes.call({ sku, kind: 'remove' })
    },
    close,
    [Symbol.asyncDispose]: close,
  }
}

const rejected = async (error: unknown): Promise<never> => {
  throw error
}

const notTogether = (one: string, other: string, what: string): RangeError =>
  new RangeError(
    `skus ${JSON.stringify(one)} and ${JSON.stringify(other)} do not share a slot of the Cluster: give redisStock ${what}`,
  )

const notOnSale = (sku: string): RangeError => new RangeError(`sku ${JSON.stringify(sku)} is not on sale`)
