import type { FastifyInstance, FastifyReply } from 'fastify'
import { projectPath } from '../shared/files.js'
import { createWeb, refuseOtherMethods, type Problem } from '../shared/http.js'
import { addCommonRoutes, type Backstage, type WebParts } from '../shared/selling/web.js'
import type { Outcome } from './board.js'
import type { Door } from './options.js'
import type { RushRequest } from './rush-process.js'
import * as schemas from './schemas.js'
import type { Decision, Service } from './service.js'

export interface SeckillWeb extends WebParts<Service, Outcome> {
  readonly backstage: Backstage & {
    /** `undefined` while another rush runs. */
    rush(request: RushRequest): Promise<{ readonly id: string } | undefined>
  }
}

const problem = (error: string, message: string, more: object = {}): Problem => ({ error, message, ...more })
const unknownSale = problem('unknown-sale', 'There is no such sale.')
const unknownOrder = problem('unknown-order', 'This sale has no such order.')
const suspendedSale = problem(
  'suspended',
  'The stock of this sale is being brought back. Try again with the same key: nothing is sold twice.',
)

const buyPath = '/sales/:id/orders'

export async function createSeckillWeb(parts: SeckillWeb): Promise<FastifyInstance> {
  const { tally, backstage, stores } = parts
  const app = await createWeb({
    title: 'Seckill',
    description: 'Sells a limited stock to a rush of buyers, every unit once.',
    stores,
    metrics: () => backstage.metrics(),
    files: {
      '/': projectPath('examples', 'seckill', 'public'),
      '/shared/': projectPath('examples', 'shared', 'public'),
      '/assets/': projectPath('node_modules', 'uplot', 'dist'),
    },
    onRefusal: (request, status) => {
      if (request.routeOptions.url !== buyPath || request.method !== 'POST') return
      tally.record(status < 500 ? 'invalid' : 'unavailable')
    },
  })
  const finish = refuseOtherMethods(app)
  addBuying(app, parts)
  addCeiling(app)
  addSales(app, parts)
  addRush(app, parts)
  addCommonRoutes(app, parts, '/sales', schemas.orders, { sale: unknownSale, order: unknownOrder })
  finish()
  return app
}

interface Buy {
  Params: { id: string }
  Headers: { 'idempotency-key': string }
  Body: { buyer: string; quantity: number }
}

function addBuying(app: FastifyInstance, { service, tally }: SeckillWeb): void {
  app.post<Buy>(buyPath, { schema: schemas.buy }, async (request, reply) => {
    const startedMs = performance.now()
    const orderId = request.headers['idempotency-key']
    const { buyer, quantity } = request.body
    const decision = await service.buy(request.params.id, { orderId, buyer, quantity })
    tally.record(outcomeOf(decision), performance.now() - startedMs)
    return answerBuyer(reply, orderId, decision)
  })
}

const outcomeOf = ({ kind }: Decision): Outcome => {
  if (kind === 'suspended' || kind === 'busy') return 'unavailable'
  return kind === 'spent' || kind === 'conflict' || kind === 'unknown' ? 'invalid' : kind
}

function answerBuyer(reply: FastifyReply, orderId: string, decision: Decision): FastifyReply {
  switch (decision.kind) {
    case 'accepted':
    case 'replayed':
      return reply.code(202).send({ orderId, state: 'accepted', replayed: decision.kind === 'replayed' })
    case 'soldOut': {
      const { available } = decision
      const message = available === 0 ? 'Sold out.' : `Only ${available} left.`
      return reply.code(409).send(problem('sold-out', message, { available }))
    }
    case 'buyerLimit':
      return reply.code(409).send(problem('buyer-limit', 'This buyer has as many as one may buy.'))
    case 'spent':
      return reply.code(409).send(problem('spent', 'This order was taken back. Order again with another key.'))
    case 'conflict':
      return reply.code(409).send(problem('conflict', 'This key was used for another buyer or another quantity.'))
    case 'clash':
      return reply.code(409).send(problem('clash', 'Somebody else was first. Nothing was sold; try again.'))
    case 'busy':
      return reply
        .code(503)
        .header('retry-after', 1)
        .send(problem('busy', 'Its turn did not come in time. Try again with the same key.'))
    case 'notOpen': {
      const { opensAtMs } = decision
      return reply.code(409).send(problem('not-open', 'The sale has not begun.', { opensAtMs }))
    }
    case 'door': {
      const { retryAfterMs } = decision
      void reply.header('retry-after', Math.max(1, Math.ceil(retryAfterMs / 1_000)))
      return reply.code(429).send(problem('door', 'Too many at the door. Try again in a moment.', { retryAfterMs }))
    }
    case 'suspended':
      return reply.code(503).header('retry-after', 1).send(suspendedSale)
    case 'unknown':
      return reply.code(404).send(unknownSale)
  }
}

/** The same route without a decision: what this server can do at most, for the benchmark. */
function addCeiling(app: FastifyInstance): void {
  app.post<Buy>('/ceiling/:id/orders', { schema: { ...schemas.buy, hide: true } }, async (request, reply) =>
    reply.code(202).send({ orderId: request.headers['idempotency-key'], state: 'accepted', replayed: false }),
  )
}

interface OpenSale {
  Body: {
    id?: string
    title: string
    priceCents?: number
    quantity: number
    opensAtMs?: number
    limitPerBuyer: number
    door?: Door
  }
}
interface OfSale {
  Params: { id: string }
}

function addSales(app: FastifyInstance, { service }: SeckillWeb): void {
  app.post<OpenSale>('/sales', { schema: schemas.openSale }, async (request, reply) => {
    const { priceCents = 0, door, ...rest } = request.body
    if (door && door.initial > door.capacity) {
      return reply.code(422).send(problem('invalid', 'body/door/initial must not be above its capacity'))
    }
    const sale = await service.open({ ...rest, priceCents, ...(door && { door }) })
    return sale ? reply.code(201).send(sale) : reply.code(409).send(problem('exists', 'A sale has this id already.'))
  })
  app.get('/sales', { schema: schemas.listSales }, async () => ({ sales: await service.list() }))
  app.get<OfSale>('/sales/:id', { schema: schemas.getSale }, async (request, reply) => {
    const sale = await service.view(request.params.id)
    return sale ?? reply.code(404).send(unknownSale)
  })
  app.get<OfSale>('/sales/:id/level', { schema: schemas.getLevel }, async (request, reply) => {
    const level = await service.level(request.params.id)
    if (level === 'suspended') return reply.code(503).header('retry-after', 1).send(suspendedSale)
    return level ?? reply.code(404).send(unknownSale)
  })
}

interface StartRush {
  Body: { saleId?: string; requests: number; connections: number; units: number }
}

function addRush(app: FastifyInstance, { backstage, service }: SeckillWeb): void {
  app.post<StartRush>('/rush', { schema: schemas.startRush }, async (request, reply) => {
    const { requests, connections, units } = request.body
    const saleId = request.body.saleId ?? (await openForRush(service, units))
    if (request.body.saleId !== undefined && !(await service.view(saleId))) return reply.code(404).send(unknownSale)
    const rush = await backstage.rush({ saleId, requests, connections })
    if (!rush) return reply.code(409).send(problem('running', 'A rush is under way.'))
    return reply.code(202).send({ id: rush.id, saleId })
  })
}

async function openForRush(service: Service, quantity: number): Promise<string> {
  const title = `A rush for ${quantity} units`
  const sale = await service.open({ title, priceCents: 4_900, quantity, limitPerBuyer: 1 })
  return (sale as NonNullable<typeof sale>).id
}
