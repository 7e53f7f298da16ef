import { Redis } from 'ioredis'
import { afterAll, describe, expect, it, onTestFinished } from 'vitest'
import { createStock, memoryStock, type Stock, type StockDriver } from '../../src/stock/index.js'
import { redisStock } from '../../src/stock/redis/index.js'
import { describeWithServices, uniqueName } from '../services/vitest.js'
import { until } from '../support/until.js'
import { virtualClock } from '../support/virtual-clock.js'

const sku = 'ticket'
const timeoutMs = 120_000
const gate = { timeoutMs, local: { mode: 'gate', units: 50 } } as const

/** Lets a front say sold out by itself, until it does so without a round trip. */
async function sellOut(front: Stock, name: string): Promise<void> {
  for (let i = 0; i < 3; i++) expect(await front.sell({ sku, orderId: `${name} ${i}` })).toMatchObject({ ok: false })
}

function returningUnits(newDrivers: () => readonly StockDriver[]): void {
  /** Four processes, each with a gate that says sold out. */
  const setUp = async () => {
    const fronts = newDrivers().map((driver) => createStock(driver, gate))
    onTestFinished(async () => void (await Promise.all(fronts.map((front) => front.close()))))
    const [first] = fronts as [Stock, ...Stock[]]
    await first.open(sku, 10)
    return { fronts, first }
  }
  let asked = 0
  const sellOne = async (front: Stock): Promise<boolean> => (await front.sell({ sku, orderId: `new ${++asked}` })).ok

  type Return = (first: Stock) => Promise<unknown>
  const returns: [string, Return, Return][] = [
    ['a restock', (first) => first.sell({ sku, orderId: 'all', quantity: 10 }), (first) => first.restock(sku, 10)],
    [
      'a refund',
      (first) => first.sell({ sku, orderId: 'all', quantity: 10 }),
      async (first) => expect(await first.refund('all', sku)).toBe('done'),
    ],
    [
      'a cancellation',
      (first) => first.reserve({ sku, orderId: 'all', quantity: 10, holdMs: 600_000 }),
      async (first) => expect(await first.cancel('all', sku)).toBe('done'),
    ],
    [
      'a confirmation of a part',
      (first) => first.reserve({ sku, orderId: 'all', quantity: 10, holdMs: 600_000 }),
      async (first) => expect(await first.confirm('all', sku, { quantity: 2 })).toBe('done'),
    ],
  ]
  it.each(returns)('are on sale in every process when %s has been answered', async (_what, take, giveBack) => {
    const { fronts, first } = await setUp()
    expect(await take(first)).toMatchObject({ ok: true })
    await Promise.all(fronts.map((front, i) => sellOut(front, `front ${i}`)))
    await giveBack(first)
    for (const front of fronts) expect(await sellOne(front)).toBe(true)
    for (const front of fronts) expect(await sellOne(front)).toBe(true)
  })

  it('are on sale in every process when a hold has ended', async () => {
    const { fronts, first } = await setUp()
    expect(await first.reserve({ sku, orderId: 'all', quantity: 10, holdMs: 1_500 })).toMatchObject({ ok: true })
    for (const [i, front] of fronts.entries()) {
      const refused = await front.sell({ sku, orderId: `front ${i}` })
      // A busy machine may come to it when the hold has ended.
      if (refused.ok) return
    }
    // The server's clock has the last word: what it says is on sale, every process sells.
    await until(async () => (await first.level(sku)).held === 0)
    for (const front of fronts) expect(await sellOne(front)).toBe(true)
    expect(await first.confirm('all', sku)).toBe('expired')
  })
}

describe('units that come back behind gates, in memory', () =>
  returningUnits(() => {
    const driver = memoryStock()
    return [driver, driver, driver, driver]
  }))

describeWithServices('units that come back behind gates, in Redis', ['redis'], ({ redis: server }) => {
  returningUnits(() => {
    const prefix = `${uniqueName('return')}:`
    return [0, 1, 2, 3].map(() => {
      const redis = new Redis(server.url)
      onTestFinished(() => redis.disconnect())
      return redisStock(redis, { prefix })
    })
  })
})

/** Holds of one unit each, and what was answered. */
const reserveMany = (stock: Stock, count: number, holdMs: (i: number) => number) =>
  Promise.all(Array.from({ length: count }, (_, i) => stock.reserve({ sku, orderId: `o${i}`, holdMs: holdMs(i) })))

const many = 10_000

describe('many holds in memory', () => {
  it('end at once, and a buyer of all their units gets them', async () => {
    const clock = virtualClock()
    const stock = createStock(memoryStock({ clock }), { clock, timeoutMs })
    await stock.open(sku, many)
    expect((await reserveMany(stock, many, () => 60_000)).every(({ ok }) => ok)).toBe(true)
    await clock.advance(59_999)
    const all = { sku, orderId: 'all', quantity: many }
    expect(await stock.sell(all)).toEqual({ ok: false, reason: 'sold-out', available: 0 })
    await clock.advance(1)
    expect(await stock.sell(all)).toEqual({ ok: true, replayed: false })
    expect(await stock.confirm('o0', sku)).toBe('expired')
    expect(await stock.level(sku)).toEqual({ total: many, available: 0, held: 0, sold: many })
  })

  it('end each at its time, 100,000 of different lengths', async () => {
    const clock = virtualClock()
    const stock = createStock(memoryStock({ clock }), { clock, timeoutMs })
    const count = 100_000
    await stock.open(sku, count)
    // Every length once, in an order without a pattern.
    await reserveMany(stock, count, (i) => 1 + ((i * 7_919) % count))
    for (let ended = 12_500; ended <= count; ended += 12_500) {
      await clock.advance(12_500)
      expect(await stock.level(sku)).toMatchObject({ available: ended, held: count - ended })
    }
  })
})

describeWithServices('many holds in Redis', ['redis'], ({ redis: server }) => {
  const redis = new Redis(server.url)
  afterAll(() => redis.disconnect())
  const setUp = () => {
    const prefix = `${uniqueName('many')}:`
    const stock = createStock(redisStock(redis, { prefix }), { timeoutMs })
    return { stock, key: (part: string) => `${prefix}{${sku}}:${part}` }
  }

  it('end at once, and a buyer of all their units gets them', async () => {
    const { stock, key } = setUp()
    await stock.open(sku, many)
    expect((await reserveMany(stock, many, () => 5_000)).every(({ ok }) => ok)).toBe(true)
    expect(await redis.zcard(key('holds')), 'moments at which some end, one a batch at most').toBeLessThan(50)
    await until(async () => (await stock.sell({ sku, orderId: 'all', quantity: many })).ok, 'the end of all')
    expect(await stock.level(sku)).toEqual({ total: many, available: 0, held: 0, sold: many })
    expect(await redis.exists(key('holds'))).toBe(0)
    const late = await Promise.all(Array.from({ length: many }, (_, i) => stock.confirm(`o${i}`, sku)))
    expect(new Set(late)).toEqual(new Set(['expired']))
    expect(await stock.level(sku)).toEqual({ total: many, available: 0, held: 0, sold: many })
  })

  it('of different lengths are as many as are recorded at every moment, 100,000 of them', async () => {
    const { stock, key } = setUp()
    const count = 100_000
    await stock.open(sku, count)
    // From 5 s to an hour, each length about as likely as the double.
    const first = await reserveMany(stock, count, (i) => 5_000 * 720 ** (((i * 7_919) % count) / count))
    expect(first.every(({ ok }) => ok)).toBe(true)
    expect(await redis.zcard(key('holds')), 'moments at which some end').toBeLessThan(count / 2)
    const heldNow = async (): Promise<number> => {
      let held = 0
      for await (const { state } of stock.orders(sku)) held += Number(state === 'held')
      return held
    }
    await until(async () => (await stock.level(sku)).available > 0, 'the end of some')
    const before = await stock.level(sku)
    const listed = await heldNow()
    const after = await stock.level(sku)
    expect(listed).toBeLessThanOrEqual(before.held)
    expect(listed).toBeGreaterThanOrEqual(after.held)
    const outcomes = await Promise.all(Array.from({ length: count }, (_, i) => stock.cancel(`o${i}`, sku)))
    expect(outcomes.every((outcome) => outcome === 'done' || outcome === 'expired')).toBe(true)
    expect(await stock.level(sku)).toEqual({ total: count, available: count, held: 0, sold: 0 })
    expect(await redis.exists(key('holds'))).toBe(0)
  })
})
