import { startPublisher } from 'spillway/queue'
import { untilSignal } from '../shared/run.js'
import { runFleet } from '../shared/selling/primary.js'
import { createBoard } from './board.js'
import type { TicketMessage } from './holds.js'
import { renderMetrics } from './metrics.js'
import type { Options } from './options.js'
import { announce, firstShow } from './run.js'
import { createService } from './service.js'
import { openStores } from './stores.js'

/** Runs the full stack. */
export async function runPrimary(options: Options): Promise<void> {
  await prepare(options)
  const board = createBoard()
  const fleet = await runFleet({
    web: options.workers,
    office: options.consumers,
    board: {
      add: (tally, { pid }) => board.add(tally, pid),
      report: (report) => void (board.latest = report),
      snapshot: (children) => board.snapshot(children, Date.now()),
      metrics: (processes) => renderMetrics(board, processes),
    },
  })
  announce(
    fleet.url,
    `${options.workers} ticketing servers, ${options.consumers} order services, on Redis, Kafka and MySQL`,
  )
  untilSignal(
    () => fleet.stop(),
    () => fleet.kill(),
  )
}

/** Makes tables, topics and the first show before anybody needs them. */
async function prepare(options: Options): Promise<void> {
  const stores = await openStores(options)
  await stores.prepare()
  const publisher = await startPublisher<TicketMessage>(stores.queue, { topic: stores.names.topic })
  const service = await createService(stores, publisher, options)
  await firstShow(service, options)
  await service.close()
  await publisher.close()
  await stores.close()
}
