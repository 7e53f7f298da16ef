import { startPublisher } from 'spillway/queue'
import { createSseHub, createTally } from '../shared/live.js'
import { ownMetrics } from '../shared/metrics.js'
import { lineToPrimary } from '../shared/processes.js'
import { ending, every } from '../shared/run.js'
import { startOffice } from '../shared/selling/office.js'
import { runOfficeProcess } from '../shared/selling/office-process.js'
import { recordOrders, type OrderMessage } from '../shared/selling/orders.js'
import { createOrderWatch } from '../shared/selling/watch.js'
import { outcomes, type Snapshot } from './board.js'
import { createSeckillWeb, type Backstage } from './http.js'
import type { Options } from './options.js'
import { createService } from './service.js'
import { openStores } from './stores.js'

const patienceMs = 90_000

/** A process that answers requests. */
export async function runWeb(options: Options): Promise<void> {
  const { stop, by } = ending()
  const hub = createSseHub()
  const tally = createTally(outcomes)
  const line = lineToPrimary({
    stop,
    metrics: () => {
      line.tell('tally', tally.drain())
      return ownMetrics()
    },
    snapshot: (snapshot: Snapshot) => hub.send('snapshot', snapshot),
  })
  const stores = await openStores(options)
  const publisher = await startPublisher<OrderMessage>(stores.queue, { topic: stores.names.topic, timeoutMs: 3_000 })
  const service = createService(stores, publisher, options)
  const ask = (kind: string) => (body: unknown) => line.ask(kind, body, patienceMs)
  const web = await createSeckillWeb({
    service,
    tally,
    hub,
    watch: createOrderWatch(stores.db),
    stores: () => stores.check(),
    backstage: {
      audit: ask('audit') as Backstage['audit'],
      reconcile: ask('reconcile') as Backstage['reconcile'],
      metrics: () => line.ask('metrics') as Promise<string>,
      rush: ask('rush') as Backstage['rush'],
    },
  })
  const url = await web.listen({ port: options.port, host: options.host })
  const stopTelling = every(500, async () => line.tell('tally', tally.drain()))
  line.tell('ready', url)
  by(async () => {
    await web.close()
    await stopTelling()
    line.tell('tally', tally.drain())
    await publisher.close()
    await service.close()
    await stores.close()
  })
}

/** A process that writes orders. */
export const runOffice = (options: Options): Promise<void> =>
  runOfficeProcess(
    () => openStores(options),
    (stores) => startOffice(stores, recordOrders),
  )
