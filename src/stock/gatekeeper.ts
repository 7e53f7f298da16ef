import type { BackgroundReport } from '../core/background.js'
import { exponentialBackoff } from '../core/backoff.js'
import { tickReader, type Clock } from '../core/clock.js'
import { StoreUnavailableError } from '../core/errors.js'
import type { Trip } from '../core/group-commit.js'
import type { OrdersPage, SaleRequest, StockDriver } from './driver.js'
import { closedMs, createGate, type Gate } from './gate.js'
import { createIdFilter } from './id-filter.js'
import type { BasketResult, SaleResult } from './types.js'

/** Of a SKU with more recorded orders than this no filter is kept: its orders go to the backend, sold out or not. */
const mostIds = 1_000_000

/** A gate that no order has reached for so long is let go, with its ids: its sale is over, or can be asked about again. */
const idleMs = 60_000

/** How long to leave the recorded ids alone after so many attempts to fetch them have failed. */
const pauseMs = exponentialBackoff({ baseMs: closedMs, maxMs: 60_000, jitter: 0 })

const notOpen: SaleResult = Object.freeze({ ok: false, reason: 'not-open', available: 0 })

/** What a gatekeeper needs of the backend. */
export interface Backend extends Pick<StockDriver, 'sell' | 'sellTogether' | 'level'> {
  /** The recorded orders of that sale, page by page; throws if it ends on the way. */
  pages(sku: string, epoch: string): AsyncIterable<OrdersPage>
}

/** Stands between callers and the backend, with one gate per SKU. */
export interface Gatekeeper {
  /** The answer to an order that is refused here and now, else `undefined`. */
  refusal(sku: string, orderId: string, quantity: number): Promise<SaleResult> | undefined
  /** A round trip for orders of one SKU that were not refused: asks first what is left if the gate wants to know. */
  sell(requests: readonly SaleRequest[], trip: Trip): Promise<readonly (SaleResult | Error)[]>
  /** The answer to a basket that is refused here and now, else `undefined`. */
  basketRefusal(basket: readonly SaleRequest[]): Promise<BasketResult> | undefined
  /** A round trip for baskets, in the same way. They take no units from the gates, which count for single orders. */
  sellTogether(baskets: readonly (readonly SaleRequest[])[], trip: Trip): Promise<readonly (BasketResult | Error)[]>
  /** How many gates there are. */
  readonly size: number
  /** Forgets all gates. */
  close(): void
}

interface Kept {
  readonly gate: Gate
  usedAtMs: number
  /** The recorded ids are not fetched before this time; `Infinity` while they are being fetched. */
  loadAtMs: number
  failedLoads: number
}

/** A trip that asks, as a part of one that sends: when it leaves, that one has not left yet. */
export const questionOf = (trip: Trip): Trip => ({
  signal: trip.signal,
  sending: () => undefined,
  blames: (why) => trip.blames?.(why),
})

export function createGatekeeper(units: number, backend: Backend, report: BackgroundReport, clock: Clock): Gatekeeper {
  const nowMs = tickReader(clock)
  /** In the order of their last use. Only SKUs that the backend has said to be on sale are here. */
  const gates = new Map<string, Kept>()

  function keep(sku: string, kept: Kept): void {
    kept.usedAtMs = clock.nowMs()
    gates.delete(sku)
    gates.set(sku, kept)
    for (const [name, { usedAtMs }] of gates) {
      if (usedAtMs > kept.usedAtMs - idleMs) break
      gates.delete(name)
    }
  }

  /** Whether the SKU is on sale. */
  async function ask(sku: string, kept: Kept, trip: Trip): Promise<boolean> {
    const askedAtMs = clock.nowMs()
    const state = await backend.level(sku, { below: units, forMs: closedMs }, questionOf(trip)).catch(notAsked)
    if (!state) return false
    kept.gate.learn(state, askedAtMs)
    const fetches = kept.gate.lacksIds(state) && state.recorded <= mostIds && askedAtMs >= kept.loadAtMs
    if (fetches) void load(sku, kept, state)
    return true
  }

  /** Nobody waits for the ids: until they are here, orders go to the backend. */
  async function load(sku: string, kept: Kept, state: Parameters<Gate['cover']>[0]): Promise<void> {
    kept.loadAtMs = Infinity
    try {
      const ids = createIdFilter(state.recorded)
      for await (const page of backend.pages(sku, state.epoch)) {
        for (const { orderId } of page.orders) ids.add(orderId)
      }
      kept.gate.cover(state, ids)
      kept.loadAtMs = -Infinity
      kept.failedLoads = 0
    } catch (error) {
      kept.loadAtMs = clock.nowMs() + pauseMs(++kept.failedLoads)
      // Anything else means that the sale ended on the way, or that the stock was closed.
      if (error instanceof StoreUnavailableError) report(error)
    }
  }

  async function send(sku: string, kept: Kept, requests: readonly SaleRequest[], trip: Trip) {
    const { gate } = kept
    let unsold = requests.reduce((sum, { quantity }) => sum + quantity, 0)
    gate.take(unsold)
    try {
      const replies = await backend.sell(sku, requests, trip)
      let isOpen = true
      for (const [i, reply] of replies.entries()) {
        if (reply instanceof Error) continue
        if (!reply.ok) {
          if (reply.reason === 'sold-out') gate.doubt()
          if (reply.reason === 'not-open') isOpen = false
        } else if (!reply.replayed) unsold -= (requests[i] as SaleRequest).quantity
      }
      if (isOpen) keep(sku, kept)
      else gates.delete(sku)
      return replies
    } finally {
      // After a failure it may be unknown what sold. The count is only a count: the backend decides every order.
      gate.giveBack(unsold)
    }
  }

  const fresh = (): Kept => ({ gate: createGate(units), usedAtMs: 0, loadAtMs: -Infinity, failedLoads: 0 })

  function refusal(sku: string, orderId: string, quantity: number, atMs: number): Promise<SaleResult> | undefined {
    const gate = gates.get(sku)?.gate
    return gate?.judge(orderId, quantity, atMs) === 'refuse' ? gate.refusal : undefined
  }

  function basketRefusal(basket: readonly SaleRequest[], atMs: number): Promise<BasketResult> | undefined {
    for (const [refusedBy, { sku, orderId, quantity }] of basket.entries()) {
      const refused = refusal(sku, orderId, quantity, atMs)
      if (refused) return refused.then((reply) => ({ ...(reply as SaleResult & { ok: false }), refusedBy }))
    }
    return undefined
  }

  /** Asks what is left of those SKUs whose gates want to know. Answers why some could not be asked about. */
  async function askAbout(orders: readonly SaleRequest[], trip: Trip): Promise<ReadonlyMap<string, Error>> {
    const atMs = clock.nowMs()
    const asked = new Map<string, Kept>()
    for (const { sku, orderId, quantity } of orders) {
      const kept = gates.get(sku)
      if (kept?.gate.judge(orderId, quantity, atMs) === 'ask') asked.set(sku, kept)
    }
    const failed = new Map<string, Error>()
    const asking = async ([sku, kept]: [string, Kept]): Promise<void> => {
      try {
        if (await ask(sku, kept, trip)) keep(sku, kept)
        else gates.delete(sku)
      } catch (error) {
        failed.set(sku, error as Error)
      }
    }
    await Promise.all(Array.from(asked, asking))
    return failed
  }

  /** What the backend's answer to a basket says about the gates. */
  function learnFrom(basket: readonly SaleRequest[], reply: BasketResult | Error): void {
    if (reply instanceof Error || reply.ok) return
    const { sku } = basket[reply.refusedBy] as SaleRequest
    if (reply.reason === 'not-open') gates.delete(sku)
    if (reply.reason !== 'sold-out') return
    const kept = gates.get(sku) ?? fresh()
    kept.gate.doubt()
    keep(sku, kept)
  }

  return {
    refusal: (sku, orderId, quantity) => refusal(sku, orderId, quantity, nowMs()),
    basketRefusal: (basket) => basketRefusal(basket, nowMs()),
    async sellTogether(baskets, trip) {
      const failed = await askAbout(baskets.flat(), trip)
      const atMs = clock.nowMs()
      const failureOf = (basket: readonly SaleRequest[]): Error | undefined =>
        basket.map(({ sku }) => failed.get(sku)).find((error) => error !== undefined)
      const refusals = baskets.map((basket) => basketRefusal(basket, atMs) ?? failureOf(basket))
      const passed = baskets.filter((_, i) => !refusals[i])
      const replies = passed.length === 0 ? [] : await backend.sellTogether(passed, trip)
      for (const [i, reply] of replies.entries()) learnFrom(passed[i] as readonly SaleRequest[], reply)
      const answers: (BasketResult | Error)[] = []
      let next = 0
      for (const refused of refusals) answers.push(refused ? await refused : (replies[next++] as BasketResult | Error))
      return answers
    },
    async sell(requests, trip) {
      const { sku } = requests[0] as SaleRequest
      const kept = gates.get(sku) ?? fresh()
      const { gate } = kept
      const judge = (): ((request: SaleRequest) => string) => {
        const atMs = clock.nowMs()
        return ({ orderId, quantity }) => gate.judge(orderId, quantity, atMs)
      }
      const before = judge()
      if (requests.some((request) => before(request) === 'ask')) {
        if (!(await ask(sku, kept, trip))) {
          gates.delete(sku)
          return requests.map(() => notOpen)
        }
        keep(sku, kept)
      }
      const verdicts = requests.map(judge())
      const { refusal } = gate
      const passed = requests.filter((_, i) => verdicts[i] !== 'refuse')
      const replies = passed.length === 0 ? [] : await send(sku, kept, passed, trip)
      if (passed.length === requests.length) return replies
      const soldOut = await refusal
      let next = 0
      return verdicts.map((verdict) => (verdict === 'refuse' ? soldOut : (replies[next++] as SaleResult | Error)))
    },
    get size() {
      return gates.size
    },
    close: () => gates.clear(),
  }
}

/** The question was lost, so the orders that waited for the answer were never sent. */
function notAsked(error: unknown): never {
  if (error instanceof StoreUnavailableError && error.applied === 'no') throw error
  throw new StoreUnavailableError('stock: what is left could not be asked', { applied: 'no', cause: error })
}
