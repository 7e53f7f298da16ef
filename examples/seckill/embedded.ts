import { startPublisher } from 'spillway/queue'
import { createSseHub, createTally } from '../shared/live.js'
import { ownMetrics } from '../shared/metrics.js'
import { every, untilSignal } from '../shared/run.js'
import { startOffice } from '../shared/selling/office.js'
import { recordOrders, type OrderMessage } from '../shared/selling/orders.js'
import { createOrderWatch } from '../shared/selling/watch.js'
import { createBoard, outcomes } from './board.js'
import { createSeckillWeb } from './http.js'
import { renderMetrics } from './metrics.js'
import type { Options } from './options.js'
import { createRushRunner } from './rush-process.js'
import { createService } from './service.js'
import { announce, firstSale, rushAndEnd } from './run.js'
import { openStores } from './stores.js'

/** Everything in one process: stock, queue and door in memory, orders in a SQLite file. */
export async function runEmbedded(options: Options): Promise<void> {
  const stores = await openStores(options)
  await stores.prepare()
  const office = await startOffice(stores, recordOrders)
  await office.revive()
  const publisher = await startPublisher<OrderMessage>(stores.queue, { topic: stores.names.topic })
  const service = createService(stores, publisher, options)
  const board = createBoard(options.strategy)
  const tally = createTally(outcomes)
  const hub = createSseHub()
  const runner = createRushRunner()
  let url = ''
  const web = await createSeckillWeb({
    service,
    tally,
    hub,
    watch: createOrderWatch(stores.db),
    stores: () => stores.check(),
    backstage: {
      audit: (saleId) => office.audit(saleId),
      reconcile: (saleId) => office.reconcile(saleId),
      metrics: async () => {
        board.scores.add(tally.drain())
        return renderMetrics(board, [await ownMetrics()])
      },
      rush: async (request) => runner.start(request, url),
    },
  })
  url = await web.listen({ port: options.port, host: options.host })

  const stopTelling = every(500, async () => {
    board.scores.add(tally.drain())
    board.report = await office.report()
    hub.send('snapshot', board.snapshot([{ pid: process.pid, role: 'all' }], runner.state))
  })
  const stopChecking = every(2_000, () => office.check())
  const stop = async (): Promise<void> => {
    runner.stop()
    await Promise.all([stopTelling(), stopChecking()])
    await web.close()
    await publisher.close()
    await office.close()
    await service.close()
    await stores.close()
  }

  if (options.rush !== undefined) return rushAndEnd(options, url, stop)
  await firstSale(service, options)
  announce(url, `embedded: stock and queue in memory, orders in ${options.data}`, options)
  untilSignal(stop)
}
