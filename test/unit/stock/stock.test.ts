import { Redis } from 'ioredis'
import { createClient } from 'redis'
import { describe, expect, it, onTestFinished } from 'vitest'
import { channels, type EventChannel, type StockOrderEvent, type TripEvent } from '../../../src/index.js'
import { ClosedError, StoreUnavailableError } from '../../../src/core/errors.js'
import { memoryLock } from '../../../src/lock/index.js'
import { createRateLimiter, memoryTokenBucket } from '../../../src/ratelimit/index.js'
import { createStock, memoryStock, type Order, type StockDriver, type StockOptions } from '../../../src/stock/index.js'
import { redisStock } from '../../../src/stock/redis/index.js'
import { offlineClients } from '../../support/redis-clients.js'
import { virtualClock } from '../../support/virtual-clock.js'
import { watchedDriver } from './watched-driver.js'

const sku = 'shoe'
const limits = { name: 'any', quotas: [{ capacity: 1, refill: 1, perMs: 1 }] } as const
const untyped = <T>(value: unknown): T => value as T
const setUp = (options: StockOptions = {}) => {
  const clock = virtualClock()
  const driver = watchedDriver(clock)
  return { clock, driver, stock: createStock(driver, { clock, ...options }) }
}
const trips = ({ trips }: { trips: Record<string, number> }): number => Object.values(trips).reduce((a, b) => a + b)

const badIds: [unknown, typeof TypeError][] = [
  [undefined, TypeError],
  [null, TypeError],
  [7, TypeError],
  [{}, TypeError],
  ['', RangeError],
  ['x'.repeat(8_193), RangeError],
  ['é'.repeat(4_097), RangeError],
  ['half \ud800 pair', RangeError],
]
const badUnits: [unknown, typeof TypeError][] = [
  ['1', TypeError],
  [null, TypeError],
  [1n, TypeError],
  [0, RangeError],
  [1.5, RangeError],
  [NaN, RangeError],
  [Infinity, RangeError],
  [2 ** 53, RangeError],
]

describe('createStock: wrong arguments', () => {
  it.each(badIds)('refuses the id %s with a %o before anything is sent', async (id, error) => {
    const { stock, driver } = setUp()
    const bad = id as string
    await expect(stock.sell({ sku, orderId: bad })).rejects.toThrow(error)
    await expect(stock.sell({ sku: bad, orderId: 'a' })).rejects.toThrow(error)
    await expect(stock.sell({ sku, orderId: 'a', buyer: { id: bad, limit: 1 } })).rejects.toThrow(error)
    await expect(stock.open(bad, 1)).rejects.toThrow(error)
    await expect(stock.level(bad)).rejects.toThrow(error)
    await expect(stock.remove(bad)).rejects.toThrow(error)
    await expect(stock.find(bad, sku)).rejects.toThrow(error)
    await expect(stock.find('a', bad)).rejects.toThrow(error)
    expect(() => stock.orders(bad)).toThrow(error)
    if (id !== undefined) await expect(stock.restock(sku, 1, { id: bad })).rejects.toThrow(error)
    expect(trips(driver)).toBe(0)
  })

  it.each([...badUnits, [-1, RangeError] as const])('refuses %s units with a %o', async (units, error) => {
    const { stock, driver } = setUp()
    const bad = units as number
    await expect(stock.open(sku, bad)).rejects.toThrow(error)
    await expect(stock.sell({ sku, orderId: 'a', quantity: bad })).rejects.toThrow(error)
    await expect(stock.sell({ sku, orderId: 'a', buyer: { id: 'b', limit: bad } })).rejects.toThrow(error)
    if (bad !== -1) await expect(stock.restock(sku, bad)).rejects.toThrow(error)
    expect(trips(driver)).toBe(0)
  })

  it('names what was wrong', async () => {
    const { stock } = setUp()
    await expect(stock.sell({ sku, orderId: 'a', quantity: -3 })).rejects.toThrow(/quantity .*-3/)
    await expect(stock.sell({ sku, orderId: '' })).rejects.toThrow('orderId')
    await expect(stock.sell({ sku, orderId: 'a', buyer: { id: 'b', limit: 0 } })).rejects.toThrow(/buyer.limit .*0/)
    await expect(stock.sell(undefined as unknown as Order)).rejects.toThrow(TypeError)
  })

  it('refuses options that make no sense', () => {
    const make = (options: unknown) => () => createStock(memoryStock(), options as StockOptions)
    expect(make({ timeoutMs: 0 })).toThrow(RangeError)
    expect(make({ timeoutMs: '5' })).toThrow(TypeError)
    expect(make({ local: { mode: 'gate', units: 0 } })).toThrow(RangeError)
    expect(make({ local: { mode: 'gate' } })).toThrow(TypeError)
    expect(make({ local: { mode: 'lease', units: 5, leaseMs: 1_000 } })).toThrow(TypeError)
    expect(make({ local: { units: 5 } })).toThrow(TypeError)
    expect(make(null)).toThrow(/options .*null/)
    expect(make({ timeoutMs: undefined, local: undefined, clock: undefined })).not.toThrow()
  })

  it.each([
    ['createStock', (options: object) => createStock(memoryStock(), options)],
    [
      'createStock: local',
      (options: object) => createStock(memoryStock(), { local: { mode: 'gate', units: 1, ...options } }),
    ],
    ['memoryStock', (options: object) => memoryStock(options)],
    ['redisStock', (options: object) => redisStock(client, options)],
  ])('%s names an option that it does not know, and takes one that is undefined', (call, make) => {
    expect(() => make({ ttl: 5 })).toThrow(TypeError)
    expect(() => make({ ttl: 5 })).toThrow(`${call}: there is no option "ttl", only `)
    expect(() => make({})).not.toThrow()
    if (call.includes('local')) return
    for (const wrong of [5, 'shop:', null])
      expect(() => make(untyped(wrong))).toThrow(`${call}: options must be an object with`)
  })

  it('names a field that an order does not have, and those that it has', async () => {
    const { stock, driver } = setUp()
    const orders: [order: object, message: string][] = [
      [{ sku, orderId: 'a', qty: 3 }, 'sell: there is no option "qty", only orderId, sku, quantity, buyer'],
      [
        { sku, orderId: 'a', buyer: { id: 'b', limit: 1, max: 2 } },
        'sell: buyer: there is no option "max", only id, limit',
      ],
      [{ sku, orderID: 'a' }, '"orderID"'],
    ]
    for (const [order, message] of orders) {
      await expect(stock.sell(order as Order)).rejects.toThrow(TypeError)
      await expect(stock.sell(order as Order)).rejects.toThrow(message)
    }
    await expect(stock.restock(sku, 1, { ID: 'a' } as object)).rejects.toThrow(
      'restock: there is no option "ID", only id',
    )
    expect(trips(driver)).toBe(0)
    const whole = { sku, orderId: 'a', quantity: undefined, buyer: undefined }
    expect(await stock.sell(whole)).toMatchObject({ reason: 'not-open' })
  })

  it('checks the name, and the listener of background errors', () => {
    const make = (options: object) => () => createStock(memoryStock(), options)
    expect(make({ name: '' })).toThrow(RangeError)
    expect(make({ name: 5 })).toThrow('name must be a string, got 5')
    expect(make({ onBackgroundError: 'log' })).toThrow('onBackgroundError must be a function, got "log"')
    expect(make({ name: undefined, onBackgroundError: undefined })).not.toThrow()
  })

  const client = new Redis({ lazyConnect: true })
  const nodeRedis = createClient()
  const wrongDrivers: [what: string, driver: unknown, named: RegExp][] = [
    ['nothing', undefined, /undefined/],
    ['null', null, /null/],
    ['a client', client, /Redis/],
    ['a client of node-redis', nodeRedis, /package redis \(node-redis\)/],
    ['a URL', 'redis://localhost', /redis:\/\/localhost/],
    ['a limiter', createRateLimiter(memoryTokenBucket(), limits), /an object with take/],
    ['a driver of locks', memoryLock(), /an object with fences/],
    ['the function that makes a driver', memoryStock, /Function.*memoryStock/],
    ['a driver of another module', { take: () => undefined }, /take/],
    ['a part of a driver', { ...memoryStock(), find: undefined }, /adjust/],
  ]
  it.each(wrongDrivers)('refuses %s for a driver, and names what came', (_what, driver, named) => {
    const make = () => createStock(driver as StockDriver)
    expect(make).toThrow(TypeError)
    expect(make).toThrow(/createStock: the driver must be a StockDriver/)
    expect(make).toThrow(named)
  })

  it.each([
    ['nothing', undefined, /undefined/],
    ['null', null, /null/],
    ['a URL', 'redis://localhost', /redis:/],
    ['options of a client', { host: 'localhost' }, /with host/],
    ['a driver', memoryStock(), /adjust/],
    ['a client of node-redis', createClient(), /package redis \(node-redis\)/],
  ])('refuses %s for a client, and names what came', (_what, redis, named) => {
    const make = () => redisStock(redis as unknown as Redis)
    expect(make).toThrow(TypeError)
    expect(make).toThrow(/redis must be a Redis or Cluster of ioredis/)
    expect(make).toThrow(named)
  })

  it('takes every client that is promised', () => {
    for (const redis of offlineClients()) expect(() => createStock(redisStock(redis))).not.toThrow()
  })

  it('refuses a prefix that it cannot put a hash tag behind', () => {
    expect(() => redisStock(client, { prefix: 7 as unknown as string })).toThrow(TypeError)
    expect(() => redisStock(client, { prefix: 'app{}:' })).toThrow(RangeError)
  })

  it('refuses an order whose buyer is no buyer', async () => {
    const { stock } = setUp()
    for (const buyer of [null, 'ann', 7, {}]) {
      await expect(stock.sell({ sku, orderId: 'a', buyer } as unknown as Order)).rejects.toThrow(TypeError)
    }
    await expect(stock.sell({ sku, orderId: 'a', buyer: undefined })).resolves.toBeDefined()
  })
})

describe('createStock', () => {
  it('joins the orders of one SKU into trips, and SKUs do not wait for each other', async () => {
    const { stock, driver } = setUp()
    await Promise.all([stock.open('a', 100), stock.open('b', 100)])
    const results = await Promise.all(
      Array.from({ length: 50 }, (_, i) => stock.sell({ sku: i % 2 ? 'a' : 'b', orderId: `${i}` })),
    )
    expect(results.every((one) => one.ok)).toBe(true)
    expect(driver.trips.sell).toBe(2)
  })

  it('is not confused by an order that its caller changes after the call', async () => {
    const { stock } = setUp()
    await stock.open(sku, 10)
    const order = { sku, orderId: 'a', quantity: 2, buyer: { id: 'ann', limit: 2 } }
    const selling = stock.sell(order)
    Object.assign(order, { orderId: 'b', quantity: 9, sku: 'other' })
    order.buyer.id = 'bob'
    await selling
    expect(await stock.find('a', sku)).toEqual({ orderId: 'a', quantity: 2, state: 'sold', buyerId: 'ann' })
  })

  it('gives up after 1,000 ms by default, and says whether it was sent', async () => {
    const { stock, driver, clock } = setUp()
    await stock.open(sku, 10)
    driver.faults.sell = 'hang'
    const first = stock.sell({ sku, orderId: 'a' }).catch((error: unknown) => error)
    await clock.advance(1)
    const second = stock.sell({ sku, orderId: 'b' }).catch((error: unknown) => error)
    await clock.advance(998)
    expect(await Promise.race([first, Promise.resolve('waits')])).toBe('waits')
    await clock.advance(1)
    expect(await first).toMatchObject({ code: 'ERR_STORE_UNAVAILABLE', applied: 'unknown' })
    await clock.advance(1)
    expect(await second).toMatchObject({ code: 'ERR_STORE_UNAVAILABLE' })
    expect(clock.pending).toBe(0)
  })

  it('settles an order whose answer was lost when it is asked again', async () => {
    const { stock, driver } = setUp()
    await stock.open(sku, 10)
    driver.faults.sell = 'break'
    await expect(stock.sell({ sku, orderId: 'a' })).rejects.toMatchObject({ applied: 'unknown' })
    delete driver.faults.sell
    expect(await stock.sell({ sku, orderId: 'a' })).toEqual({ ok: true, replayed: true })
    expect(await stock.level(sku)).toMatchObject({ available: 9, sold: 1 })
  })

  it('says that nothing was applied when nothing was sent', async () => {
    const { stock, driver } = setUp()
    for (const verb of ['adjust', 'sell', 'level', 'find'] as const) driver.faults[verb] = 'refuse'
    const calls = [stock.open(sku, 1), stock.sell({ sku, orderId: 'a' }), stock.level(sku), stock.find('a', sku)]
    for (const call of calls) await expect(call).rejects.toMatchObject({ applied: 'no' })
  })

  it('ends a removal in time, also when its second trip is silent', async () => {
    const { stock, driver, clock } = setUp({ timeoutMs: 100 })
    await stock.open(sku, 1)
    driver.faults.adjust = 'hang'
    const removing = stock.remove(sku).catch((error: unknown) => error)
    await clock.advance(100)
    expect(await removing).toBeInstanceOf(StoreUnavailableError)
    await clock.advance(0)
    expect(clock.pending).toBe(0)
  })

  it('shows an order once although the driver shows it twice', async () => {
    const clock = virtualClock()
    const driver = memoryStock({ clock })
    const page = (ids: string[], next?: string) => ({
      epoch: 'e',
      orders: ids.map((orderId) => ({ orderId, quantity: 1, state: 'sold' as const })),
      next,
    })
    const twice = createStock({
      ...driver,
      orders: async (_sku, cursor) => (cursor === undefined ? page(['a', 'b'], '1') : page(['b', 'c'])),
    })
    const seen: string[] = []
    for await (const { orderId } of twice.orders(sku)) seen.push(orderId)
    expect(seen).toEqual(['a', 'b', 'c'])
  })

  it('does not mix the orders of two sales into one list', async () => {
    let sale = 0
    const mixed = createStock({
      ...memoryStock(),
      orders: async () => ({ epoch: `${sale++}`, orders: [{ orderId: 'a', quantity: 1, state: 'sold' }], next: '1' }),
    })
    const orders = mixed.orders(sku)[Symbol.asyncIterator]()
    expect((await orders.next()).done).toBe(false)
    await expect(orders.next()).rejects.toThrow(RangeError)
  })

  it('finishes a removal whose first question is under way when it closes', async () => {
    const { stock, driver } = setUp()
    await stock.open(sku, 1)
    const removing = stock.remove(sku)
    await stock.close()
    await removing
    expect(await createStock(driver).sell({ sku, orderId: 'a' })).toMatchObject({ reason: 'not-open' })
  })

  it('finishes what is under way when it closes, and is disposable', async () => {
    const { stock } = setUp()
    await stock.open(sku, 1)
    const selling = stock.sell({ sku, orderId: 'a' })
    await stock[Symbol.asyncDispose]()
    expect(await selling).toEqual({ ok: true, replayed: false })
    for (const call of [stock.find('a', sku), stock.remove(sku), stock.restock(sku, 1)]) {
      await expect(call).rejects.toThrow(ClosedError)
    }
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

  it.each([undefined, 'gate'] as const)('tell of every order that was answered, with local %s', async (mode) => {
    const events = listenTo(channels.stockOrder)
    const { stock, driver, clock } = setUp({ name: 'shop', ...(mode && { local: { mode, units: 5 } }) })
    const sell = (order: Partial<Order> & { readonly orderId: string }) => stock.sell({ sku, ...order })
    await sell({ orderId: 'early' })
    await stock.open(sku, 2)
    await sell({ orderId: 'a' })
    await sell({ orderId: 'a' })
    await sell({ orderId: 'b', buyer: { id: 'ann', limit: 1 } })
    await sell({ orderId: 'c', quantity: 2 })
    // With the gate, the process itself answers these, once it has the recorded ids.
    for (const orderId of ['d', 'e']) await sell({ orderId })
    const conflict = sell({ orderId: 'a', quantity: 2 })
    await expect(conflict).rejects.toThrow()
    driver.faults.sell = 'hang'
    const hanging = sell({ orderId: 'b' })
    hanging.catch(() => undefined)
    await clock.advance(1_000)
    await expect(hanging).rejects.toThrow(StoreUnavailableError)
    await expect(stock.sell({ sku } as Order)).rejects.toThrow(TypeError)
    expect(events.map(({ orderId, quantity, outcome }) => [orderId, quantity, outcome])).toEqual([
      ['early', 1, 'not-open'],
      ['a', 1, 'sold'],
      ['a', 1, 'replayed'],
      ['b', 1, 'sold'],
      ['c', 2, 'sold-out'],
      ['d', 1, 'sold-out'],
      ['e', 1, 'sold-out'],
      ['a', 2, 'failed'],
      ['b', 1, 'failed'],
    ])
    for (const event of events) expect(event).toMatchObject({ name: 'shop', sku })
    const [first, failed] = [events[0], events.at(-1)] as [StockOrderEvent, StockOrderEvent]
    expect(first.durationMs).toBe(0)
    expect(first).not.toHaveProperty('error')
    expect(failed).toMatchObject({ durationMs: 1_000, error: { code: 'ERR_STORE_UNAVAILABLE' } })
  })

  it('tell of a buyer who has had enough', async () => {
    const events = listenTo(channels.stockOrder)
    const { stock } = setUp()
    await stock.open(sku, 9)
    await stock.sell({ sku, orderId: 'a', quantity: 2, buyer: { id: 'ann', limit: 1 } })
    expect(events).toMatchObject([{ name: 'stock', outcome: 'buyer-limit' }])
  })

  it('of trips carry the name', async () => {
    const events: TripEvent[] = listenTo(channels.trip)
    const { stock } = setUp({ name: 'shop' })
    await stock.open(sku, 9)
    await stock.sell({ sku, orderId: 'a' })
    expect(events.map(({ module, name, verb }) => `${module} ${name} ${verb}`)).toEqual([
      'stock shop adjust',
      'stock shop sell',
    ])
  })
})
