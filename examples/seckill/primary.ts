import { startPublisher } from 'spillway/queue'
import { untilSignal } from '../shared/run.js'
import type { OrderMessage } from '../shared/selling/orders.js'
import { runFleet, type RunningFleet } from '../shared/selling/primary.js'
import { createBoard } from './board.js'
import { renderMetrics } from './metrics.js'
import type { Options } from './options.js'
import { createRushRunner, type RushRequest } from './rush-process.js'
import { announce, firstSale, rushAndEnd } from './run.js'
import { createService } from './service.js'
import { openStores } from './stores.js'

/** Runs the full stack. */
export async function runPrimary(options: Options): Promise<void> {
  await prepare(options)
  const board = createBoard(options.strategy)
  const runner = createRushRunner()
  const fleet: RunningFleet = await runFleet({
    web: options.workers,
    office: options.consumers,
    board: {
      add: (tally) => board.scores.add(tally),
      report: (report) => void (board.report = report),
      snapshot: (children) =>
        board.snapshot(
          children.map(({ pid, role }) => ({ pid, role })),
          runner.state,
        ),
      metrics: (processes) => renderMetrics(board, processes),
    },
    answers: { rush: (request: RushRequest) => runner.start(request, fleet.url) },
  })
  const stop = async (): Promise<void> => {
    runner.stop()
    await fleet.stop()
  }
  if (options.rush !== undefined) return rushAndEnd(options, fleet.url, stop)
  announce(fleet.url, `${options.workers} workers, ${options.consumers} consumers, on Redis, Kafka and MySQL`, options)
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
