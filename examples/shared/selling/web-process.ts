import type { FastifyInstance } from 'fastify'
import { startPublisher, type Publisher } from 'spillway/queue'
import { createSseHub, createTally } from '../live.js'
import { ownMetrics } from '../metrics.js'
import { lineToPrimary } from '../processes.js'
import { ending, every } from '../run.js'
import type { OrderMessage } from './orders.js'
import type { Stores } from './stores.js'
import { createOrderWatch } from './watch.js'
import type { Backstage, WebParts } from './web.js'

const patienceMs = 90_000

/** Asks the primary, or the office through it. */
export type AskPrimary = (kind: string) => (body: unknown) => Promise<unknown>

/** A process that answers requests. */
export async function runWebProcess<
  S extends Pick<Stores, 'queue' | 'names' | 'db' | 'nowMs' | 'check' | 'close'>,
  Service extends { close(): Promise<void> },
  Outcome extends string,
>(
  where: { readonly port: number; readonly host: string },
  outcomes: readonly Outcome[],
  open: () => Promise<S>,
  createService: (stores: S, publisher: Publisher<OrderMessage>) => Service | Promise<Service>,
  createWeb: (parts: WebParts<Service, Outcome>, ask: AskPrimary) => Promise<FastifyInstance>,
): Promise<void> {
  const { stop, by } = ending()
  const hub = createSseHub()
  const tally = createTally(outcomes)
  const line = lineToPrimary({
    stop,
    metrics: () => {
      line.tell('tally', tally.drain())
      return ownMetrics()
    },
    // Pages go by the clock of the stores, as the service does, and not by that of the primary's machine.
    snapshot: (snapshot: object) => hub.send('snapshot', { ...snapshot, atMs: stores.nowMs() }),
  })
  const stores = await open()
  const publisher = await startPublisher<OrderMessage>(stores.queue, { topic: stores.names.topic, timeoutMs: 3_000 })
  const service = await createService(stores, publisher)
  const ask: AskPrimary = (kind) => (body) => line.ask(kind, body, patienceMs)
  const backstage: Backstage = {
    audit: ask('audit') as Backstage['audit'],
    reconcile: ask('reconcile') as Backstage['reconcile'],
    metrics: () => line.ask('metrics') as Promise<string>,
  }
  const watch = createOrderWatch(stores.db)
  const web = await createWeb({ service, tally, hub, watch, stores: () => stores.check(), backstage }, ask)
  const url = await web.listen({ port: where.port, host: where.host })
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
