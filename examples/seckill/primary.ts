import { startPublisher } from 'spillway/queue'
import { ownMetrics, type ProcessMetrics } from '../shared/metrics.js'
import { NoAnswer, startFleet, type Answers, type Child, type Fleet } from '../shared/processes.js'
import { every, untilSignal } from '../shared/run.js'
import type { Report } from '../shared/selling/office.js'
import type { OrderMessage } from '../shared/selling/orders.js'
import { createBoard, type SeckillTally } from './board.js'
import { renderMetrics } from './metrics.js'
import type { Options } from './options.js'
import { createRushRunner, type RushRequest } from './rush-process.js'
import { announce, firstSale, rushAndEnd } from './run.js'
import { createService } from './service.js'
import { openStores } from './stores.js'

const graceMs = 20_000
const patienceMs = 90_000

/** Starts the processes of the full stack, keeps them alive, and brings together what they know. */
export async function runPrimary(options: Options): Promise<void> {
  await prepare(options)
  const board = createBoard(options.strategy)
  const runner = createRushRunner()
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
    return renderMetrics(board, [await ownMetrics(), ...answered])
  }
  const answers: Answers = {
    tally: (tally: SeckillTally) => board.scores.add(tally),
    report: (report: Report) => void (board.report = report),
    audit: askOffice('audit'),
    reconcile: askOffice('reconcile'),
    metrics,
    rush: (request: RushRequest) => runner.start(request, url),
  }
  const fleet: Fleet = await startFleet({
    roles: { web: options.workers, office: options.consumers },
    answers: () => answers,
    onReady: ({ role }, body) => {
      if (role === 'web') url = String(body)
    },
    onDeath: ({ role, pid }, how) =>
      process.stderr.write(`${role} process ${pid} ended with ${how}; starting another\n`),
  })
  const tellAll = (role: string, kind: string, body: unknown): void => {
    for (const { line } of fleet.ready(role)) line.tell(kind, body)
  }
  const info = ({ pid, role }: Child) => ({ pid, role })
  const stopTelling = every(500, async () => {
    const snapshot = board.snapshot(fleet.ready().map(info), runner.state)
    tellAll('web', 'snapshot', snapshot)
    tellAll('office', 'doors', snapshot.requestsPerSecond)
  })
  const stop = async (): Promise<void> => {
    runner.stop()
    await stopTelling()
    await fleet.stop(graceMs)
  }

  if (options.rush !== undefined) return rushAndEnd(options, url, stop)
  announce(url, `${options.workers} workers, ${options.consumers} consumers, on Redis, Kafka and MySQL`, options)
  untilSignal(stop, () => fleet.kill())
}

/** Makes tables, topics and the first sale before anybody needs them. */
async function prepare(options: Options): Promise<void> {
  const stores = await openStores(options)
  await stores.prepare()
  if (options.rush === undefined) {
    const publisher = await startPublisher<OrderMessage>(stores.queue, { topic: stores.names.topic })
    const service = createService(stores, publisher, options)
    await firstSale(service, options)
    await service.close()
    await publisher.close()
  }
  await stores.close()
}
