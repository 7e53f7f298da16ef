import type { Latency, LatencyPoint } from '../load/summary.js'

/** A service that can be rushed: it opens sales at `/<collection>`, and takes orders and answers audits below each. */
export interface RushTarget {
  readonly collection: string
  /** The command that starts the load. */
  readonly command: string
  /** The built program of that command, which its threads run as well. */
  readonly program: string
}

/** What to send, where, and how hard. */
export interface RushOptions {
  /** The service, e.g. `http://127.0.0.1:3000`. */
  readonly url: string
  /** An open sale to rush for. Without it a sale of `units` is opened first. */
  readonly saleId?: string
  /** Units of the sale that is opened. @defaultValue 1_000 */
  readonly units?: number
  /** Orders to send, each with its own key and its own buyer. @defaultValue 100_000, or no limit with `durationSeconds` */
  readonly requests?: number
  /** Stop sending after this long, whatever is left. */
  readonly durationSeconds?: number
  /** Connections, each with one order under way. @defaultValue 256 */
  readonly connections?: number
  /**
   * Open loop: orders arrive at this rate whether or not earlier ones were answered, and latency counts from the moment
   * an order should have left. Without it (closed loop) a connection sends its next order when the last is answered.
   */
  readonly ratePerSecond?: number
  /** As a buyer does, sends an order that has no answer, or is answered 503, again under its key for up to two minutes. */
  readonly resend?: boolean
  /** Threads that send. @defaultValue 1 (in the calling thread) */
  readonly workers?: number
  /** How long the audit may take to settle after the last answer. @defaultValue 120_000 */
  readonly auditTimeoutMs?: number
  /** Ends the sending early; the audit still follows. */
  readonly signal?: AbortSignal
}

/** Four times a second while it runs, and once at the end. */
export interface RushProgress {
  readonly state: 'running' | 'auditing' | 'done' | 'failed'
  readonly saleId: string
  /** Orders asked for; with a duration only, those sent so far. */
  readonly requests: number
  /** Orders answered or failed. */
  readonly done: number
  /** Answers per second since the last report. */
  readonly perSecond: number
  readonly seconds: number
  readonly outcomes: Readonly<Record<string, number>>
  readonly errors: number
  /** The latest look at the audit, once there is one. */
  readonly audit?: SaleAudit
  /** With `done` and `failed` that come after the load. */
  readonly result?: RushResult
  /** Why it failed, in a sentence. */
  readonly error?: string
}

/** The service's answer to `GET /sales/:id/audit`. */
export interface SaleAudit {
  readonly settled: boolean
  readonly ok: boolean
  readonly lag: number
  readonly total: number
  readonly sold: number
  readonly recordedOrders: number
  readonly recordedUnits: number
  readonly rows: number
  readonly rowUnits: number
  readonly rejected: number
  readonly stockDifference: number
  readonly databaseDifference: number
  readonly missingRows: number
  readonly extraRows: number
  /** Payments taken for orders that are not sold; only where money is taken. */
  readonly unmatchedPayments?: number
}

export interface RushResult {
  /** The audit settled and holds, no accepted order is missing from it, and nothing unexpected was answered. */
  readonly ok: boolean
  /** Why not `ok`, one sentence each. */
  readonly problems: readonly string[]
  readonly saleId: string
  readonly requests: number
  readonly done: number
  readonly seconds: number
  readonly perSecond: number
  /** Answers by HTTP status. */
  readonly outcomes: Readonly<Record<string, number>>
  readonly latencyMs: Latency
  /** Orders with no answer: connection refused, cut or silent. */
  readonly errors: number
  /** How often an order was sent again. */
  readonly resent: number
  readonly audit: SaleAudit | undefined
  readonly timeline: readonly RushSample[]
  /** Latency by percentile, for the plot. */
  readonly percentiles: readonly LatencyPoint[]
  readonly machine: string
  readonly node: string
  readonly command: string
}

/** One slice of time. Latencies are of the answers within it. */
export interface RushSample {
  /** End of the slice, since the first order. */
  readonly seconds: number
  readonly perSecond: number
  /** Answers per second by status; `error` for those that never came. */
  readonly outcomes: Readonly<Record<string, number>>
  readonly p50: number
  readonly p99: number
  readonly max: number
}
