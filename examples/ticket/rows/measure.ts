import type { Latency } from '../../shared/load/summary.js'
import type { RushProgress, SaleAudit } from '../../shared/rush/types.js'
import { grabTickets } from '../client/client.js'
import { completedOf, problemsOf } from './audit.js'
import { prepareKiller } from './kills.js'
import { watchMemory, type ProcessMemory } from './memory.js'
import type { Row, RowsOptions } from './options.js'
import type { Program } from '../../shared/measure/programs.js'

/** What came of a row. */
export interface Measured {
  /** Requests that were sent; those that were decided; and the rest. */
  readonly done: number
  readonly completed: number
  readonly failed: number
  /** How often an order was sent again. */
  readonly resent: number
  /** Orders that the client was told are accepted. */
  readonly accepted: number
  readonly outcomes: Readonly<Record<string, number>>
  readonly seconds: number
  readonly perSecond: number
  readonly latencyMs: Latency
  /** From the last answer until every order was in the database, and the audit had seen it. */
  readonly settledAfterSeconds: number
  readonly kills: number
  /** Orders that had been accepted when the first server was killed; `undefined` where none was. */
  readonly acceptedBeforeKills?: number
  readonly memory: readonly ProcessMemory[]
  readonly audit: SaleAudit | undefined
  /** What did not hold, one sentence each. */
  readonly problems: readonly string[]
}

/** A row that was run, and where and how. */
export interface RowResult extends Row, Measured, Pick<RowsOptions, 'servers' | 'connections' | 'command'> {
  readonly commit: string
  readonly date: string
  readonly machine: readonly string[]
  /** How many processes wanted to run, on average over a minute, before the row. */
  readonly loadAverage: number
}

/** The order service gives way to the load and writes afterwards; half a million orders take it some minutes. */
const auditTimeoutMs = 3_600_000

/** Runs one row against a service that is ready. `onProgress` is told also how many servers were killed. */
export async function measureRow(
  row: Row,
  { servers, connections }: Pick<RowsOptions, 'servers' | 'connections'>,
  { url, service }: { readonly url: string; readonly service: Pick<Program, 'pid'> },
  onProgress: (progress: RushProgress, kills: number) => void,
): Promise<Measured> {
  const { requests, tickets, killEverySeconds } = row
  const memory = watchMemory(service.pid)
  const killer = killEverySeconds === undefined ? undefined : await prepareKiller(url, servers, killEverySeconds)
  let acceptedBeforeKills: number | undefined
  let answeredAtMs = 0
  const rush = await grabTickets(
    { url, units: tickets, requests, connections, resend: true, auditTimeoutMs },
    (progress) => {
      if (killer && progress.state === 'running') {
        acceptedBeforeKills ??= progress.outcomes['202'] ?? 0
        killer.begin()
      }
      if (progress.state === 'auditing') {
        void killer?.stop()
        answeredAtMs ||= performance.now()
      }
      onProgress(progress, killer?.kills ?? 0)
    },
  )
  const settledAfterSeconds = (performance.now() - answeredAtMs) / 1_000
  await killer?.stop()
  const kills = killer?.kills ?? 0
  const { done, resent, outcomes, seconds, perSecond, latencyMs, audit } = rush
  const completed = completedOf(rush)
  return {
    ...{ done, completed, failed: requests - completed, resent, accepted: outcomes['202'] ?? 0, outcomes },
    ...{ seconds, perSecond, latencyMs, settledAfterSeconds, kills, memory: await memory(), audit },
    ...(acceptedBeforeKills !== undefined && { acceptedBeforeKills }),
    problems: problemsOf(row, { ...rush, kills }),
  }
}
