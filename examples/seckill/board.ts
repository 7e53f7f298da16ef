import { createScoreboard, type Scoreboard } from '../shared/live.js'
import type { SaleAudit } from '../shared/rush/types.js'
import type { Report } from '../shared/selling/office.js'
import type { Strategy } from './strategies/seller.js'

/** What may come of a request to buy. */
export const outcomes = [
  'accepted',
  'replayed',
  'soldOut',
  'clash',
  'buyerLimit',
  'notOpen',
  'door',
  'invalid',
  'unavailable',
] as const
export type Outcome = (typeof outcomes)[number]

/** A rush that was started from the page. */
export interface RushState {
  readonly id: string
  readonly saleId: string
  readonly state: 'running' | 'auditing' | 'done' | 'failed'
  readonly requests: number
  readonly done: number
  readonly perSecond: number
  readonly audit?: SaleAudit
  readonly error?: string
}

export interface ProcessInfo {
  readonly pid: number
  readonly role: string
}

/** What the live page is sent. */
export interface Snapshot extends ReturnType<Scoreboard<Outcome>['window']>, Report {
  readonly atMs: number
  /** Totals since the start. */
  readonly outcomes: Readonly<Record<Outcome, number>>
  readonly workers: readonly ProcessInfo[]
  readonly rush: RushState | null
  /** How orders are decided. */
  readonly strategy: Strategy
}

/** Brings together what all processes know. */
export interface Board {
  readonly scores: Scoreboard<Outcome>
  report: Report
  snapshot(workers: readonly ProcessInfo[], rush: RushState | null): Snapshot
}

export function createBoard(strategy: Strategy): Board {
  const scores = createScoreboard(outcomes)
  return {
    scores,
    report: { sales: [], lag: 0, rows: 0 },
    snapshot(workers, rush) {
      const window = scores.window(performance.now())
      return { atMs: Date.now(), ...this.report, outcomes: scores.outcomes, ...window, workers, rush, strategy }
    },
  }
}
