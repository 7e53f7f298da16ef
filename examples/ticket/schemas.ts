import {
  accepted,
  boolean,
  buyer,
  count,
  integer,
  keyHeader,
  level,
  object,
  opening,
  orderParams,
  ordersOf,
  problems,
  sale as saleFields,
  saleParams,
  string,
  text,
  units,
} from '../shared/selling/schemas.js'

// JSON schemas of every route: they check what comes, compile what goes, and make the page at /docs.

const dayMs = 86_400_000
const room = {
  ...object(
    {
      perSecond: { type: 'number', minimum: 0.001, maximum: 1e6 },
      burst: integer(1, 1e9),
      lapseMs: { ...integer(1, dayMs), default: 60_000 },
    },
    ['perSecond', 'burst'],
  ),
  description:
    'Lets `perSecond` people in each second, at most `burst` at once; the others get a place in line, which can be used for `lapseMs` after it is due. Absent: everybody is let in at once',
} as const
const holdMs = { ...integer(1, dayMs), description: 'How long a buyer has to pay for what is held' } as const

const show = object({
  ...saleFields,
  holdMs: count,
  room: object({ perSecond: { type: 'number' }, burst: count, lapseMs: count }),
})
const order = object({
  orderId: string,
  state: {
    type: 'string',
    enum: ['held', 'expired', 'cancelled', 'accepted', 'recorded', 'rejected', 'refunding', 'refunded'],
  },
  quantity: count,
  buyer: string,
  endsAtMs: count,
})

export const openShow = {
  summary: 'Open a show',
  body: object(
    {
      ...opening,
      priceCents: integer(0, 1e9),
      holdMs: { ...holdMs, default: 120_000 },
      room,
    },
    ['title', 'quantity'],
  ),
  response: { 201: show, ...problems(409, 422, 503) },
}
export const listShows = {
  summary: 'The newest shows',
  response: { 200: object({ shows: { type: 'array', items: show } }), ...problems(503) },
}
export const getShow = { summary: 'A show', params: saleParams, response: { 200: show, ...problems(404, 503) } }
export const getLevel = {
  summary: 'Where the tickets of a show are',
  params: saleParams,
  response: { 200: level, ...problems(404, 503) },
}

const buying = {
  params: saleParams,
  headers: {
    ...keyHeader,
    properties: {
      ...keyHeader.properties,
      'waiting-place': {
        type: 'string',
        maxLength: 100,
        description: 'The `place` of an earlier 429 to the same key, once it is due',
      },
    },
  },
  body: object({ buyer, quantity: { ...units, default: 1 } }, ['buyer']),
}
const lined =
  ' 429 `in-line` has a place in line: ask again with the same key and the place in `Waiting-Place` from `dueAtMs` on, and before `lapsesAtMs`.'
export const grab = {
  summary: 'Buy in one step',
  description: `Safe to repeat: the same key buys once. After 503 repeat it with the same key.${lined}`,
  ...buying,
  response: {
    202: accepted,
    ...problems(403, 404, 409, 410, 422, 425, 429, 503),
  },
}
export const hold = {
  summary: 'Set tickets aside',
  description: `Until \`endsAtMs\` nobody else can buy them. Safe to repeat: the same key holds once.${lined}`,
  ...buying,
  response: {
    201: object({
      orderId: string,
      state: { type: 'string', enum: ['held'] },
      replayed: boolean,
      endsAtMs: count,
      amountCents: count,
    }),
    ...problems(403, 404, 409, 410, 422, 425, 429, 503),
  },
}
const settled = object({ orderId: string, state: string, amountCents: count, replayed: boolean })
export const pay = {
  summary: 'Pay for what is held',
  description:
    'Sells the tickets. Safe to repeat: it pays once. 410: the hold has ended, and no money was taken. The provider is a stand-in, which declines the card `declined`.',
  params: orderParams,
  body: object({ card: text(64) }, ['card']),
  response: { 200: settled, ...problems(402, 404, 409, 410, 422, 503) },
}
export const cancel = {
  summary: 'Give back what is held',
  params: orderParams,
  response: { 200: object({ orderId: string, state: string }), ...problems(404, 409, 410, 422, 503) },
}
export const refund = {
  summary: 'Give back what was bought',
  description: 'The tickets are on sale again, and the money goes back. Safe to repeat: it refunds once.',
  params: orderParams,
  response: { 200: settled, ...problems(404, 409, 422, 503) },
}
export const orders = ordersOf(order, 'no longer on its way to the database')
