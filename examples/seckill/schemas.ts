import {
  boolean,
  buyer,
  count,
  id,
  integer,
  keyHeader,
  level,
  object,
  orderParams,
  problems,
  saleParams,
  string,
  text,
  units,
} from '../shared/selling/schemas.js'

// JSON schemas of every route: they check what comes, compile what goes, and make the page at /docs.

const door = {
  ...object(
    {
      capacity: integer(1, Number.MAX_SAFE_INTEGER),
      refill: { type: 'number', exclusiveMinimum: 0, maximum: 1e9 },
      perMs: { type: 'number', exclusiveMinimum: 0, maximum: 1e9 },
      initial: integer(0, Number.MAX_SAFE_INTEGER),
    },
    ['capacity', 'refill', 'perMs', 'initial'],
  ),
  description: 'A token bucket: holds `capacity`, gains `refill` every `perMs`, starts with `initial`',
} as const

const sale = object({
  id: string,
  title: string,
  priceCents: count,
  quantity: count,
  opensAtMs: count,
  limitPerBuyer: count,
  state: { type: 'string', enum: ['upcoming', 'open', 'suspended', 'sold-out'] },
  available: count,
})
const order = object({
  orderId: string,
  state: { type: 'string', enum: ['accepted', 'recorded', 'rejected'] },
  quantity: count,
  buyer: string,
})

export const openSale = {
  summary: 'Open a sale',
  body: object(
    {
      id,
      title: text(200),
      priceCents: integer(0, 2 ** 31 - 1),
      quantity: units,
      opensAtMs: { ...integer(0, Number.MAX_SAFE_INTEGER), description: 'Milliseconds since 1970; absent: now' },
      limitPerBuyer: { ...units, default: 1 },
      door,
    },
    ['title', 'quantity'],
  ),
  response: { 201: sale, ...problems(409, 422, 503) },
}
export const listSales = {
  summary: 'The newest sales',
  response: { 200: object({ sales: { type: 'array', items: sale } }), ...problems(503) },
}
export const getSale = { summary: 'A sale', params: saleParams, response: { 200: sale, ...problems(404, 503) } }
export const getLevel = {
  summary: 'Where the units of a sale are',
  params: saleParams,
  response: { 200: level, ...problems(404, 503) },
}
export const buy = {
  summary: 'Buy',
  description: 'Safe to repeat: the same key buys once. After 503 repeat it with the same key.',
  params: saleParams,
  headers: keyHeader,
  body: object({ buyer, quantity: { ...units, default: 1 } }, ['buyer']),
  response: {
    202: object({ orderId: string, state: { type: 'string', enum: ['accepted'] }, replayed: boolean }),
    ...problems(404, 409, 422, 429, 503),
  },
}
export const getOrder = {
  summary: 'What became of an order',
  params: orderParams,
  response: { 200: order, ...problems(404, 503) },
}
export const orderEvents = {
  summary: 'The same as a stream of events',
  description: 'Server-sent events named `order`; ends once the order is recorded or rejected',
  params: orderParams,
  response: { 200: { type: 'string' }, ...problems(404, 503) },
}
export { audit, live, reconcile } from '../shared/selling/schemas.js'

export const startRush = {
  summary: 'Send a rush of orders',
  body: object(
    {
      saleId: id,
      requests: integer(1, 100_000_000),
      connections: { ...integer(1, 4_096), default: 256 },
      units: { ...units, default: 1_000 },
    },
    ['requests'],
  ),
  response: { 202: object({ id: string, saleId: string }), ...problems(404, 409, 422, 503) },
}
