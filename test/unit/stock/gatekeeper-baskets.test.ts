import { describe, expect, it } from 'vitest'
import { createStock, type BasketResult, type Order, type Stock } from '../../../src/stock/index.js'
import { settle, virtualClock } from '../../support/virtual-clock.js'
import { watchedDriver } from './watched-driver.js'

const names = ['shoe', 'hat', 'sock']
const longMs = 1_000_000

/** A process with a gate, another without, and one store. */
const setUp = async ({ units = 5, onSale = 10 } = {}) => {
  const clock = virtualClock()
  const driver = watchedDriver(clock)
  const gated = createStock(driver, { clock, local: { mode: 'gate', units } })
  const other = createStock(driver, { clock })
  for (const name of names) await other.open(name, onSale)
  return { clock, driver, gated, other }
}
const basket = (orderId: string, more: Partial<Order> = {}): Order[] => names.map((sku) => ({ sku, orderId, ...more }))
const soldOutBy = (refusedBy: number, available = 0): BasketResult => {
  return { ok: false, refusedBy, reason: 'sold-out', available }
}
/** Sells all of a SKU elsewhere, and lets the gate find that out. */
const sellOut = async (other: Stock, gated: Stock, sku: string): Promise<void> => {
  const { available } = await other.level(sku)
  await other.sell({ sku, orderId: 'all', quantity: available })
  for (const orderId of ['asks', 'asks again']) await gated.sell({ sku, orderId })
  await settle()
}

describe('a basket at the gate', () => {
  it('is refused with no trip while one of its SKUs is sold out, and says which', async () => {
    const { driver, gated, other } = await setUp()
    await sellOut(other, gated, 'hat')
    const before = { ...driver.trips }
    const options = [undefined, { holdMs: 1_000 }]
    for (const option of options) {
      expect(await gated.sellTogether(basket('a'), option)).toEqual(soldOutBy(1))
      expect(await gated.sellTogether([...basket('a').slice(0, 1), ...basket('a')], option)).toEqual(soldOutBy(2))
      expect(await gated.sellTogether(basket('a').toReversed(), option)).toEqual(soldOutBy(1))
    }
    expect(driver.trips).toEqual(before)
    expect(await gated.sellTogether([basket('a')[0], basket('a')[2]] as Order[])).toEqual({ ok: true, replayed: false })
  })

  it('is asked about before it is refused, once for all who wait, and sells nothing of it', async () => {
    const { driver, gated, other, clock } = await setUp()
    await sellOut(other, gated, 'sock')
    await clock.advance(250)
    const before = { ...driver.trips }
    const results = await Promise.all(Array.from({ length: 50 }, (_, i) => gated.sellTogether(basket(`late-${i}`))))
    expect(results).toEqual(Array(50).fill(soldOutBy(2)))
    expect(driver.trips).toEqual({ ...before, level: before.level + 1 })
    for (const sku of ['shoe', 'hat']) expect(await other.level(sku)).toMatchObject({ sold: 0 })
  })

  it('is decided although another SKU of the round trip cannot be asked about', async () => {
    const { driver, gated, other, clock } = await setUp()
    await sellOut(other, gated, 'hat')
    await clock.advance(250)
    driver.faults.level = 'break'
    const baskets = ['hat', 'sock'].map((sku) => gated.sellTogether([{ sku, orderId: 'a' }]))
    const [unasked, decided] = await Promise.allSettled(baskets)
    expect(unasked).toMatchObject({ status: 'rejected', reason: { applied: 'no' } })
    expect(decided).toMatchObject({ status: 'fulfilled', value: { ok: true } })
  })

  it('goes to the backend if its order may be recorded, and gets the answer that it had', async () => {
    const { driver, gated, other } = await setUp({ onSale: 1 })
    expect(await other.sellTogether(basket('theirs'))).toEqual({ ok: true, replayed: false })
    for (const sku of names) {
      for (const orderId of ['asks', 'asks again']) await gated.sell({ sku, orderId })
    }
    await settle()
    const before = driver.trips.sellTogether
    expect(await gated.sellTogether(basket('theirs'))).toEqual({ ok: true, replayed: true })
    await expect(gated.sellTogether(basket('theirs'), { holdMs: 1_000 })).rejects.toThrow('is sold already')
    expect(driver.trips.sellTogether).toBe(before + 2)
    expect(await gated.sellTogether(basket('new'))).toEqual(soldOutBy(0))
    expect(driver.trips.sellTogether).toBe(before + 2)
  })

  it('that the backend refuses makes the gate ask, and one that is not on sale makes no gate', async () => {
    const { driver, gated, other } = await setUp({ onSale: 3 })
    await other.sell({ sku: 'hat', orderId: 'all', quantity: 3 })
    expect(await gated.sellTogether(basket('a'))).toEqual(soldOutBy(1))
    expect(driver.trips).toMatchObject({ level: 0, sellTogether: 1 })
    expect(await gated.sellTogether(basket('b'))).toEqual(soldOutBy(1))
    await settle()
    expect(driver.trips).toMatchObject({ level: 1 })
    expect(await gated.sellTogether(basket('c'))).toEqual(soldOutBy(1))
    expect(driver.trips.sellTogether).toBeLessThanOrEqual(2)
    const nowhere = [{ sku: 'nowhere', orderId: 'a' }]
    for (let i = 0; i < 3; i++) {
      expect(await gated.sellTogether(nowhere)).toEqual({ ...soldOutBy(0), reason: 'not-open' })
    }
    expect(driver.trips.level).toBe(1)
  })

  it('sells when units have come back, and mixes refusals of the gate and answers of the backend', async () => {
    const { driver, gated, other, clock } = await setUp()
    await sellOut(other, gated, 'hat')
    await clock.advance(250)
    const results = await Promise.all([
      gated.sellTogether(basket('a')),
      gated.sellTogether(basket('b').slice(2)),
      gated.sellTogether(basket('c').slice(0, 2)),
      gated.sellTogether([{ sku: 'shoe', orderId: 'd', quantity: 99 }]),
    ])
    expect(results).toEqual([soldOutBy(1), { ok: true, replayed: false }, soldOutBy(1), soldOutBy(0, 10)])
    const restocking = other.restock('hat', 2)
    await clock.advance(250)
    await restocking
    expect(await gated.sellTogether(basket('e'))).toEqual({ ok: true, replayed: false })
    expect(await other.level('hat')).toMatchObject({ available: 1 })
    expect(driver.trips.sellTogether).toBe(2)
  })

  it('sends nothing when it cannot ask', async () => {
    const { driver, gated, other, clock } = await setUp()
    await sellOut(other, gated, 'hat')
    await clock.advance(250)
    driver.faults.level = 'break'
    const before = driver.trips.sellTogether
    await expect(gated.sellTogether(basket('a'))).rejects.toMatchObject({
      ...{ code: 'ERR_STORE_UNAVAILABLE', applied: 'no' },
    })
    expect(driver.trips.sellTogether).toBe(before)
  })

  it('says nothing of a SKU whose sale has ended', async () => {
    const { gated, other, clock } = await setUp()
    await sellOut(other, gated, 'hat')
    await other.remove('hat')
    await clock.advance(250)
    expect(await gated.sellTogether(basket('a'))).toEqual({ ...soldOutBy(1), reason: 'not-open' })
    expect(await other.open('hat', 1)).toBe(true)
    expect(await gated.sellTogether(basket('a'))).toEqual({ ok: true, replayed: false })
  })
})

describe('the right to say sold out', () => {
  it('ends with the next hold, whose unit is sold at that moment', async () => {
    const { driver, gated, other, clock } = await setUp({ onSale: 1 })
    const sku = 'shoe'
    await other.reserve({ sku, orderId: 'held', holdMs: 100 })
    for (const orderId of ['asks', 'asks again']) await gated.sell({ sku, orderId })
    await settle()
    await clock.advance(99)
    const before = { ...driver.trips }
    expect(await gated.sell({ sku, orderId: 'early' })).toMatchObject({ reason: 'sold-out' })
    expect(await gated.reserve({ sku, orderId: 'early', holdMs: 5 })).toMatchObject({ reason: 'sold-out' })
    expect(await gated.sellTogether(basket('early'))).toEqual(soldOutBy(0))
    expect(driver.trips).toEqual(before)
    await clock.advance(1)
    expect(await gated.sell({ sku, orderId: 'buyer' })).toEqual({ ok: true, replayed: false })
    expect(await other.level(sku)).toEqual({ total: 1, available: 0, held: 0, sold: 1 })
  })

  it('is not prolonged past holds by others who ask, nor by holds that end one after the other', async () => {
    const { gated, other, driver, clock } = await setUp({ onSale: 20 })
    const second = createStock(driver, { clock, local: { mode: 'gate', units: 5 } })
    const sku = 'shoe'
    for (let i = 1; i <= 20; i++) await other.reserve({ sku, orderId: `held-${i}`, holdMs: 10 * i + (i % 3) })
    const sold: number[] = []
    for (let ms = 0; ms < 230; ms++) {
      for (const [i, stock] of [gated, second].entries()) {
        const result = await stock.sell({ sku, orderId: `${ms}-${i}` })
        if (result.ok) sold.push(ms)
      }
      await settle()
      await clock.advance(1)
    }
    expect(sold).toEqual(Array.from({ length: 20 }, (_, i) => 10 * (i + 1) + ((i + 1) % 3)))
    expect(await other.level(sku)).toEqual({ total: 20, available: 0, held: 0, sold: 20 })
  })

  it('outlasts holds of others that end later', async () => {
    const { driver, gated, other, clock } = await setUp({ onSale: 1 })
    const sku = 'shoe'
    await other.reserve({ sku, orderId: 'held', holdMs: longMs })
    for (const orderId of ['asks', 'asks again']) await gated.sell({ sku, orderId })
    await settle()
    const before = { ...driver.trips }
    await clock.advance(249)
    await gated.sell({ sku, orderId: 'late' })
    expect(driver.trips).toEqual(before)
  })

  it('is not used on the id of a hold, a cancelled or an expired order', async () => {
    const { gated, other, clock } = await setUp({ onSale: 3 })
    const sku = 'shoe'
    const hold = { sku, orderId: 'held', holdMs: longMs }
    await other.reserve(hold)
    for (const orderId of ['cancelled', 'expired']) await other.reserve({ ...hold, orderId, holdMs: 5 })
    await other.cancel('cancelled', sku)
    await clock.advance(5)
    await sellOut(other, gated, sku)
    expect(await gated.reserve(hold)).toEqual({ ok: true, replayed: true })
    await expect(gated.sell({ sku, orderId: 'held' })).rejects.toThrow('is held already')
    for (const orderId of ['cancelled', 'expired']) {
      expect(await gated.sell({ sku, orderId })).toEqual({ ok: false, reason: 'spent', available: 0 })
    }
    expect(await gated.confirm('held', sku)).toBe('done')
  })

  it('lets the units of a cancelled hold wait, and those of an ended one not', async () => {
    const { gated, other, clock } = await setUp({ onSale: 2 })
    const sku = 'shoe'
    await other.reserve({ sku, orderId: 'long', holdMs: longMs })
    await other.reserve({ sku, orderId: 'short', holdMs: 200 })
    for (const orderId of ['asks', 'asks again']) await gated.sell({ sku, orderId })
    await settle()
    const cancelling = other.cancel('long', sku)
    await clock.advance(199)
    expect(await other.sell({ sku, orderId: 'a' })).toMatchObject({ reason: 'sold-out' })
    await clock.advance(1)
    expect(await cancelling).toBe('done')
    const results = await Promise.all(['a', 'b', 'c'].map((orderId) => gated.sell({ sku, orderId })))
    expect(results.filter(({ ok }) => ok)).toHaveLength(2)
  })
})
