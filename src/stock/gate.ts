import type { StockState } from './driver.js'
import type { IdFilter } from './id-filter.js'
import type { SaleResult } from './types.js'

/** For how long a process asks to say sold out by itself. Returning units wait for as long, and no longer. */
export const closedMs = 250

/** What to do with an order: send it, find out first what is left, or refuse it here and now. */
export type Verdict = 'send' | 'ask' | 'refuse'

/**
 * One SKU's gate in one process: a count of units that may still be let through, and what the backend last said about
 * the rest. Pure: time and replies are given to it.
 */
export interface Gate {
  judge(orderId: string, quantity: number, nowMs: number): Verdict
  /** Counts an order that is sent. */
  take(quantity: number): void
  /** Counts what an order that was sent did not buy. */
  giveBack(quantity: number): void
  /** The backend refused an order for want of units: ask before the next one is sent. */
  doubt(): void
  /** `state` was asked for at `askedAtMs`. */
  learn(state: StockState, askedAtMs: number): void
  /** `ids` has all that was recorded when `state` was read. */
  cover(state: StockState, ids: IdFilter): void
  /** Whether refusing needs the ids that are recorded in `state`. */
  lacksIds(state: StockState): boolean
  /** The answer to orders that are refused here, one object for all. */
  readonly refusal: Promise<SaleResult>
}

const soldOut = (available: number): Promise<SaleResult> =>
  Promise.resolve(Object.freeze({ ok: false, reason: 'sold-out', available }))

/** So many ids of a sale, which only grow in number until it is frozen. */
interface Recorded {
  readonly sale: string
  readonly count: number
}

const recordedIn = ({ epoch, thaws, recorded }: StockState): Recorded => ({
  sale: `${epoch} ${thaws}`,
  count: recorded,
})

export function createGate(units: number): Gate {
  let passes = units
  let doubtful = false
  let rest = 0
  let closedUntilMs = -Infinity
  let recorded: Recorded = { sale: '', count: 0 }
  let covered: (Recorded & { readonly ids: IdFilter }) | undefined
  let ids: IdFilter | undefined
  let refusal = soldOut(0)

  const covers = ({ sale, count }: Recorded): boolean => covered?.sale === sale && covered.count >= count
  const choose = (): void => {
    ids = covers(recorded) ? covered?.ids : undefined
  }

  return {
    judge(orderId, quantity, nowMs) {
      if (nowMs < closedUntilMs && quantity > rest) return ids && !ids.mayHave(orderId) ? 'refuse' : 'send'
      return passes > 0 && !doubtful ? 'send' : 'ask'
    },
    take: (quantity) => void (passes -= quantity),
    giveBack: (quantity) => void (passes = Math.min(units, passes + quantity)),
    doubt: () => void (doubtful = true),
    learn(state, askedAtMs) {
      passes = Math.min(units, state.available)
      doubtful = false
      closedUntilMs = state.closedForMs > 0 ? askedAtMs + state.closedForMs : -Infinity
      recorded = recordedIn(state)
      if (rest !== state.available) refusal = soldOut(state.available)
      rest = state.available
      choose()
    },
    cover(state, loaded) {
      covered = { ...recordedIn(state), ids: loaded }
      choose()
    },
    lacksIds: (state) => state.closedForMs > 0 && !covers(recordedIn(state)),
    get refusal() {
      return refusal
    },
  }
}
