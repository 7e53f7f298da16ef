import { randomUUID } from 'node:crypto'
import { onAbort } from '../core/abort.js'
import type { BackgroundReport } from '../core/background.js'
import { sleep, type Clock } from '../core/clock.js'
import { outsideRequests } from '../core/context.js'
import { ClosedError, OrderConflictError, StockFrozenError } from '../core/errors.js'
import { frozenSale, type SaleRequest, type StockChange, type StockChanged, type StockDriver } from './driver.js'
import { closedMs } from './gate.js'
import type { Reconcile, Reconciliation, RecordedOrder, SaleResult, SoldOrder, SoldOrders } from './types.js'

/** How long a SKU is kept for a process that has frozen it and says nothing more. */
const leaseMs = 10_000
/** How long to leave a frozen SKU to others before the next try. */
const pauseMs = 1_000
/** Orders that are recorded together. */
const together = 1_000

/** What a reconciler needs of the stock. */
export interface Ledger {
  change(sku: string, change: StockChange): Promise<StockChanged>
  /** Records an order as sold; `token` is that of the reconciler. */
  record(order: SaleRequest, token: string): Promise<SaleResult>
  orders(sku: string): AsyncIterable<RecordedOrder>
  isFrozen(sku: string): Promise<boolean>
}

/** A SKU that this process has frozen. */
interface Freeze {
  readonly token: string
  /** Puts it on sale again. */
  readonly thaw: () => Promise<void>
}

type Refused = Exclude<StockChanged['outcome'], 'done'>

/** Brings frozen SKUs together with the orders that the application has. */
export interface Reconciler {
  /** A call found the SKU frozen: calls the application, unless another process has done so already. */
  noticed(sku: string): void
  /** Freezes the SKU, for a call by hand. */
  reconcile(sku: string, total: number, orders: SoldOrders): Promise<Reconciliation>
  /** Waits for the calls by hand, and leaves the SKUs that the application was called for to other processes. */
  close(): Promise<void>
}

/** The driver, with the calls that find a SKU frozen told of. */
export function tellingOfFrozen(driver: StockDriver, noticed: (sku: string) => void): StockDriver {
  const watch = async <Reply>(sku: string, reply: Promise<readonly Reply[]>): Promise<readonly Reply[]> => {
    try {
      const replies = await reply
      if (replies.some((reply) => reply instanceof Error && reply instanceof StockFrozenError)) noticed(sku)
      return replies
    } catch (error) {
      if (error instanceof StockFrozenError) noticed(sku)
      throw error
    }
  }
  return {
    adjust: (...args) => driver.adjust(...args),
    sell: (sku, ...args) => watch(sku, driver.sell(sku, ...args)),
    async sellTogether(baskets, trip) {
      const tell = (reply: unknown, orders: readonly SaleRequest[]): void => {
        if (reply instanceof StockFrozenError) for (const { sku } of orders) noticed(sku)
      }
      try {
        const replies = await driver.sellTogether(baskets, trip)
        for (const [i, reply] of replies.entries()) tell(reply, baskets[i] as readonly SaleRequest[])
        return replies
      } catch (error) {
        tell(error, baskets.flat())
        throw error
      }
    },
    ...(driver.lane ? { lane: (sku, orderId) => driver.lane?.(sku, orderId) ?? 0 } : {}),
    ...(driver.checkSku ? { checkSku: (sku) => driver.checkSku?.(sku) } : {}),
    ...(driver.basketLane ? { basketLane: (sku) => driver.basketLane?.(sku) ?? 0 } : {}),
    settle: (sku, ...args) => watch(sku, driver.settle(sku, ...args)),
    async level(sku, ...args) {
      const [state] = await watch(
        sku,
        driver.level(sku, ...args).then((found) => [found]),
      )
      if (state?.frozen) noticed(sku)
      return state
    },
    orders: (...args) => driver.orders(...args),
    find: (...args) => driver.find(...args),
  }
}

export function createReconciler(
  ledger: Ledger,
  check: (order: SoldOrder, sku: string) => SaleRequest,
  onFrozen: ((sku: string, reconcile: Reconcile) => unknown) | undefined,
  report: BackgroundReport,
  clock: Clock,
): Reconciler {
  /** SKUs that this process is busy with, or has left to others for a moment. */
  const busy = new Set<string>()
  /** Reconciliations under way. */
  const running = new Set<Promise<unknown>>()
  const closing = new AbortController()

  function tracked<T>(work: Promise<T>): Promise<T> {
    running.add(work)
    const end = (): void => void running.delete(work)
    work.then(end, end)
    return work
  }

  /** Freezes a SKU if no other process has, and runs `work`. It stays frozen unless `work` settles it. */
  async function whileFrozen<T>(
    sku: string,
    total: number,
    work: (freeze: Freeze) => Promise<T>,
  ): Promise<T | Refused> {
    const token = randomUUID()
    const release = (): Promise<unknown> =>
      ledger.change(sku, { kind: 'keep-frozen', token, forMs: 0 }).catch(() => undefined)
    const freeze = { kind: 'freeze', token, quantity: total, forMs: leaseMs } as const
    const { outcome, onSaleInMs } = await ledger.change(sku, freeze).catch((error: unknown) => {
      // It may have been applied, and only its answer is lost.
      void release()
      throw error
    })
    if (outcome !== 'done') return outcome
    const ended = new AbortController()
    const kept = keep(sku, token, ended.signal)
    let thawed = false
    const thaw = async (): Promise<void> => {
      // A lease that is renewed after the thaw would be nobody's.
      ended.abort()
      await kept
      thawed = (await ledger.change(sku, { kind: 'thaw', token })).outcome === 'done'
      if (!thawed) throw frozenSale(sku)
    }
    try {
      // A process that may say sold out by itself does not know the orders that are about to be recorded. It asked for no
      // more than `closedMs`; a server whose clock was set back may say more.
      if (onSaleInMs > 0) await sleep(Math.min(onSaleInMs, closedMs), { clock })
      return await work({ token, thaw })
    } finally {
      ended.abort()
      await kept
      // The next who reconciles need not wait for the lease to run out.
      if (!thawed) await release()
    }
  }

  /** That it could not be kept shows when the next order is recorded. */
  async function keep(sku: string, token: string, signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      await sleep(leaseMs / 3, { clock, signal, unref: true }).catch(() => undefined)
      if (!signal.aborted) {
        await ledger.change(sku, { kind: 'keep-frozen', token, forMs: leaseMs }).catch(() => undefined)
      }
    }
  }

  async function settle(sku: string, { token, thaw }: Freeze, orders: SoldOrders): Promise<Reconciliation> {
    const own = new Set<string>()
    const unsold: SoldOrder[] = []
    let recorded = 0
    let batch: { readonly order: SoldOrder; readonly request: SaleRequest }[] = []
    const flush = async (): Promise<void> => {
      const results = await Promise.allSettled(batch.map(({ request }) => ledger.record(request, token)))
      for (const [i, { order }] of batch.entries()) {
        const result = results[i] as PromiseSettledResult<SaleResult>
        if (result.status === 'rejected') {
          if (!(result.reason instanceof OrderConflictError)) throw result.reason
          unsold.push(order)
        } else if (!result.value.ok) unsold.push(order)
        else if (!result.value.replayed) recorded++
      }
      batch = []
    }
    for await (const order of orders) {
      const request = check(order, sku)
      const { orderId, quantity, buyerId } = order
      own.add(orderId)
      // A cursor may use one object for all of its rows.
      const copy = { orderId, ...(quantity !== undefined && { quantity }), ...(buyerId !== undefined && { buyerId }) }
      batch.push({ order: copy, request })
      if (batch.length === together) await flush()
    }
    await flush()
    const unknown: RecordedOrder[] = []
    for await (const order of ledger.orders(sku)) if (!own.has(order.orderId)) unknown.push(order)
    await thaw()
    return { recorded, unsold, unknown }
  }

  /** The application may take as long as it likes, and never end: `close` does not wait for it. */
  function untilClosed<T>(work: () => Promise<T>): Promise<T> {
    const { signal } = closing
    return new Promise((resolve, reject) => {
      if (signal.aborted) return reject(signal.reason as Error)
      const unwatch = onAbort(signal, () => reject(signal.reason as Error))
      work().finally(unwatch).then(resolve, reject)
    })
  }

  async function callApplication(sku: string): Promise<void> {
    try {
      // Of a basket that was refused only one SKU may be frozen.
      if (!(await ledger.isFrozen(sku))) return
      await whileFrozen(sku, 0, (freeze) =>
        untilClosed(async () => onFrozen?.(sku, (orders) => settle(sku, freeze, orders))),
      )
    } catch (error) {
      if (!(error instanceof ClosedError)) report(error)
    } finally {
      clock.after(pauseMs, () => busy.delete(sku), true)
    }
  }

  return {
    noticed(sku) {
      if (!onFrozen || closing.signal.aborted || busy.has(sku)) return
      busy.add(sku)
      outsideRequests(() => void tracked(callApplication(sku)))
    },
    async reconcile(sku, total, orders) {
      if (closing.signal.aborted) throw new ClosedError('stock: reconcile after close')
      const done = await tracked(whileFrozen(sku, total, (freeze) => settle(sku, freeze, orders)))
      if (done === 'not-open') throw new RangeError(`sku ${JSON.stringify(sku)} is not on sale: give its total`)
      if (done === 'refused') throw frozenSale(sku)
      return done
    },
    async close() {
      closing.abort(new ClosedError('stock: closed while onFrozen was under way'))
      await Promise.allSettled(running)
    },
  }
}
