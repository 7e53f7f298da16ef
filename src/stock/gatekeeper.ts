import { tickReader, type Clock } from '../core/clock.js'
import { createSingleFlight } from '../core/single-flight.js'
import type { OrdersPage, SaleRequest, StockState } from './driver.js'
import { createGate, type Gate } from './gate.js'
import { createIdFilter } from './id-filter.js'
import type { SaleResult } from './types.js'

/** Of a SKU with more recorded orders than this no filter is kept: its orders go to the backend, sold out or not. */
const mostIds = 1_000_000

/** What a gatekeeper can ask of the backend. */
export interface Backend {
  sell(request: SaleRequest, signal?: AbortSignal): Promise<SaleResult>
  /** What is left, with the right to say sold out if it is little. */
  whatIsLeft(sku: string): Promise<StockState | undefined>
  /** The recorded orders of that sale, page by page; throws if it ends on the way. */
  pages(sku: string, epoch: string): AsyncIterable<OrdersPage>
}

/** Stands between callers and the backend, with one gate per SKU. */
export interface Gatekeeper {
  /** The answer to an order that is refused here and now, else `undefined`. */
  refusal(sku: string, orderId: string, quantity: number): Promise<SaleResult> | undefined
  /** Sends an order that was not refused, when its turn has come. */
  sell(request: SaleRequest): Promise<SaleResult>
}

export function createGatekeeper(
  units: number,
  backend: Backend,
  timing: {
    readonly clock: Clock
    /** Gives a second trip of a call what the first, begun at `startedMs`, left of its time. */
    readonly inTime: <T>(startedMs: number, work: (signal: AbortSignal) => Promise<T>) => Promise<T>
  },
): Gatekeeper {
  const { clock, inTime } = timing
  const nowMs = tickReader(clock)
  const gates = new Map<string, Gate>()
  const asking = createSingleFlight<void>()
  const loading = new Set<Gate>()

  async function send(gate: Gate, request: SaleRequest, signal?: AbortSignal): Promise<SaleResult> {
    const { sku, quantity } = request
    gate.take(quantity)
    try {
      const result = await backend.sell(request, signal)
      if (result.ok && !result.replayed) return result
      gate.giveBack(quantity)
      if (!result.ok && result.reason === 'sold-out') gate.doubt()
      if (!result.ok && result.reason === 'not-open') gates.delete(sku)
      return result
    } catch (error) {
      // Whether it sold may be unknown. The count is only a count: the backend decides every order.
      gate.giveBack(quantity)
      throw error
    }
  }

  async function ask(sku: string, gate: Gate): Promise<void> {
    const askedAtMs = clock.nowMs()
    const state = await backend.whatIsLeft(sku)
    if (!state) return void gates.delete(sku)
    gate.learn(state, askedAtMs)
    if (gate.lacksIds(state) && state.recorded <= mostIds) void load(sku, gate, state)
  }

  /** Nobody waits for the ids: until they are here, orders go to the backend. */
  async function load(sku: string, gate: Gate, state: StockState): Promise<void> {
    if (loading.has(gate)) return
    loading.add(gate)
    try {
      const ids = createIdFilter(state.recorded)
      for await (const page of backend.pages(sku, state.epoch)) {
        for (const { orderId } of page.orders) ids.add(orderId)
      }
      gate.cover(state, ids)
    } catch {
      // The next question tries again.
    } finally {
      loading.delete(gate)
    }
  }

  async function askThenSend(gate: Gate, request: SaleRequest): Promise<SaleResult> {
    const { sku, orderId, quantity } = request
    const startedMs = clock.nowMs()
    await asking.run(sku, () => ask(sku, gate))
    if (gate.judge(orderId, quantity, clock.nowMs()) === 'refuse') return gate.refusal
    return inTime(startedMs, (signal) => send(gate, request, signal))
  }

  return {
    refusal(sku, orderId, quantity) {
      const gate = gates.get(sku)
      return gate?.judge(orderId, quantity, nowMs()) === 'refuse' ? gate.refusal : undefined
    },
    sell(request) {
      const { sku, orderId, quantity } = request
      let gate = gates.get(sku)
      if (!gate) gates.set(sku, (gate = createGate(units)))
      return gate.judge(orderId, quantity, clock.nowMs()) === 'ask' ? askThenSend(gate, request) : send(gate, request)
    },
  }
}
