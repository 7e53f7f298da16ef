import { problemSchema } from '../http.js'
import { orderIdPattern } from './orders.js'
import { saleIdPattern } from './sales.js'

// The parts of JSON schemas that services which sell have in common, and the routes that are the same.

export const integer = (minimum: number, maximum: number) => ({ type: 'integer', minimum, maximum }) as const
export const count = { type: 'integer' } as const
export const string = { type: 'string' } as const
export const boolean = { type: 'boolean' } as const
export const object = <Properties extends object>(properties: Properties, required: readonly string[] = []) =>
  ({ type: 'object', properties, required, additionalProperties: false }) as const

export const id = { type: 'string', pattern: saleIdPattern } as const
const orderId = {
  type: 'string',
  pattern: orderIdPattern,
  description: 'Any printable ASCII without spaces; a UUID, say',
} as const
/** Half a surrogate pair has no UTF-8, so no store could keep it; for SQLite a text ends at its first NUL. */
export const text = (maxLength: number) =>
  ({ type: 'string', minLength: 1, maxLength, pattern: '^[^\\u0000\\uD800-\\uDFFF]*$' }) as const
export const buyer = text(128)
export const units = integer(1, 2 ** 31 - 1)

export const level = object({ total: count, available: count, held: count, sold: count })
const problem = problemSchema
export const problems = <Status extends number>(...statuses: Status[]) =>
  Object.fromEntries(statuses.map((status) => [status, problem])) as Record<Status, typeof problem>

/** What is told of a sale, but for its door. */
export const sale = {
  id: string,
  title: string,
  priceCents: count,
  quantity: count,
  opensAtMs: count,
  limitPerBuyer: count,
  state: { type: 'string', enum: ['upcoming', 'open', 'suspended', 'sold-out'] },
  available: count,
} as const
/** What a sale is opened with, but for its door. */
export const opening = {
  id,
  title: text(200),
  priceCents: integer(0, 2 ** 31 - 1),
  quantity: units,
  opensAtMs: { ...integer(0, Number.MAX_SAFE_INTEGER), description: 'Milliseconds since 1970; absent: now' },
  limitPerBuyer: { ...units, default: 1 },
} as const
/** The answer to an order that sold in one step. */
export const accepted = object({
  orderId: string,
  state: { type: 'string', enum: ['accepted'] },
  replayed: boolean,
})

export const saleParams = object({ id: string }, ['id'])
export const orderParams = object({ id: string, orderId: { ...string, minLength: 1 } }, ['id', 'orderId'])

/** The key of an order, which makes asking again safe. */
export const keyHeader = {
  type: 'object',
  required: ['idempotency-key'],
  properties: { 'idempotency-key': orderId },
} as const

export const audit = {
  summary: 'Whether sold = recorded orders = rows = stock difference',
  params: saleParams,
  response: {
    200: object({
      settled: boolean,
      ok: boolean,
      lag: count,
      total: count,
      sold: count,
      recordedOrders: count,
      recordedUnits: count,
      rows: count,
      rowUnits: count,
      rejected: count,
      stockDifference: count,
      databaseDifference: count,
      missingRows: count,
      extraRows: count,
      unmatchedPayments: { ...count, description: 'Payments taken for orders that are not sold, where money is taken' },
    }),
    ...problems(404, 503),
  },
}
export const reconcile = {
  summary: 'Rebuild the stock from the database',
  description:
    'The service does so by itself when it finds that the stock has lost data. Does nothing to a stock that has everything the database has.',
  params: saleParams,
  response: { 200: object({ rebuilt: boolean, orders: count, published: count }), ...problems(404, 503) },
}
export const live = {
  summary: 'Everything, twice a second',
  description: 'Server-sent events named `snapshot`',
  response: { 200: { type: 'string' } },
}

/** An order, and its end as it comes: `ending` says which events there are last. */
export const ordersOf = (order: object, ending: string) =>
  ({
    getOrder: {
      summary: 'What became of an order',
      params: orderParams,
      response: { 200: order, ...problems(404, 422, 503) },
    },
    orderEvents: {
      summary: 'The same as a stream of events',
      description: `Server-sent events named \`order\`; ends once the order is ${ending}`,
      params: orderParams,
      response: { 200: { type: 'string' }, ...problems(404, 422, 503) },
    },
  }) as const
