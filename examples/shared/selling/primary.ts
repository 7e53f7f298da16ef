import type { TallyReport } from '../live.js'
import { ownMetrics, type ProcessMetrics } from '../metrics.js'
import { NoAnswer, startFleet, type Answers, type Child, type Fleet } from '../processes.js'
import { every } from '../run.js'
import type { Report } from './office.js'

const graceMs = 20_000
const patienceMs = 90_000

/** The service's own part of what its processes are told. */
export interface FleetBoard<Outcome extends string> {
  add(tally: TallyReport<Outcome>, child: Child): void
  report(report: Report): void
  /** What every page is sent twice a second. */
  snapshot(children: readonly Child[]): { readonly requestsPerSecond: number }
  metrics(processes: readonly ProcessMetrics[]): Promise<string>
}

export interface RunningFleet {
  readonly url: string
  stop(): Promise<void>
  kill(): void
}

/** Starts the processes of a full stack, keeps them alive, and brings together what they know. */
export async function runFleet<Outcome extends string>(options: {
  readonly web: number
  readonly office: number
  readonly board: FleetBoard<Outcome>
  /** Questions of the processes beside those that all services answer. */
  readonly answers?: Answers
}): Promise<RunningFleet> {
  const { board } = options
  let url = ''

  /** An office that lives answers; one that dies meanwhile fails the question. */
  const askOffice = (kind: string) => async (saleId: string) => {
    const [office] = fleet.ready('office')
    if (!office) throw new NoAnswer(`${kind}: no process writes orders at the moment`)
    return office.line.ask(kind, saleId, patienceMs)
  }
  const metrics = async (): Promise<string> => {
    const asked = fleet.ready().map(async ({ line }) => (await line.ask('metrics')) as ProcessMetrics)
    const answered = (await Promise.allSettled(asked)).flatMap((one) => (one.status === 'fulfilled' ? [one.value] : []))
    return board.metrics([await ownMetrics(), ...answered])
  }
  const fleet: Fleet = await startFleet({
    roles: { web: options.web, office: options.office },
    answers: (child) => ({
      tally: (tally: TallyReport<Outcome>) => board.add(tally, child),
      report: (report: Report) => board.report(report),
      audit: askOffice('audit'),
      reconcile: askOffice('reconcile'),
      metrics,
      ...options.answers,
    }),
    onReady: ({ role }, body) => {
      if (role === 'web') url = String(body)
    },
    onDeath: ({ role, pid }, how) =>
      process.stderr.write(`${role} process ${pid} ended with ${how}; starting another\n`),
  })
  const tellAll = (role: string, kind: string, body: unknown): void => {
    for (const { line } of fleet.ready(role)) line.tell(kind, body)
  }
  const stopTelling = every(500, async () => {
    const snapshot = board.snapshot(fleet.ready())
    tellAll('web', 'snapshot', snapshot)
    tellAll('office', 'doors', snapshot.requestsPerSecond)
  })
  return {
    get url() {
      return url
    },
    async stop() {
      await stopTelling()
      await fleet.stop(graceMs)
    },
    kill: () => fleet.kill(),
  }
}
