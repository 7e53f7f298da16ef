import { problemSchema } from '../shared/http.js'
import { limits } from './carts.js'

// JSON schemas of every route: they check what comes, compile what goes, and make the page at /docs.

const integer = (minimum: number, maximum: number) => ({ type: 'integer', minimum, maximum }) as const
const count = { type: 'integer' } as const
const string = { type: 'string' } as const
const boolean = { type: 'boolean' } as const
const object = <Properties extends object>(properties: Properties, required: readonly string[] = []) =>
  ({ type: 'object', properties, required, additionalProperties: false }) as const
const list = <Items extends object>(items: Items) => ({ type: 'array', items }) as const

const cents = integer(0, 1_000_000_000_000)
const productId = { type: 'string', pattern: '^[A-Za-z0-9_-]{1,64}$' } as const
const key = {
  type: 'string',
  pattern: '^[!-~]{1,64}$',
  description: 'Any printable ASCII without spaces; a UUID, say',
} as const

const product = object({ id: string, name: string, category: string, priceCents: count, barcode: string })
const lineShape = { productId: string, name: string, priceCents: count, quantity: count, amountCents: count }
const cart = object({
  version: count,
  lines: list(object({ ...lineShape, available: boolean })),
  units: count,
  totalCents: count,
})
const receipt = object({
  id: string,
  atMs: count,
  lines: list(object(lineShape)),
  units: count,
  totalCents: count,
  method: string,
  tenderedCents: count,
  changeCents: count,
})

const problem = problemSchema
const problems = <Status extends number>(...statuses: Status[]) =>
  Object.fromEntries(statuses.map((status) => [status, problem])) as Record<Status, typeof problem>

const withKey = { type: 'object', required: ['idempotency-key'], properties: { 'idempotency-key': key } } as const
const safeToRepeat = 'Safe to repeat: the same key counts once. After 503 repeat it with the same key.'
const ofProduct = object({ productId }, ['productId'])

export const findProducts = {
  summary: 'Find products',
  description: 'By the beginnings of words, by barcode or by id; everything without a text.',
  querystring: object({
    q: { type: 'string', maxLength: 80, default: '' },
    category: { type: 'string', maxLength: 80, default: '' },
    offset: { type: 'string', pattern: '^[0-9]{1,6}$', default: '0' },
    limit: { type: 'string', pattern: '^([1-9]|[1-9][0-9]|100)$', default: '24', description: '1 to 100' },
  }),
  response: { 200: object({ products: list(product), total: count }), ...problems(422, 503) },
}
export const getProduct = {
  summary: 'A product',
  params: ofProduct,
  response: { 200: product, ...problems(404, 422, 503) },
}
export const listCategories = {
  summary: 'The categories, and how many products each has',
  response: { 200: object({ categories: list(object({ name: string, products: count })) }), ...problems(503) },
}
export const getCart = { summary: 'The cart of this session', response: { 200: cart, ...problems(503) } }
export const addLine = {
  summary: 'Ring something up, or take some of it away',
  description: `Changes the quantity by \`quantity\`. ${safeToRepeat}`,
  headers: withKey,
  body: object(
    {
      productId,
      quantity: {
        ...integer(-limits.ofOneProduct, limits.ofOneProduct),
        not: { const: 0 },
        default: 1,
        description: 'Not 0',
      },
    },
    ['productId'],
  ),
  response: { 200: cart, ...problems(404, 409, 422, 503) },
}
export const setLine = {
  summary: 'Set how much there is of something',
  description: `0 takes the line away. ${safeToRepeat}`,
  params: ofProduct,
  headers: withKey,
  body: object({ quantity: integer(0, limits.ofOneProduct) }, ['quantity']),
  response: { 200: cart, ...problems(404, 409, 422, 503) },
}
export const clearCart = {
  summary: 'Empty the cart',
  description: safeToRepeat,
  headers: withKey,
  response: { 200: cart, ...problems(409, 422, 503) },
}
export const checkout = {
  summary: 'Take the money',
  description:
    'Sells the cart if its total is still the one that the customer was told, else answers 409 with the cart as it is. ' +
    safeToRepeat,
  headers: withKey,
  body: object(
    {
      totalCents: cents,
      method: { type: 'string', enum: ['cash', 'card'] },
      tenderedCents: { ...cents, description: 'What was handed over in cash; absent: exactly the total' },
    },
    ['totalCents', 'method'],
  ),
  response: { 200: receipt, 201: receipt, ...problems(409, 422, 503) },
}
export const getReceipt = {
  summary: 'A receipt of this session',
  params: object({ id: key }, ['id']),
  response: { 200: receipt, ...problems(404, 422, 503) },
}
export const endSession = {
  summary: 'Close the till: ends the session and its cart',
  response: { 204: { type: 'null' }, ...problems(503) },
}
export const live = {
  summary: 'How this server is doing, once a second',
  description: 'Server-sent events named `snapshot`',
  response: { 200: { type: 'string' } },
}
