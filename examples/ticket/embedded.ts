import { startPublisher } from 'spillway/queue'
import { createSseHub, createTally } from '../shared/live.js'
import { ownMetrics } from '../shared/metrics.js'
import { every, untilSignal } from '../shared/run.js'
import { createOrderWatch } from '../shared/selling/watch.js'
import { createBoard, outcomes } from './board.js'
import type { TicketMessage } from './holds.js'
import { createTicketWeb } from './http.js'
import { renderMetrics } from './metrics.js'
import { startOrderService } from './office.js'
import type { Options } from './options.js'
import { announce, firstShow } from './run.js'
import { createService } from './service.js'
import { openStores } from './stores.js'

/** Everything in one process: stock, queue and waiting room in memory, the rest in a SQLite file. */
export async function runEmbedded(options: Options): Promise<void> {
  const stores = await openStores(options)
  await stores.prepare()
  const office = await startOrderService(stores)
  await office.revive()
  const publisher = await startPublisher<TicketMessage>(stores.queue, { topic: stores.names.topic })
  const service = await createService(stores, publisher, options)
  const board = createBoard()
  const tally = createTally(outcomes)
  const hub = createSseHub()
  const web = await createTicketWeb({
    service,
    tally,
    hub,
    watch: createOrderWatch(stores.db),
    stores: () => stores.check(),
    backstage: {
      audit: (showId) => office.audit(showId),
      reconcile: (showId) => office.reconcile(showId),
      metrics: async () => {
        board.add(tally.drain(), process.pid)
        return renderMetrics(board, [await ownMetrics()])
      },
    },
  })
  await firstShow(service, options)
  const url = await web.listen({ port: options.port, host: options.host })

  const stopTelling = every(500, async () => {
    board.add(tally.drain(), process.pid)
    board.latest = await office.report()
    hub.send('snapshot', board.snapshot([{ pid: process.pid, role: 'all' }], stores.nowMs()))
  })
  const stopChecking = every(2_000, () => office.check())
  announce(url, `embedded: stock and queue in memory, orders in ${options.data}`)
  untilSignal(async () => {
    await Promise.all([stopTelling(), stopChecking()])
    await web.close()
    await publisher.close()
    await office.close()
    await service.close()
    await stores.close()
  })
}
