import { randomUUID } from 'node:crypto'
import { backgroundReporter } from '../core/background.js'
import { keyString, positiveInteger } from '../core/check.js'
import { sleep } from '../core/clock.js'
import { channels, type StockOrderEvent } from '../core/diagnostics.js'
import { ClosedError } from '../core/errors.js'
import { createGroupCommit } from '../core/group-commit.js'
import { checkedDriver, checkedOptions, checkedQuantity, restockId, saleRequest, unitsChange } from './check.js'
import type { OrdersPage, SaleRequest, StockChange, StockChanged, StockDriver, StockState } from './driver.js'
import { createGatekeeper, questionOf } from './gatekeeper.js'
import type { Order, RecordedOrder, SaleResult, Stock, StockOptions } from './types.js'

/** Calls in one trip. More make a trip that keeps everybody else of the backend waiting for milliseconds. */
const mostInTrip = 1_000

/** A change as its caller asks for it. */
type Change = { readonly sku: string } & (Exclude<StockChange, { kind: 'remove' }> | { readonly kind: 'remove' })

const nothingToRemove: StockChanged = { outcome: 'done', available: 0, onSaleInMs: 0 }

/**
 * Stock over `driver`: `memoryStock()` within one process, `redisStock(redis)` for many. Does no I/O by itself.
 *
 * @throws TypeError for what is no stock driver and for options that are not known, TypeError or RangeError for values that
 * make no sense.
 */
export function createStock(driver: StockDriver, options?: StockOptions): Stock {
  checkedDriver(driver)
  const { name, timeoutMs, gateUnits, onBackgroundError, clock } = checkedOptions(options)
  const trips = { module: 'stock', name, timeoutMs, clock }
  let closed = false

  const gatekeeper =
    gateUnits === undefined
      ? undefined
      : createGatekeeper(
          gateUnits,
          { sell: (...args) => driver.sell(...args), level: (...args) => driver.level(...args), pages: pagesOf },
          backgroundReporter('stock', name, onBackgroundError, clock),
          clock,
        )

  const sales = createGroupCommit<SaleRequest, SaleResult>({
    ...trips,
    verb: 'sell',
    lane: ({ sku }) => sku,
    maxBatch: mostInTrip,
    run: (requests, trip) =>
      gatekeeper ? gatekeeper.sell(requests, trip) : driver.sell((requests[0] as SaleRequest).sku, requests, trip),
  })
  const levels = createGroupCommit<string, StockState | undefined>({
    ...trips,
    verb: 'level',
    lane: (sku) => sku,
    async run(skus, trip) {
      const state = await driver.level(skus[0] as string, undefined, trip)
      return skus.map(() => state)
    },
  })
  const changes = createGroupCommit<Change, StockChanged>({
    ...trips,
    verb: 'adjust',
    // What one change may do another may not, by the rights of the client's user: so those of a trip are of one kind.
    lane: ({ sku, kind }) => `${kind} ${sku}`,
    maxBatch: mostInTrip,
    async run(requests, trip) {
      const { sku, kind } = requests[0] as Change
      if (kind !== 'remove') return driver.adjust(sku, requests as readonly StockChange[], trip)
      // Removals name the sale that they end. Reading which it is sends none of them.
      const state = await driver.level(sku, undefined, questionOf(trip))
      if (!state) return requests.map(() => nothingToRemove)
      const { epoch } = state
      const [changed] = await driver.adjust(sku, [{ kind, epoch }], trip)
      return requests.map(() => changed ?? nothingToRemove)
    },
  })
  const pages = createGroupCommit<{ sku: string; cursor: string | undefined }, OrdersPage | undefined>({
    ...trips,
    verb: 'orders',
    lane: ({ sku, cursor = '' }) => `${cursor} ${sku}`,
    async run(requests, trip) {
      const { sku, cursor } = requests[0] as { sku: string; cursor: string | undefined }
      const page = await driver.orders(sku, cursor, trip)
      return requests.map(() => page)
    },
  })
  const finds = createGroupCommit<{ sku: string; orderId: string }, RecordedOrder | undefined>({
    ...trips,
    verb: 'find',
    lane: ({ sku }) => sku,
    maxBatch: mostInTrip,
    run: (requests, trip) =>
      driver.find(
        (requests[0] as { sku: string }).sku,
        requests.map(({ orderId }) => orderId),
        trip,
      ),
  })

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
        // Others may be given the same page.
        yield { ...order }
      }
    }
  }

  async function whenOnSale({ onSaleInMs }: StockChanged, startedMs: number): Promise<void> {
    const leftMs = startedMs + timeoutMs - clock.nowMs()
    if (onSaleInMs > 0) await sleep(Math.min(onSaleInMs, leftMs), { clock })
  }

  // Not an async function: a refusal by the gate, millions of times a second, makes no promise of its own.
  function answerTo(order: Order, quantity: number): Promise<SaleResult> {
    const refusal = gatekeeper?.refusal(order.sku, order.orderId, quantity)
    return refusal ?? sales.call(saleRequest(order, quantity))
  }

  /** As `answerTo`, and tells who listens. */
  async function observedAnswerTo(order: Order, quantity: number): Promise<SaleResult> {
    const { sku, orderId } = order
    const startedMs = clock.nowMs()
    const publish = (outcome: StockOrderEvent['outcome'], more?: { readonly error: unknown }): void => {
      const durationMs = clock.nowMs() - startedMs
      channels.stockOrder.publish({ name, sku, orderId, quantity, outcome, durationMs, ...more })
    }
    try {
      const result = await answerTo(order, quantity)
      publish(result.ok ? (result.replayed ? 'replayed' : 'sold') : result.reason)
      return result
    } catch (error) {
      publish('failed', { error })
      throw error
    }
  }

  const close = async (): Promise<void> => {
    closed = true
    await Promise.all([sales, levels, changes, pages, finds].map((one) => one.close()))
    gatekeeper?.close()
  }

  return {
    async open(sku, quantity) {
      keyString('sku', sku)
      positiveInteger('quantity', quantity)
      const startedMs = clock.nowMs()
      const changed = await changes.call({ sku, kind: 'open', epoch: randomUUID(), quantity })
      await whenOnSale(changed, startedMs)
      return changed.outcome === 'done'
    },
    async restock(sku, quantity, options) {
      keyString('sku', sku)
      const id = restockId(options) ?? randomUUID()
      unitsChange(quantity)
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
        if (closed) throw new ClosedError('stock: sell after close')
        return channels.stockOrder.hasSubscribers ? observedAnswerTo(order, quantity) : answerTo(order, quantity)
      } catch (error) {
        return rejected(error)
      }
    },
    async level(sku) {
      keyString('sku', sku)
      const state = await levels.call(sku)
      if (!state) throw notOnSale(sku)
      const { total, available, held, sold } = state
      return { total, available, held, sold }
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
      await changes.call({ sku, kind: 'remove' })
    },
    close,
    [Symbol.asyncDispose]: close,
  }
}

const rejected = async (error: unknown): Promise<never> => {
  throw error
}

const notOnSale = (sku: string): RangeError => new RangeError(`sku ${JSON.stringify(sku)} is not on sale`)
