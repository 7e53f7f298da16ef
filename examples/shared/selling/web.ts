import type { FastifyInstance, FastifyRequest } from 'fastify'
import type { Problem } from '../http.js'
import { startSse, streaming, type SseHub, type Tally } from '../live.js'
import type { SaleAudit } from '../rush/types.js'
import type { Reconciliation } from './reconcile.js'
import { audit, live, reconcile } from './schemas.js'
import type { OrderView } from './states.js'
import type { OrderWatch } from './watch.js'

/** What a process that answers requests asks of others: of the office, and of whoever looks after all processes. */
export interface Backstage {
  audit(saleId: string): Promise<SaleAudit | undefined>
  reconcile(saleId: string): Promise<Reconciliation | undefined>
  metrics(): Promise<string>
}

/** What the routes of a service that sells are made of. */
export interface WebParts<Service, Outcome extends string> {
  readonly service: Service
  readonly watch: OrderWatch
  readonly backstage: Backstage
  readonly hub: SseHub
  readonly tally: Tally<Outcome>
  readonly stores: () => Promise<Readonly<Record<string, boolean>>>
}

interface Orders {
  order(saleId: string, orderId: string): Promise<OrderView | undefined>
}
interface OfSale {
  Params: { id: string }
}
interface OfOrder {
  Params: { id: string; orderId: string }
}

/** The routes that are the same wherever something is sold: `sales` is the path that they begin with. */
export function addCommonRoutes(
  app: FastifyInstance,
  { service, watch, backstage, hub }: Omit<WebParts<Orders, string>, 'tally' | 'stores'>,
  sales: string,
  schemas: { readonly getOrder: object; readonly orderEvents: object },
  unknown: { readonly sale: Problem; readonly order: Problem },
): void {
  const orderPath = `${sales}/:id/orders/:orderId`
  const find = ({ params }: FastifyRequest<OfOrder>) => service.order(params.id, params.orderId)
  app.get<OfOrder>(orderPath, { schema: schemas.getOrder }, async (request, reply) => {
    return (await find(request)) ?? reply.code(404).send(unknown.order)
  })
  app.get<OfOrder>(`${orderPath}/events`, { schema: schemas.orderEvents, ...streaming }, async (request, reply) => {
    const order = await find(request)
    if (!order) return reply.code(404).send(unknown.order)
    reply.hijack()
    startSse(reply.raw)
    watch.follow(request.params.id, order, reply.raw)
    return reply
  })
  app.get<OfSale>(`${sales}/:id/audit`, { schema: audit }, async ({ params }, reply) => {
    return (await backstage.audit(params.id)) ?? reply.code(404).send(unknown.sale)
  })
  app.post<OfSale>(`${sales}/:id/reconcile`, { schema: reconcile }, async ({ params }, reply) => {
    return (await backstage.reconcile(params.id)) ?? reply.code(404).send(unknown.sale)
  })
  app.get('/live', { schema: live, ...streaming }, (_request, reply) => {
    reply.hijack()
    hub.join(reply.raw)
  })
  app.addHook('preClose', async () => {
    watch.close()
    hub.close()
  })
}
