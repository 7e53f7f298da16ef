import { createScoreboard, type Scoreboard, type TallyReport } from '../shared/live.js'
import type { Report } from '../shared/selling/office.js'

/** What may come of a request. */
export const outcomes = [
  'accepted',
  'held',
  'paid',
  'cancelled',
  'refunded',
  'replayed',
  'soldOut',
  'buyerLimit',
  'notOpen',
  'inLine',
  'refused',
  'invalid',
  'unavailable',
] as const
export type Outcome = (typeof outcomes)[number]

interface Process {
  readonly pid: number
  readonly role: string
}

/** A process, and the requests that it answered. */
export interface ServerState extends Process {
  readonly requests: number
  readonly requestsPerSecond: number
}

/** What the live page is sent. */
export interface Snapshot extends ReturnType<Scoreboard<Outcome>['window']>, Omit<Report, 'sales'> {
  readonly atMs: number
  readonly shows: Report['sales']
  /** Totals since the start. */
  readonly outcomes: Readonly<Record<Outcome, number>>
  readonly servers: readonly ServerState[]
}

/** Brings together what all processes know. */
export interface Board {
  readonly scores: Scoreboard<Outcome>
  latest: Report
  add(tally: TallyReport<Outcome>, pid: number): void
  snapshot(processes: readonly Process[], nowMs: number): Snapshot
}

export function createBoard(): Board {
  const scores = createScoreboard(outcomes)
  const requests = new Map<number, { total: number; recent: number }>()
  let sinceMs: number | undefined

  function serversOf(processes: readonly Process[]): ServerState[] {
    const nowMs = performance.now()
    const seconds = (nowMs - (sinceMs ?? nowMs)) / 1_000
    sinceMs = nowMs
    const living = new Set(processes.map(({ pid }) => pid))
    for (const pid of requests.keys()) if (!living.has(pid)) requests.delete(pid)
    return processes.map(({ pid, role }) => {
      const { total = 0, recent = 0 } = requests.get(pid) ?? {}
      if (total > 0) requests.set(pid, { total, recent: 0 })
      return { pid, role, requests: total, requestsPerSecond: seconds > 0 ? Math.round(recent / seconds) : 0 }
    })
  }

  return {
    scores,
    latest: { sales: [], lag: 0, rows: 0 },
    add(tally, pid) {
      scores.add(tally)
      const count = Object.values<number>(tally.outcomes).reduce((sum, one) => sum + one, 0)
      const { total = 0, recent = 0 } = requests.get(pid) ?? {}
      requests.set(pid, { total: total + count, recent: recent + count })
    },
    snapshot(processes, nowMs) {
      const { sales: shows, lag, rows } = this.latest
      const window = scores.window(performance.now())
      return { atMs: nowMs, shows, lag, rows, outcomes: scores.outcomes, ...window, servers: serversOf(processes) }
    },
  }
}
