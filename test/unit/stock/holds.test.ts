import { describe, expect, it, onTestFinished } from 'vitest'
import { ClosedError, OrderConflictError, StoreUnavailableError } from '../../../src/core/errors.js'
import { channels, type EventChannel } from '../../../src/index.js'
import { createStock, memoryStock, type HoldOrder, type Order, type StockOptions } from '../../../src/stock/index.js'
import { virtualClock } from '../../support/virtual-clock.js'
import { watchedDriver } from './watched-driver.js'

const sku = 'shoe'
const setUp = (options: StockOptions = {}) => {
  const clock = virtualClock()
  const driver = watchedDriver(clock)
  return { clock, driver, stock: createStock(driver, { clock, ...options }) }
}
const tripsOf = ({ trips }: { trips: Record<string, number> }): number =>
  Object.values(trips).reduce((sum, one) => sum + one, 0)
const longest = 'x'.repeat(8_193)
const fine = { sku, orderId: 'a' }

type Wrong = [what: string, args: unknown[], error: ErrorConstructor, message: string]
const holdLength: Wrong[] = [
  ['no length', [{ ...fine }], TypeError, 'holdMs must be a number of milliseconds, got undefined'],
  ['a length that is text', [{ ...fine, holdMs: '5' }], TypeError, 'holdMs must be a number of milliseconds, got "5"'],
  ['a bigint', [{ ...fine, holdMs: 5n }], TypeError, 'holdMs must be a number of milliseconds, got 5n'],
  ['no time at all', [{ ...fine, holdMs: 0 }], RangeError, 'holdMs must be 1 ms or more, got 0'],
  ['less than a millisecond', [{ ...fine, holdMs: 0.5 }], RangeError, 'holdMs must be 1 ms or more, got 0.5'],
  ['a negative length', [{ ...fine, holdMs: -1 }], RangeError, 'holdMs must be 1 ms or more, got -1'],
  ['NaN', [{ ...fine, holdMs: NaN }], RangeError, 'holdMs must be 1 ms or more, got NaN'],
]
const wrongHolds: Wrong[] = [
  ...holdLength,
  ['no order', [], TypeError, 'order must be an object, got undefined'],
  ['no SKU', [{ orderId: 'a', holdMs: 5 }], TypeError, 'sku must be a string, got undefined'],
  ['no id', [{ sku, orderId: '', holdMs: 5 }], RangeError, 'orderId must not be empty'],
  ['no units', [{ ...fine, quantity: 0, holdMs: 5 }], RangeError, 'quantity must be an integer of at least 1'],
  [
    'another field',
    [{ ...fine, holdMs: 5, qty: 1 }],
    TypeError,
    'reserve: there is no option "qty", only orderId, sku, quantity, buyer, holdMs',
  ],
  [
    'a buyer with another field',
    [{ ...fine, holdMs: 5, buyer: { id: 'b', limit: 1, max: 2 } }],
    TypeError,
    'reserve: buyer: there is no option "max", only id, limit',
  ],
]
const wrongSettlements: Wrong[] = [
  ['no id', [undefined, sku], TypeError, 'orderId must be a string, got undefined'],
  ['an empty id', ['', sku], RangeError, 'orderId must not be empty'],
  ['half a character', ['\ud800', sku], RangeError, 'orderId must be well-formed Unicode, got '],
  ['no SKU', ['a'], TypeError, 'sku must be a string, got undefined'],
  ['a long SKU', ['a', longest], RangeError, 'sku must be at most 8192 bytes of UTF-8, got 8193: '],
]
const wrongConfirmations: Wrong[] = [
  ['units that are text', ['a', sku, { quantity: '1' }], TypeError, 'quantity must be a number, got "1"'],
  ['no units', ['a', sku, { quantity: 0 }], RangeError, 'quantity must be an integer of at least 1'],
  ['half a unit', ['a', sku, { quantity: 0.5 }], RangeError, 'quantity must be an integer of at least 1'],
  ['an unknown option', ['a', sku, { units: 1 }], TypeError, 'confirm: there is no option "units", only quantity'],
  ['a number for options', ['a', sku, 2], TypeError, 'confirm: options must be an object with quantity, got 2'],
]
const two = [fine, { sku: 'hat', orderId: 'a' }]
const wrongBaskets: Wrong[] = [
  ['nothing', [], TypeError, 'orders must be an array, got undefined'],
  ['an order', [fine], TypeError, 'orders must be an array, got '],
  ['an empty list', [[]], RangeError, 'orders must have 1 to 1000 elements, got 0'],
  ['a long list', [Array(1_001).fill(fine)], RangeError, 'orders must have 1 to 1000 elements, got 1001'],
  ['a hole', [[fine, undefined]], TypeError, 'order must be an object, got undefined'],
  ['a wrong order', [[...two, { sku, orderId: 7 }]], TypeError, 'orderId must be a string, got 7'],
  [
    'a hold among the orders',
    [[{ ...fine, holdMs: 5 }]],
    TypeError,
    'sellTogether: there is no option "holdMs", only orderId, sku, quantity, buyer',
  ],
  ['an unknown option', [two, { hold: 5 }], TypeError, 'sellTogether: there is no option "hold", only holdMs'],
  ['null for options', [two, null], TypeError, 'sellTogether: options must be an object with holdMs, got null'],
  ['a bad length', [two, { holdMs: 0 }], RangeError, 'holdMs must be 1 ms or more, got 0'],
  [
    'two ids',
    [[...two, { sku, orderId: 'b' }]],
    RangeError,
    'orders of one SKU must have one id in a basket, got "a" and "b" of "shoe"',
  ],
  [
    'two buyers',
    [['b', 'c'].map((id) => ({ ...fine, buyer: { id, limit: 1 } }))],
    RangeError,
    'order "a" of "shoe" must have one buyer and limit in a basket',
  ],
  [
    'too many units',
    [[{ ...fine, quantity: Number.MAX_SAFE_INTEGER }, fine]],
    RangeError,
    'the sum of the quantities must be ',
  ],
]

describe('wrong arguments are refused before anything is sent', () => {
  const cases = [
    ...wrongHolds.map((wrong) => ['reserve', ...wrong] as const),
    ...(['confirm', 'cancel', 'refund'] as const).flatMap((verb) =>
      wrongSettlements.map((wrong) => [verb, ...wrong] as const),
    ),
    ...wrongConfirmations.map((wrong) => ['confirm', ...wrong] as const),
    ...wrongBaskets.map((wrong) => ['sellTogether', ...wrong] as const),
  ]
  it.each(cases)('%s: %s', async (verb, _what, args, error, message) => {
    const { stock, driver } = setUp()
    const calls = stock as unknown as Record<string, (...args: unknown[]) => Promise<unknown>>
    const failure: unknown = await calls[verb]?.(...args).catch((reason: unknown) => reason)
    expect(failure).toBeInstanceOf(error)
    expect((failure as Error).message.slice(0, message.length)).toBe(message)
    expect(tripsOf(driver)).toBe(0)
  })

  it('also by a stock that was closed, which turns away the rest', async () => {
    const { stock } = setUp()
    await stock.close()
    await expect(stock.reserve({ ...fine, holdMs: 0 })).rejects.toThrow(RangeError)
    await expect(stock.sellTogether([])).rejects.toThrow(RangeError)
    const calls = [
      stock.reserve({ ...fine, holdMs: 5 }),
      stock.sellTogether(two),
      stock.confirm('a', sku),
      stock.cancel('a', sku),
      stock.refund('a', sku),
    ]
    for (const call of calls) await expect(call).rejects.toThrow(ClosedError)
  })
})

describe('holds', () => {
  it('end at their moment, on the clock of the backend', async () => {
    const { stock, clock } = setUp()
    await stock.open(sku, 1)
    await stock.reserve({ ...fine, holdMs: 99.5 })
    expect(await stock.find('a', sku)).toEqual({ orderId: 'a', quantity: 1, state: 'held', expiresInMs: 100 })
    await clock.advance(99)
    expect(await stock.find('a', sku)).toMatchObject({ expiresInMs: 1 })
    expect(await stock.sell({ sku, orderId: 'b' })).toMatchObject({ reason: 'sold-out' })
    await clock.advance(1)
    expect(await stock.find('a', sku)).toBeUndefined()
    expect(await stock.confirm('a', sku)).toBe('expired')
    expect(await stock.sell({ sku, orderId: 'b' })).toEqual({ ok: true, replayed: false })
    expect(clock.pending).toBe(0)
  })

  it('are not confused by what their caller changes after the call', async () => {
    const { stock } = setUp()
    await Promise.all([stock.open(sku, 9), stock.open('hat', 9)])
    const order = { sku, orderId: 'a', quantity: 2, buyer: { id: 'ann', limit: 2 }, holdMs: 1_000 }
    const { holdMs: _, ...inBasket } = { ...order, sku: 'hat', buyer: { ...order.buyer } }
    const orders = [inBasket]
    const calls = [stock.reserve(order), stock.sellTogether(orders)]
    for (const one of [order, inBasket]) {
      Object.assign(one, { orderId: 'b', quantity: 9, sku: 'other', holdMs: 1 })
      one.buyer.id = 'bob'
    }
    orders.length = 0
    await Promise.all(calls)
    const known = { orderId: 'a', quantity: 2, buyerId: 'ann' }
    expect(await stock.find('a', sku)).toEqual({ ...known, state: 'held', expiresInMs: 1_000 })
    expect(await stock.find('a', 'hat')).toEqual({ ...known, state: 'sold' })
  })

  it('may be orders of a class of their caller', async () => {
    class Wish implements HoldOrder {
      readonly orderId = 'a'
      get sku() {
        return sku
      }
      get holdMs() {
        return 50
      }
    }
    const { stock } = setUp()
    await stock.open(sku, 1)
    expect(await stock.reserve(new Wish())).toEqual({ ok: true, replayed: false })
  })

  it('share trips with sales, settlements of one kind with each other', async () => {
    const { stock, driver } = setUp()
    await stock.open(sku, 300)
    const ids = Array.from({ length: 100 }, (_, i) => `${i}`)
    const orders = ids.map((orderId, i) =>
      i % 2 ? stock.sell({ sku, orderId }) : stock.reserve({ sku, orderId, holdMs: 1_000 }),
    )
    expect((await Promise.all(orders)).every(({ ok }) => ok)).toBe(true)
    expect(driver.trips.sell).toBe(1)
    await Promise.all(ids.flatMap((orderId) => [stock.confirm(orderId, sku), stock.refund(orderId, sku)]))
    expect(driver.trips.settle).toBe(2)
  })

  it('are settled when the call is repeated whose answer was lost', async () => {
    const { stock, driver } = setUp()
    await stock.open(sku, 9)
    await stock.reserve({ ...fine, quantity: 3, holdMs: 1_000 })
    await stock.reserve({ sku, orderId: 'b', holdMs: 1_000 })
    driver.faults.settle = 'break'
    for (const call of [stock.confirm('a', sku, { quantity: 2 }), stock.cancel('b', sku)]) {
      await expect(call).rejects.toMatchObject({ code: 'ERR_STORE_UNAVAILABLE', applied: 'unknown' })
    }
    delete driver.faults.settle
    expect(await stock.confirm('a', sku, { quantity: 2 })).toBe('already')
    expect(await stock.cancel('b', sku)).toBe('already')
    expect(await stock.level(sku)).toEqual({ total: 9, available: 7, held: 0, sold: 2 })
    driver.faults.sellTogether = 'break'
    await expect(stock.sellTogether([{ sku, orderId: 'c' }])).rejects.toMatchObject({ applied: 'unknown' })
    delete driver.faults.sellTogether
    expect(await stock.sellTogether([{ sku, orderId: 'c' }])).toEqual({ ok: true, replayed: true })
    for (const verb of ['settle', 'sellTogether'] as const) driver.faults[verb] = 'refuse'
    const calls = [stock.refund('a', sku), stock.sellTogether([fine])]
    for (const call of calls) await expect(call).rejects.toMatchObject({ applied: 'no' })
  })
})

describe('units that come back', () => {
  /** A sale in which some process may say sold out for the next 250 ms. */
  const soldOut = async (options?: StockOptions) => {
    const { stock, driver, clock } = setUp(options)
    await stock.open(sku, 5)
    await stock.reserve({ ...fine, quantity: 2, holdMs: 60_000 })
    await stock.reserve({ sku, orderId: 'b', holdMs: 60_000 })
    await stock.sell({ sku, orderId: 'c', quantity: 2 })
    const trip = { signal: new AbortController().signal, sending: () => undefined }
    expect(await driver.level(sku, { below: 1, forMs: 250 }, trip)).toMatchObject({ closedForMs: 250 })
    return { stock, driver, clock }
  }

  it.each([
    ['cancel', (stock: ReturnType<typeof createStock>) => stock.cancel('a', sku)],
    ['refund', (stock: ReturnType<typeof createStock>) => stock.refund('c', sku)],
    ['a partial confirm', (stock: ReturnType<typeof createStock>) => stock.confirm('a', sku, { quantity: 1 })],
  ])('are on sale when %s resolves, and not before', async (_what, giveBack) => {
    const { stock, clock } = await soldOut()
    await clock.advance(50)
    let done = false
    const settled = giveBack(stock).finally(() => (done = true))
    await clock.advance(199)
    expect(done).toBe(false)
    expect(await stock.sell({ sku, orderId: 'd' })).toMatchObject({ reason: 'sold-out', available: 0 })
    await clock.advance(1)
    expect([done, await settled]).toEqual([true, 'done'])
    expect(await stock.sell({ sku, orderId: 'd' })).toEqual({ ok: true, replayed: false })
    expect(clock.pending).toBe(0)
  })

  it('are waited for by no call that gives none back', async () => {
    const { stock } = await soldOut()
    expect(await stock.confirm('b', sku)).toBe('done')
    expect(await stock.confirm('a', sku, { quantity: 2 })).toBe('done')
    expect(await stock.confirm('a', sku)).toBe('already')
    expect(await stock.cancel('a', sku)).toBe('confirmed')
    expect(await stock.refund('nobody', sku)).toBe('unknown')
  })

  it('are waited for no longer than timeoutMs', async () => {
    const { stock, clock } = await soldOut({ timeoutMs: 40 })
    const cancelling = stock.cancel('a', sku)
    await clock.advance(40)
    expect(await cancelling).toBe('done')
  })
})

describe('events', () => {
  const listenTo = <Event>(channel: EventChannel<Event>): Event[] => {
    const events: Event[] = []
    const note = (event: Event): void => void events.push(event)
    channel.subscribe(note)
    onTestFinished(() => void channel.unsubscribe(note))
    return events
  }

  it.each([undefined, 'gate'] as const)('tell of holds and of each order of a basket, with local %s', async (mode) => {
    const events = listenTo(channels.stockOrder)
    const { stock } = setUp({ name: 'shop', ...(mode && { local: { mode, units: 5 } }) })
    await stock.open(sku, 4)
    await stock.open('hat', 2)
    const hold = { ...fine, quantity: 2, holdMs: 1_000 }
    await stock.reserve(hold)
    await stock.reserve(hold)
    await stock.sellTogether([
      { sku, orderId: 'b' },
      { sku: 'hat', orderId: 'c' },
      { sku, orderId: 'b' },
    ])
    await stock.sellTogether([{ sku: 'hat', orderId: 'd' }], { holdMs: 1_000 })
    await stock.sellTogether([{ sku: 'hat', orderId: 'd' }], { holdMs: 1_000 })
    await stock.sellTogether([
      { sku: 'hat', orderId: 'e' },
      { sku, orderId: 'e' },
    ])
    await stock.cancel('a', sku)
    await stock.reserve(hold)
    await expect(stock.sell({ sku: 'hat', orderId: 'd' })).rejects.toThrow(OrderConflictError)
    await expect(
      stock.sellTogether([
        { ...fine, orderId: 'f' },
        { sku: 'hat', orderId: 'd' },
      ]),
    ).rejects.toThrow()
    await expect(stock.reserve({ ...hold, holdMs: 0 })).rejects.toThrow(RangeError)
    expect(events.map((event) => [event.sku, event.orderId, event.quantity, event.outcome])).toEqual([
      [sku, 'a', 2, 'held'],
      [sku, 'a', 2, 'replayed'],
      [sku, 'b', 2, 'sold'],
      ['hat', 'c', 1, 'sold'],
      ['hat', 'd', 1, 'held'],
      ['hat', 'd', 1, 'replayed'],
      ['hat', 'e', 1, 'sold-out'],
      [sku, 'e', 1, 'sold-out'],
      [sku, 'a', 2, 'spent'],
      ['hat', 'd', 1, 'failed'],
      [sku, 'f', 1, 'failed'],
      ['hat', 'd', 1, 'failed'],
    ])
    for (const event of events) expect(event).toMatchObject({ name: 'shop', durationMs: 0 })
    expect(events.at(-1)).toMatchObject({ error: { code: 'ERR_ORDER_CONFLICT' } })
    expect(events[0]).not.toHaveProperty('error')
  })

  it('tell of every settlement that was answered', async () => {
    const events = listenTo(channels.stockSettlement)
    const { stock, driver, clock } = setUp({ name: 'shop' })
    await stock.open(sku, 9)
    for (const orderId of ['a', 'b', 'c']) await stock.reserve({ sku, orderId, holdMs: orderId === 'c' ? 10 : 5_000 })
    await clock.advance(10)
    await stock.confirm('a', sku)
    await stock.confirm('a', sku)
    await stock.cancel('a', sku)
    await stock.cancel('b', sku)
    await stock.confirm('b', sku)
    await stock.confirm('c', sku)
    await stock.refund('a', sku)
    await stock.refund('nobody', sku)
    await stock.reserve({ sku, orderId: 'd', holdMs: 5_000 })
    await expect(stock.confirm('d', sku, { quantity: 2 })).rejects.toThrow(RangeError)
    driver.faults.settle = 'hang'
    const hanging = stock.cancel('d', sku)
    hanging.catch(() => undefined)
    await clock.advance(1_000)
    await expect(hanging).rejects.toThrow(StoreUnavailableError)
    await expect(stock.cancel('', sku)).rejects.toThrow(RangeError)
    expect(events.map(({ verb, orderId, outcome }) => [verb, orderId, outcome])).toEqual([
      ['confirm', 'a', 'done'],
      ['confirm', 'a', 'already'],
      ['cancel', 'a', 'confirmed'],
      ['cancel', 'b', 'done'],
      ['confirm', 'b', 'cancelled'],
      ['confirm', 'c', 'expired'],
      ['refund', 'a', 'done'],
      ['refund', 'nobody', 'unknown'],
      ['confirm', 'd', 'failed'],
      ['cancel', 'd', 'failed'],
    ])
    for (const event of events) expect(event).toMatchObject({ name: 'shop', sku })
    expect(events[0]).toMatchObject({ durationMs: 0 })
    expect(events[0]).not.toHaveProperty('error')
    expect(events.at(-2)).toMatchObject({ error: { name: 'RangeError' } })
    expect(events.at(-1)).toMatchObject({ durationMs: 1_000, error: { code: 'ERR_STORE_UNAVAILABLE' } })
  })
})

it('keeps the trips of baskets within 500 orders, each basket whole', async () => {
  const sizes: number[] = []
  const driver = memoryStock()
  const stock = createStock({
    ...driver,
    sellTogether(baskets, trip) {
      sizes.push(baskets.reduce((sum, orders) => sum + orders.length, 0))
      return driver.sellTogether(baskets, trip)
    },
  })
  const names = Array.from({ length: 200 }, (_, i) => `sku-${i}`)
  await Promise.all(names.map((name) => stock.open(name, 9)))
  const basket = (orderId: string): Order[] => names.map((name) => ({ sku: name, orderId }))
  const results = await Promise.all(['a', 'b', 'c', 'd', 'e'].map((orderId) => stock.sellTogether(basket(orderId))))
  expect(results.every(({ ok }) => ok)).toBe(true)
  expect(sizes).toEqual([400, 400, 200])
})
