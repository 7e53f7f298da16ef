import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { projectPath } from '../shared/files.js'
import { createWeb, refuseOtherMethods, type Problem } from '../shared/http.js'
import { streaming, type SseHub, type Tally } from '../shared/live.js'
import type { Change } from './carts.js'
import type { Catalogue } from './catalogue.js'
import type { Outcome } from './metrics.js'
import * as schemas from './schemas.js'
import { addSessions, isNew, sessionOf, type SessionCounts } from './sessions.js'
import type { Sessions } from './stores.js'
import { emptyCart, type ChangeOutcome, type Checkout, type Payment, type Till } from './till.js'

export interface PosWeb {
  readonly till: Till
  readonly catalogue: Catalogue
  readonly sessions: Sessions
  readonly sessionCounts: SessionCounts
  readonly secret: string
  readonly hub: SseHub
  readonly tally: Tally<Outcome>
  readonly stores: () => Promise<Readonly<Record<string, boolean>>>
  readonly metrics: () => Promise<string>
}

const problem = (error: string, message: string, more: object = {}): Problem => ({ error, message, ...more })
const unknownProduct = problem('unknown-product', 'The shop has no such product.')

export async function createPosWeb(parts: PosWeb): Promise<FastifyInstance> {
  const { catalogue, hub, stores, metrics } = parts
  const app = await createWeb({
    title: 'Till',
    description: 'A point of sale over the catalogue of a slow shop, on any number of servers.',
    // A server that would have to fetch what a customer asks for is not ready for customers.
    stores: async () => ({ ...(await stores()), catalogue: catalogue.warm }),
    metrics,
    files: { '/': projectPath('examples', 'pos', 'public') },
  })
  const finish = refuseOtherMethods(app)
  addProducts(app, catalogue)
  await app.register(async (scope) => {
    await addSessions(scope, { sessions: parts.sessions, secret: parts.secret, counts: parts.sessionCounts })
    addTally(scope, parts.tally)
    addCart(scope, parts.till)
    addSale(scope, parts.till)
  })
  app.get('/live', { schema: schemas.live, ...streaming }, (_request, reply) => {
    reply.hijack()
    hub.join(reply.raw)
  })
  app.addHook('preClose', async () => hub.close())
  finish()
  return app
}

interface Find {
  Querystring: { q: string; category: string; offset: string; limit: string }
}
interface OfProduct {
  Params: { productId: string }
}

function addProducts(app: FastifyInstance, catalogue: Catalogue): void {
  app.get<Find>('/products', { schema: schemas.findProducts }, ({ query }) => {
    const { q: text, category, offset, limit } = query
    return catalogue.find({ text, category, offset: Number(offset), limit: Number(limit) })
  })
  app.get<OfProduct>('/products/:productId', { schema: schemas.getProduct }, async ({ params }, reply) => {
    return (await catalogue.product(params.productId)) ?? reply.code(404).send(unknownProduct)
  })
  app.get('/categories', { schema: schemas.listCategories }, async () => ({
    categories: await catalogue.categories(),
  }))
}

interface Keyed {
  Headers: { 'idempotency-key': string }
}
type AddLine = Keyed & { Body: { productId: string; quantity: number } }
type SetLine = Keyed & OfProduct & { Body: { quantity: number } }

function addCart(app: FastifyInstance, till: Till): void {
  const change = async (request: FastifyRequest, reply: FastifyReply, wish: Change): Promise<FastifyReply> =>
    answerChange(reply, await till.change(sessionOf(request), wish))
  const keyOf = ({ headers }: FastifyRequest<Keyed>): string => headers['idempotency-key']

  app.get('/cart', { schema: schemas.getCart }, async (request) =>
    isNew(request) ? emptyCart : till.cart(sessionOf(request)),
  )
  app.post<AddLine>('/cart/lines', { schema: schemas.addLine }, (request, reply) =>
    change(request, reply, { key: keyOf(request), kind: 'add', ...request.body }),
  )
  app.put<SetLine>('/cart/lines/:productId', { schema: schemas.setLine }, (request, reply) => {
    const { productId } = request.params
    return change(request, reply, { key: keyOf(request), kind: 'set', productId, ...request.body })
  })
  app.delete<Keyed>('/cart', { schema: schemas.clearCart }, (request, reply) =>
    change(request, reply, { key: keyOf(request), kind: 'clear' }),
  )
}

function answerChange(reply: FastifyReply, outcome: ChangeOutcome): FastifyReply {
  switch (outcome.kind) {
    case 'changed':
    case 'replayed':
      return reply.send(outcome.cart)
    case 'unknown-product':
      return reply.code(404).send(unknownProduct)
    case 'too-many':
      return reply.code(409).send(problem('too-many', 'There is no room for that in a cart.', { cart: outcome.cart }))
  }
}

type TakeMoney = Keyed & { Body: Omit<Payment, 'key'> }
interface OfReceipt {
  Params: { id: string }
}

function addSale(app: FastifyInstance, till: Till): void {
  app.post<TakeMoney>('/cart/checkout', { schema: schemas.checkout }, async (request, reply) => {
    const key = request.headers['idempotency-key']
    return answerCheckout(reply, await till.checkout(sessionOf(request), { key, ...request.body }))
  })
  app.get<OfReceipt>('/receipts/:id', { schema: schemas.getReceipt }, async (request, reply) => {
    const receipt = isNew(request) ? undefined : await till.receipt(sessionOf(request), request.params.id)
    return receipt ?? reply.code(404).send(problem('unknown-receipt', 'This session has no such receipt.'))
  })
  app.delete('/session', { schema: schemas.endSession }, async (request, reply) => {
    if (!isNew(request)) await till.forget(sessionOf(request))
    await request.session.destroy()
    return reply.code(204).send(null)
  })
}

const refusals = {
  'empty-cart': 'There is nothing in the cart.',
  'cart-changed': 'The cart is not what the customer was told.',
  unavailable: 'The shop does not have some of it any more.',
  'too-little': 'That does not pay for it.',
}

function answerCheckout(reply: FastifyReply, outcome: Checkout): FastifyReply {
  if ('receipt' in outcome) return reply.code(outcome.kind === 'sold' ? 201 : 200).send(outcome.receipt)
  return reply.code(409).send(problem(outcome.kind, refusals[outcome.kind], { cart: outcome.cart }))
}

/** Counts what the routes of `app` answer, and how long it took them. */
function addTally(app: FastifyInstance, tally: Tally<Outcome>): void {
  app.addHook('onResponse', async (_request, reply) => {
    const { statusCode: status } = reply
    const outcome = status < 400 ? 'done' : status < 500 ? 'refused' : 'failed'
    tally.record(outcome, reply.elapsedTime)
  })
}
