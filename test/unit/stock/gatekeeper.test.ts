import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { describe, expect, it, onTestFinished } from 'vitest'
import { channels, type BackgroundErrorEvent } from '../../../src/core/diagnostics.js'
import type { Trip } from '../../../src/core/group-commit.js'
import type { OrdersPage, StockChange } from '../../../src/stock/driver.js'
import { createGatekeeper } from '../../../src/stock/gatekeeper.js'
import { createStock, memoryStock, type SaleResult, type Stock } from '../../../src/stock/index.js'
import { settle, virtualClock } from '../../support/virtual-clock.js'
import { watchedDriver } from './watched-driver.js'

const sku = 'shoe'
const soldOut: SaleResult = { ok: false, reason: 'sold-out', available: 0 }

/** A process with a gate, another without, and one store. */
const setUp = async ({ units = 5, onSale = 10 } = {}) => {
  const clock = virtualClock()
  const driver = watchedDriver(clock)
  const gated = createStock(driver, { clock, local: { mode: 'gate', units } })
  const other = createStock(driver, { clock })
  await other.open(sku, onSale)
  return { clock, driver, gated, other }
}
const rush = (stock: Stock, count: number, name = 'rush'): Promise<SaleResult[]> =>
  Promise.all(Array.from({ length: count }, (_, i) => stock.sell({ sku, orderId: `${name}-${i}` })))
const soldOf = (results: readonly SaleResult[]): number => results.filter((one) => one.ok).length

/** Sells all there is, and gives the gate time to fetch the ids. */
const sellOut = async (stock: Stock): Promise<void> => {
  await rush(stock, 20)
  await stock.sell({ sku, orderId: 'one more' })
  await settle()
}

describe('the gate', () => {
  it('answers sold out with no trip', async () => {
    const { driver, gated } = await setUp()
    await sellOut(gated)
    const before = { ...driver.trips }
    expect(await rush(gated, 1_000, 'late')).toEqual(Array(1_000).fill(soldOut))
    expect(driver.trips).toEqual(before)
  })

  it('lets its units through and then asks, in one shared trip, before it says sold out', async () => {
    const { driver, gated } = await setUp({ units: 4, onSale: 10 })
    expect(soldOf(await rush(gated, 4))).toBe(4)
    expect(driver.trips).toMatchObject({ sell: 1, level: 0 })
    expect(soldOf(await rush(gated, 100, 'more'))).toBe(6)
    expect(driver.trips.level).toBe(1)
  })

  it('does not strand units, however small its part', async () => {
    const { gated } = await setUp({ units: 1, onSale: 10 })
    let sold = 0
    for (let i = 0; i < 30; i++) sold += soldOf(await rush(gated, 1, `turn-${i}`))
    expect(sold).toBe(10)
  })

  it('answers an id that has sold, wherever it sold', async () => {
    const { driver, gated, other } = await setUp()
    expect((await other.sell({ sku, orderId: 'theirs' })).ok).toBe(true)
    await sellOut(gated)
    const before = driver.trips.sell
    expect(await gated.sell({ sku, orderId: 'theirs' })).toEqual({ ok: true, replayed: true })
    expect(driver.trips.sell).toBe(before + 1)
  })

  it('sends every order until it has the ids, and does without them when they cannot be fetched', async () => {
    const { driver, gated, clock } = await setUp()
    driver.faults.orders = 'break'
    await sellOut(gated)
    const before = driver.trips.sell
    expect(await gated.sell({ sku, orderId: 'late' })).toEqual(soldOut)
    expect(driver.trips.sell).toBe(before + 1)
    delete driver.faults.orders
    await clock.advance(250)
    await gated.sell({ sku, orderId: 'next question' })
    await settle()
    const then = { ...driver.trips }
    expect(await gated.sell({ sku, orderId: 'late' })).toEqual(soldOut)
    expect(driver.trips).toEqual(then)
  })

  it('says what is left to an order that wants more', async () => {
    const { driver, gated } = await setUp({ onSale: 10 })
    await rush(gated, 8)
    const three = { sku, orderId: 'three', quantity: 3 }
    await gated.sell(three)
    await gated.sell(three)
    await settle()
    const before = { ...driver.trips }
    expect(await gated.sell(three)).toEqual({ ok: false, reason: 'sold-out', available: 2 })
    expect(driver.trips).toEqual(before)
    expect(await gated.sell({ ...three, quantity: 2 })).toEqual({ ok: true, replayed: false })
  })

  it('asks again after a quarter of a second, once for all who wait', async () => {
    const { driver, gated, clock } = await setUp()
    await sellOut(gated)
    await clock.advance(249)
    const before = { ...driver.trips }
    await rush(gated, 100, 'late')
    expect(driver.trips).toEqual(before)
    await clock.advance(1)
    expect(await rush(gated, 100, 'later')).toEqual(Array(100).fill(soldOut))
    expect(driver.trips).toEqual({ ...before, level: before.level + 1 })
  })

  it('sells units that come back, from the moment on at which restock is done', async () => {
    const { gated, other, clock } = await setUp()
    await sellOut(gated)
    const startedMs = clock.nowMs()
    let doneMs = 0
    const restocking = other.restock(sku, 3).then(() => (doneMs = clock.nowMs()))
    while (doneMs === 0) {
      const early = await rush(other, 1, `early at ${clock.nowMs()}`)
      if (doneMs === 0) expect(early).toEqual([soldOut])
      await clock.advance(10)
    }
    await restocking
    expect(doneMs - startedMs).toBeGreaterThan(0)
    expect(doneMs - startedMs).toBeLessThanOrEqual(250)
    expect(soldOf(await rush(gated, 10, 'again'))).toBe(3)
  })

  it('does not make restock wait when nobody says sold out, nor longer than timeoutMs', async () => {
    const { gated, other, driver, clock } = await setUp()
    const startedMs = clock.nowMs()
    await other.restock(sku, 1)
    expect(clock.nowMs()).toBe(startedMs)
    await sellOut(gated)
    const hasty = createStock(driver, { clock, timeoutMs: 40 })
    const restocking = hasty.restock(sku, 1)
    await clock.advance(40)
    await restocking
  })

  it('is never wrong about an id that sold, while units come back and sell elsewhere', async () => {
    const { gated, other, clock } = await setUp({ onSale: 1 })
    let refusals = 0
    for (let round = 0; round < 40; round++) {
      await rush(gated, 3, `fill-${round}`)
      await settle()
      const restocking = other.restock(sku, 1)
      for (let step = 0; step < 30; step++) {
        const order = { sku, orderId: `${round}-${step}` }
        const there = await other.sell(order)
        const here = await gated.sell(order)
        if (there.ok) expect(here).toEqual({ ok: true, replayed: true })
        else refusals++
        await clock.advance(1 + ((round * 7 + step * 13) % 23))
      }
      await restocking
    }
    expect(refusals).toBeGreaterThan(100)
    const { sold, available } = await other.level(sku)
    expect([sold, available]).toEqual([41, 0])
  })

  it('begins anew with a sale that is opened after a removal', async () => {
    const { gated, other, clock } = await setUp()
    await sellOut(gated)
    await other.remove(sku)
    const opening = other.open(sku, 2)
    await clock.advance(250)
    expect(await opening).toBe(true)
    expect(soldOf(await rush(gated, 5))).toBe(2)
    await other.remove(sku)
    await clock.advance(250)
    expect(await rush(gated, 1)).toEqual([{ ok: false, reason: 'not-open', available: 0 }])
  })

  it('does not say sold out when it cannot ask, and sends nothing', async () => {
    const { driver, gated, clock } = await setUp()
    await sellOut(gated)
    await clock.advance(250)
    driver.faults.level = 'break'
    const before = driver.trips.sell
    await expect(gated.sell({ sku, orderId: 'late' })).rejects.toMatchObject({
      code: 'ERR_STORE_UNAVAILABLE',
      applied: 'no',
    })
    expect(driver.trips.sell).toBe(before)
  })

  it('ends a call in time when the question takes long and the order is silent', async () => {
    const clock = virtualClock()
    const driver = watchedDriver(clock)
    const level = driver.level.bind(driver)
    const slow = { ...driver, level: (...args: Parameters<typeof level>) => later(600).then(() => level(...args)) }
    const later = (ms: number) => new Promise<void>((resolve) => void clock.after(ms, resolve))
    const stock = createStock(slow, { clock, local: { mode: 'gate', units: 1 } })
    await stock.open(sku, 10)
    await stock.sell({ sku, orderId: 'a' })
    driver.faults.sell = 'hang'
    const selling = stock.sell({ sku, orderId: 'b' }).catch((error: unknown) => error)
    await clock.advance(999)
    expect(await Promise.race([selling, Promise.resolve('waits')])).toBe('waits')
    await clock.advance(1)
    expect(await selling).toMatchObject({ code: 'ERR_STORE_UNAVAILABLE', applied: 'unknown' })
    await clock.advance(1_000)
    expect(clock.pending).toBe(0)
  })

  it('gives back what did not sell: replays, refusals, failures', async () => {
    const { driver, gated } = await setUp({ units: 3, onSale: 100 })
    const buyer = { id: 'ann', limit: 1 }
    await gated.sell({ sku, orderId: 'first', buyer })
    for (let i = 0; i < 10; i++) {
      await gated.sell({ sku, orderId: 'first', buyer })
      await gated.sell({ sku, orderId: `limit-${i}`, buyer })
      await gated.sell({ sku, orderId: 'first', quantity: 2 }).catch(() => undefined)
    }
    expect(driver.trips.level).toBe(0)
    await rush(gated, 2)
    expect(driver.trips.level).toBe(0)
  })

  it('asks and finishes when it closes while orders wait for its question', async () => {
    const { driver, gated, clock } = await setUp({ units: 1, onSale: 10 })
    await gated.sell({ sku, orderId: 'a' })
    const level = driver.level.bind(driver)
    const asked = new Promise<void>((resolve) => {
      driver.level = async (...args) => {
        resolve()
        await new Promise<void>((done) => void clock.after(50, done))
        return level(...args)
      }
    })
    const selling = rush(gated, 100)
    await asked
    const closing = gated.close()
    await clock.advance(50)
    expect(soldOf(await selling)).toBe(9)
    await closing
    expect(clock.pending).toBe(0)
  })

  it('does not fetch the ids again and again when that fails', async () => {
    const { driver, gated, clock } = await setUp()
    driver.faults.orders = 'break'
    for (let second = 0; second < 120; second++) {
      await gated.sell({ sku, orderId: `rush-${second}`, quantity: 3 })
      await gated.sell({ sku, orderId: `late-${second}`, quantity: 3 })
      await settle()
      await clock.advance(1_000)
    }
    expect(driver.trips.level).toBeGreaterThan(100)
    expect(driver.trips.orders).toBeLessThan(15)
  })
})

describe('what no order can be told', () => {
  it('is told to onBackgroundError: the ids could not be read', async () => {
    const clock = virtualClock()
    const driver = watchedDriver(clock)
    const told: unknown[] = []
    const onBackgroundError = (error: unknown): void => void told.push(error)
    const gated = createStock(driver, { name: 'shop', clock, onBackgroundError, local: { mode: 'gate', units: 5 } })
    const names: string[] = []
    const listen = ({ module, name }: BackgroundErrorEvent): void => void names.push(`${module} ${name}`)
    channels.backgroundError.subscribe(listen)
    onTestFinished(() => void channels.backgroundError.unsubscribe(listen))
    await gated.open(sku, 10)
    driver.faults.orders = 'break'
    await sellOut(gated)
    expect(names).toEqual(['stock shop'])
    expect(told).toMatchObject([{ code: 'ERR_STORE_UNAVAILABLE', cause: { message: 'connection broken' } }])
  })

  it('is not that the stock was closed or the sale ended meanwhile', async () => {
    for (const end of ['close', 'remove'] as const) {
      const { driver, clock } = await setUp()
      const told: unknown[] = []
      const onBackgroundError = (error: unknown): void => void told.push(error)
      const gated = createStock(driver, { clock, onBackgroundError, local: { mode: 'gate', units: 5 } })
      const page = driver.orders.bind(driver)
      let pages = 0
      driver.orders = async (...args) => {
        pages++
        if (end === 'remove') return undefined
        void gated.close()
        const { epoch = '' } = (await page(...args)) ?? {}
        return { epoch, orders: [], next: '1' }
      }
      await sellOut(gated).catch(() => undefined)
      await settle()
      expect([pages, told]).toEqual([1, []])
    }
  })
})

it('names what the driver blames when the question of the gate has no answer', async () => {
  const clock = virtualClock()
  const silent = (...args: unknown[]): Promise<never> => {
    const trip = args.at(-1) as Trip
    trip.blames?.(() => new Error('the client is not ready'))
    return new Promise(() => undefined)
  }
  const driver = { ...memoryStock({ clock }), level: silent }
  const stock = createStock(driver, { clock, local: { mode: 'gate', units: 1 } })
  await stock.open(sku, 5)
  await stock.sell({ sku, orderId: 'a' })
  const calls = [stock.sell({ sku, orderId: 'b' }), stock.remove(sku)]
  for (const call of calls) call.catch(() => undefined)
  await clock.advance(1_000)
  for (const call of calls) {
    await expect(call).rejects.toMatchObject({ applied: 'no', cause: { message: 'the client is not ready' } })
  }
})

describe('what a gatekeeper keeps', () => {
  const trip: Trip = { signal: new AbortController().signal, sending: () => undefined }
  const setUpKeeper = () => {
    const clock = virtualClock()
    const driver = watchedDriver(clock)
    const pages = async function* (): AsyncGenerator<OrdersPage> {}
    const backend = { ...driver, pages }
    const keeper = createGatekeeper(2, backend, () => undefined, clock)
    const sell = (name: string, orderId = 'a') =>
      keeper.sell([{ sku: name, orderId, quantity: 1, buyer: undefined }], trip)
    const change = (name: string, one: StockChange) => driver.adjust(name, [one], trip)
    const open = (name: string) => change(name, { kind: 'open', epoch: name, quantity: 1 })
    return { clock, driver, keeper, sell, change, open }
  }

  it('keeps nothing of made-up SKUs, whether the backend answers or not', async () => {
    const { driver, keeper, sell } = setUpKeeper()
    for (let i = 0; i < 1_000; i++) expect(await sell(`made up ${i}`)).toMatchObject([{ reason: 'not-open' }])
    expect(keeper.size).toBe(0)
    for (const fault of ['refuse', 'break'] as const) {
      driver.faults.sell = fault
      for (let i = 0; i < 1_000; i++) await expect(sell(`made up ${i}`)).rejects.toThrow()
      expect(keeper.size).toBe(0)
    }
  })

  it('lets go of a SKU that was removed, whether it asks or sends', async () => {
    const { keeper, sell, change, open } = setUpKeeper()
    await open(sku)
    await sell(sku)
    expect(keeper.size).toBe(1)
    await change(sku, { kind: 'remove', epoch: sku })
    expect(await sell(sku)).toMatchObject([{ reason: 'not-open' }])
    expect(keeper.size).toBe(0)
    await open(sku)
    for (const orderId of ['a', 'b']) await sell(sku, orderId)
    await change(sku, { kind: 'remove', epoch: sku })
    expect(await sell(sku, 'c')).toMatchObject([{ reason: 'not-open' }])
    expect(keeper.size).toBe(0)
  })

  it('lets go of what nobody has ordered for a minute, and of all when it closes', async () => {
    const { clock, keeper, sell, open } = setUpKeeper()
    for (let i = 0; i < 100; i++) {
      await open(`sku-${i}`)
      await sell(`sku-${i}`)
      await clock.advance(10_000)
      await sell('sku-0', `again-${i}`)
    }
    expect(keeper.size).toBeLessThan(10)
    expect(keeper.size).toBeGreaterThan(1)
    keeper.close()
    expect(keeper.size).toBe(0)
  })
})

it('leaves nothing behind of 20,000 SKUs that do not exist, in front of a backend that is away', async () => {
  setFlagsFromString('--expose-gc')
  const collect = runInNewContext('gc') as () => void
  const refused = () => Promise.reject(new Error('connection refused'))
  const reads = { level: refused, orders: refused, find: refused }
  const driver = { adjust: refused, sell: refused, sellTogether: refused, settle: refused, ...reads }
  const stock = createStock(driver, { local: { mode: 'gate', units: 120 } })
  const rush = async (name: string, count: number): Promise<void> => {
    const calls = Array.from({ length: count }, (_, i) => stock.sell({ sku: `${name}-${i}`, orderId: 'a' }))
    const outcomes = await Promise.allSettled(calls)
    expect(outcomes.filter(({ status }) => status === 'rejected')).toHaveLength(count)
  }
  const used = async (): Promise<number> => {
    await settle()
    collect()
    return process.memoryUsage().heapUsed / 1e6
  }
  await rush('warm', 5_000)
  const before = await used()
  await rush('made up', 20_000)
  expect((await used()) - before).toBeLessThan(10)
})
