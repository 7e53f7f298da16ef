import { describe, expect, it } from 'vitest'
import { ClosedError } from '../../../src/index.js'
import { createStock, memoryStock, type StockOptions } from '../../../src/stock/index.js'
import { settle, virtualClock } from '../../support/virtual-clock.js'

const sku = 'shoe'
const trip = { signal: new AbortController().signal, sending: () => undefined }

/** A stock whose SKU can be found frozen, as after a failover: this driver never falls back by itself. */
const setUp = (options: StockOptions = {}) => {
  const clock = virtualClock()
  const driver = memoryStock({ clock })
  const stock = createStock(driver, { clock, ...options })
  const freeze = (forMs = 0) => driver.adjust(sku, [{ kind: 'freeze', token: 'other', quantity: 0, forMs }], trip)
  const sell = (orderId: string) => stock.sell({ sku, orderId }).catch((error: unknown) => error)
  return { clock, driver, stock, freeze, sell }
}
const frozen = { name: 'StockFrozenError', code: 'ERR_STORE_UNAVAILABLE', applied: 'no' }

describe('onFrozen', () => {
  it('is called once for all who meet the frozen SKU, and its orders put it on sale again', async () => {
    const calls: unknown[] = []
    const { stock, freeze, sell } = setUp({
      onFrozen: async (name, reconcile) => calls.push(name, await reconcile([{ orderId: 'a' }])),
    })
    await stock.open(sku, 5)
    await freeze()
    const found = await Promise.all([sell('x'), sell('y'), stock.confirm('x', sku).catch((error: unknown) => error)])
    for (const error of found) expect(error).toMatchObject(frozen)
    await settle()
    expect(calls).toEqual([sku, { recorded: 1, unsold: [], unknown: [] }])
    expect(await stock.sell({ sku, orderId: 'a' })).toEqual({ ok: true, replayed: true })
  })

  it('is called by a level and by a basket as well, and only for the SKU that is frozen', async () => {
    const calls: string[] = []
    const { stock, freeze, clock } = setUp({ onFrozen: (name) => calls.push(name) })
    await stock.open(sku, 5)
    await stock.open('other', 5)
    await freeze()
    await stock.level(sku)
    await settle()
    expect(calls).toEqual([sku])
    await clock.advance(1_000)
    const basket = stock.sellTogether([
      { sku: 'other', orderId: 'a' },
      { sku, orderId: 'a' },
    ])
    await expect(basket).rejects.toMatchObject(frozen)
    await settle()
    expect(calls).toEqual([sku, sku])
  })

  it('is not called while another process reconciles, and is when that one has gone', async () => {
    let calls = 0
    const { clock, stock, freeze, sell } = setUp({ onFrozen: () => calls++ })
    await stock.open(sku, 5)
    await freeze(10_000)
    for (let second = 0; second < 9; second++) {
      await sell('x')
      await settle()
      await clock.advance(1_000)
    }
    expect(calls).toBe(0)
    await clock.advance(2_000)
    await sell('x')
    await settle()
    expect(calls).toBe(1)
  })

  it('that fails is told as a background error, and called again a second later', async () => {
    const errors: unknown[] = []
    let calls = 0
    const { clock, stock, freeze, sell } = setUp({
      onBackgroundError: (error) => errors.push(error),
      async onFrozen(_name, reconcile) {
        if (calls++ === 0) throw new Error('the database is away')
        await reconcile([])
      },
    })
    await stock.open(sku, 5)
    await freeze()
    await sell('x')
    await settle()
    expect(errors).toEqual([new Error('the database is away')])
    await sell('x')
    await settle()
    expect(calls).toBe(1)
    await clock.advance(1_000)
    await sell('x')
    await settle()
    expect(await sell('x')).toEqual({ ok: true, replayed: false })
  })

  it('keeps the SKU for as long as it takes', async () => {
    let go: () => void = () => undefined
    const { clock, driver, stock, freeze, sell } = setUp({
      timeoutMs: 60_000,
      async onFrozen(_name, reconcile) {
        await new Promise<void>((resolve) => (go = resolve))
        await reconcile([])
      },
    })
    await stock.open(sku, 5)
    await freeze()
    await sell('x')
    await settle()
    for (let i = 0; i < 30; i++) {
      await clock.advance(1_000)
      const [other] = await driver.adjust(sku, [{ kind: 'freeze', token: 'b', quantity: 0, forMs: 1 }], trip)
      expect(other?.outcome).toBe('refused')
    }
    go()
    await settle()
    expect(await sell('x')).toEqual({ ok: true, replayed: false })
  })
})

describe('close', () => {
  /** Orders of which the last comes when the test says so. */
  const slowOrders = () => {
    let go: () => void = () => undefined
    const wait = new Promise<void>((resolve) => (go = resolve))
    let taken = 0
    async function* orders() {
      for (const orderId of ['a', 'b']) {
        taken++
        yield { orderId }
        await wait
      }
    }
    return { orders: orders(), go: () => go(), taken: () => taken }
  }

  it('waits for a reconciliation by hand, and turns other calls away meanwhile', async () => {
    const { stock, driver } = setUp()
    await stock.open(sku, 5)
    const { orders, go } = slowOrders()
    const reconciling = stock.reconcile(sku, orders)
    await settle()
    let isClosed = false
    const closing = stock.close().then(() => (isClosed = true))
    await settle()
    const calls = [
      () => stock.sell({ sku, orderId: 'x' }),
      () => stock.open(sku, 1),
      () => stock.restock(sku, 1),
      () => stock.level(sku),
      () => stock.find('a', sku),
      () => stock.confirm('a', sku),
      () => stock.remove(sku),
      () => stock.reconcile(sku, []),
      () => stock.orders(sku)[Symbol.asyncIterator]().next(),
    ]
    for (const call of calls) await expect(call).rejects.toThrow(ClosedError)
    expect(isClosed).toBe(false)
    go()
    expect(await reconciling).toEqual({ recorded: 2, unsold: [], unknown: [] })
    await closing
    expect((await driver.level(sku, undefined, trip))?.frozen).toBe(false)
  })

  it('leaves the SKU of an onFrozen that does not end to other processes at once', async () => {
    const errors: unknown[] = []
    const reconciled: Promise<unknown>[] = []
    const { orders, go, taken } = slowOrders()
    const { stock, driver, freeze, sell, clock } = setUp({
      onBackgroundError: (error) => errors.push(error),
      onFrozen(_name, reconcile) {
        reconciled.push(reconcile(orders).catch((error: unknown) => error))
        return new Promise(() => undefined)
      },
    })
    await stock.open(sku, 5)
    await freeze()
    await sell('x')
    await settle()
    expect(reconciled).toHaveLength(1)
    await stock.close()
    const [other] = await driver.adjust(sku, [{ kind: 'freeze', token: 'b', quantity: 0, forMs: 1 }], trip)
    expect(other?.outcome).toBe('done')
    go()
    expect(await reconciled[0]).toBeInstanceOf(ClosedError)
    expect(taken()).toBe(2)
    expect(errors).toEqual([])
    await clock.advance(60_000)
    expect(clock.pending).toBe(0)
  })

  it('is not needed for the process to end while onFrozen is under way', async () => {
    const { clock, ...bench } = setUp()
    const referenced = new Set<object>()
    const watched = {
      ...clock,
      after(delayMs: number, run: () => void, unref?: boolean) {
        const timer = {}
        if (!unref) referenced.add(timer)
        const cancel = clock.after(delayMs, () => {
          referenced.delete(timer)
          run()
        })
        return () => {
          referenced.delete(timer)
          cancel()
        }
      },
    }
    let called = false
    const onFrozen = (): Promise<void> => {
      called = true
      return new Promise(() => undefined)
    }
    const stock = createStock(bench.driver, { clock: watched, onFrozen })
    await stock.open(sku, 5)
    await bench.freeze()
    await stock.sell({ sku, orderId: 'x' }).catch(() => undefined)
    await settle()
    expect(called).toBe(true)
    expect(referenced.size).toBe(0)
    await clock.advance(10_000)
    expect(referenced.size).toBe(0)
  })
})

describe('reconcile', () => {
  it('records no order while a gate may refuse it', async () => {
    const { clock, driver, stock: reconciling } = setUp()
    const stock = createStock(driver, { clock, local: { mode: 'gate', units: 3 } })
    await stock.open(sku, 1)
    await stock.sell({ sku, orderId: 'a' })
    for (const orderId of ['b', 'c']) {
      expect(await stock.sell({ sku, orderId })).toMatchObject({ reason: 'sold-out' })
      await settle()
    }
    await reconciling.remove(sku)
    const done = reconciling.reconcile(sku, [{ orderId: 'own' }], { total: 10 })
    let refused = 0
    for (let i = 0; i < 30; i++) {
      await clock.advance(10)
      const answer = await stock.sell({ sku, orderId: 'own' }).catch(() => undefined)
      if (answer?.ok !== false) continue
      refused++
      expect(await driver.find(sku, ['own'], trip)).toEqual([undefined])
    }
    expect(refused).toBeGreaterThan(10)
    expect(await done).toEqual({ recorded: 1, unsold: [], unknown: [] })
    expect(await stock.sell({ sku, orderId: 'own' })).toEqual({ ok: true, replayed: true })
  })

  it('that had no answer to its freeze keeps the SKU from nobody', async () => {
    const { clock, driver, stock: other } = setUp()
    const lossy = {
      ...driver,
      async adjust(...args: Parameters<typeof driver.adjust>) {
        const [, [change], trip] = args
        const reply = await driver.adjust(...args)
        trip.sending()
        return change?.kind === 'freeze' ? new Promise<never>(() => undefined) : reply
      },
    }
    const stock = createStock(lossy, { clock })
    await stock.open(sku, 5)
    const reconciling = stock.reconcile(sku, []).catch((error: unknown) => error)
    await clock.advance(1_000)
    expect(await reconciling).toMatchObject({ applied: 'unknown' })
    expect(await other.reconcile(sku, [])).toEqual({ recorded: 0, unsold: [], unknown: [] })
  })

  it('records each order of a cursor that uses one object for all of its rows', async () => {
    const { stock } = setUp()
    await stock.open(sku, 2)
    function* rows() {
      const row = { orderId: '' }
      for (const orderId of ['a', 'b', 'c']) yield Object.assign(row, { orderId })
    }
    expect(await stock.reconcile(sku, rows())).toEqual({ recorded: 2, unsold: [{ orderId: 'c' }], unknown: [] })
    for (const orderId of ['a', 'b']) expect(await stock.sell({ sku, orderId })).toEqual({ ok: true, replayed: true })
  })

  it.each<[unknown, unknown, string]>([
    [undefined, undefined, 'orders must be iterable, got undefined'],
    [new Set([1]).size, undefined, 'orders must be iterable, got 1'],
    [[{}], undefined, 'orderId must be a string, got undefined'],
    [['a'], undefined, 'order must be an object, got "a"'],
    [[{ orderId: 'a', quantity: -1 }], undefined, 'quantity must be an integer of at least 1, got -1'],
    [[{ orderId: 'a', buyerId: '' }], undefined, 'buyerId must not be empty'],
    [[{ orderId: 'a', sku: 'b' }], undefined, 'reconcile: there is no option "sku", only orderId, quantity, buyerId'],
    [[], { total: 0 }, 'total must be an integer of at least 1, got 0'],
    [[], { all: 1 }, 'reconcile: there is no option "all", only total'],
  ])('refuses %j with %j', async (orders, options, message) => {
    const { stock } = setUp()
    await stock.open(sku, 5)
    await expect(stock.reconcile(sku, orders as [], options as object)).rejects.toThrow(message)
    await expect(stock.reconcile('', [])).rejects.toThrow('sku must not be empty')
    await stock.reconcile(sku, [])
    expect(await stock.level(sku)).toEqual({ total: 5, available: 5, held: 0, sold: 0 })
  })
})
