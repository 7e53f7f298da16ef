import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { projectPath } from '../shared/files.js'
import { createWeb, refuseOtherMethods } from '../shared/http.js'
import type { SaleView } from '../shared/selling/shelf.js'
import { addCommonRoutes, type WebParts } from '../shared/selling/web.js'
import {
  answerBuyer,
  answerCancellation,
  answerSettlement,
  answerSuspended,
  problem,
  unknownOrder,
  unknownShow,
} from './answers.js'
import type { Outcome } from './board.js'
import type { Door, Room } from './options.js'
import * as schemas from './schemas.js'
import type { Cancellation, Decision, Service } from './service.js'
import type { Settlement } from './till.js'

export type TicketWeb = WebParts<Service, Outcome>

const ordersPath = '/shows/:id/orders'
const holdsPath = '/shows/:id/holds'
const orderPath = `${ordersPath}/:orderId`

export async function createTicketWeb(parts: TicketWeb): Promise<FastifyInstance> {
  const { tally, backstage, stores } = parts
  const app = await createWeb({
    title: 'Tickets',
    description: 'Sells the tickets of shows, each once, to as many people as come.',
    stores,
    metrics: () => backstage.metrics(),
    files: {
      '/': projectPath('examples', 'ticket', 'public'),
      '/shared/': projectPath('examples', 'shared', 'public'),
      '/assets/': projectPath('node_modules', 'uplot', 'dist'),
    },
    onRefusal: (request, status) => {
      if (request.method !== 'POST' || !request.routeOptions.url?.startsWith('/shows/:id/')) return
      tally.record(status < 500 ? 'invalid' : 'unavailable')
    },
  })
  const finish = refuseOtherMethods(app)
  addBuying(app, parts)
  addSettling(app, parts)
  addShows(app, parts)
  addCommonRoutes(app, parts, '/shows', schemas.orders, { sale: unknownShow, order: unknownOrder })
  finish()
  return app
}

interface Buy {
  Params: { id: string }
  Headers: { 'idempotency-key': string; 'waiting-place'?: string }
  Body: { buyer: string; quantity: number }
}

const outcomeOf = (decision: Decision): Outcome => {
  switch (decision.kind) {
    case 'accepted':
    case 'held':
      return decision.replayed ? 'replayed' : decision.kind
    case 'soldOut':
    case 'buyerLimit':
    case 'notOpen':
    case 'inLine':
      return decision.kind
    case 'suspended':
      return 'unavailable'
    default:
      return 'refused'
  }
}

function outcomeOfSettlement(settlement: Settlement): Outcome {
  switch (settlement.kind) {
    case 'paid':
    case 'refunded':
      return settlement.replayed ? 'replayed' : settlement.kind
    case 'suspended':
      return 'unavailable'
    default:
      return 'refused'
  }
}

const outcomeOfCancellation = ({ kind }: Cancellation): Outcome => {
  if (kind === 'cancelled') return kind
  return kind === 'suspended' ? 'unavailable' : 'refused'
}

function addBuying(app: FastifyInstance, { service, tally }: TicketWeb): void {
  const buy =
    (ask: Service['grab']) =>
    async (request: FastifyRequest<Buy>, reply: FastifyReply): Promise<FastifyReply> => {
      const startedMs = performance.now()
      const { 'idempotency-key': orderId, 'waiting-place': place } = request.headers
      const { buyer, quantity } = request.body
      const decision = await ask(request.params.id, { orderId, buyer, quantity, place })
      tally.record(outcomeOf(decision), performance.now() - startedMs)
      return answerBuyer(reply, orderId, decision)
    }
  app.post<Buy>(
    ordersPath,
    { schema: schemas.grab },
    buy((showId, purchase) => service.grab(showId, purchase)),
  )
  app.post<Buy>(
    holdsPath,
    { schema: schemas.hold },
    buy((showId, purchase) => service.hold(showId, purchase)),
  )
}

interface OfOrder {
  Params: { id: string; orderId: string }
}

function addSettling(app: FastifyInstance, { service, tally }: TicketWeb): void {
  app.post<OfOrder & { Body: { card: string } }>(
    `${orderPath}/pay`,
    { schema: schemas.pay },
    async ({ params, body }, reply) => {
      const settlement = await service.pay(params.id, params.orderId, body.card)
      tally.record(outcomeOfSettlement(settlement))
      return answerSettlement(reply, params.orderId, settlement)
    },
  )
  app.post<OfOrder>(`${orderPath}/cancel`, { schema: schemas.cancel }, async ({ params }, reply) => {
    const cancelled = await service.cancel(params.id, params.orderId)
    tally.record(outcomeOfCancellation(cancelled))
    return answerCancellation(reply, params.orderId, cancelled)
  })
  app.post<OfOrder>(`${orderPath}/refund`, { schema: schemas.refund }, async ({ params }, reply) => {
    const settlement = await service.refund(params.id, params.orderId)
    tally.record(outcomeOfSettlement(settlement))
    return answerSettlement(reply, params.orderId, settlement)
  })
}

interface OpenShow {
  Body: {
    id?: string
    title: string
    priceCents?: number
    quantity: number
    opensAtMs?: number
    limitPerBuyer: number
    holdMs: number
    room?: Room
  }
}
interface OfShow {
  Params: { id: string }
}

const shown = ({ door, ...sale }: SaleView<Door>) => ({ ...sale, ...door })

function addShows(app: FastifyInstance, { service }: TicketWeb): void {
  app.post<OpenShow>('/shows', { schema: schemas.openShow }, async (request, reply) => {
    const { priceCents = 0, holdMs, room, ...rest } = request.body
    const show = await service.open({ ...rest, priceCents, door: { holdMs, ...(room && { room }) } })
    return show
      ? reply.code(201).send(shown(show))
      : reply.code(409).send(problem('exists', 'A show has this id already.'))
  })
  app.get('/shows', { schema: schemas.listShows }, async () => ({ shows: (await service.list()).map(shown) }))
  app.get<OfShow>('/shows/:id', { schema: schemas.getShow }, async (request, reply) => {
    const show = await service.view(request.params.id)
    return show ? shown(show) : reply.code(404).send(unknownShow)
  })
  app.get<OfShow>('/shows/:id/level', { schema: schemas.getLevel }, async (request, reply) => {
    const level = await service.level(request.params.id)
    if (level === 'suspended') return answerSuspended(reply)
    return level ?? reply.code(404).send(unknownShow)
  })
}
