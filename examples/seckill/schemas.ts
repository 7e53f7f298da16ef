import {
  accepted,
  buyer,
  count,
  id,
  integer,
  keyHeader,
  level,
  object,
  opening,
  ordersOf,
  problems,
  sale as saleFields,
  saleParams,
  string,
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

const sale = object(saleFields)
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
      ...opening,
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
    202: accepted,
    ...problems(404, 409, 422, 429, 503),
  },
}
export const orders = ordersOf(order, 'recorded or rejected')

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
