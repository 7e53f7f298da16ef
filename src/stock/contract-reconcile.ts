import assert from 'node:assert/strict'
import { OrderConflictError, StockFrozenError } from '../core/errors.js'
import { refused, replayed, sku, sold, trip, type Check } from './contract-shared.js'
import type { StockDriver } from './driver.js'
import type { RecordedOrder } from './types.js'

const forMs = 60_000

/** Freezes the sale, as another process does that has found it in an older state. */
async function freeze(driver: StockDriver, token = 'other'): Promise<void> {
  const [changed] = await driver.adjust(sku, [{ kind: 'freeze', token, quantity: 0, forMs }], trip)
  assert.equal(changed?.outcome, 'done')
}
const thaw = (driver: StockDriver, token = 'other') => driver.adjust(sku, [{ kind: 'thaw', token }], trip)
const byId = (orders: readonly RecordedOrder[]): RecordedOrder[] =>
  [...orders].sort((a, b) => (a.orderId < b.orderId ? -1 : 1))

/** The part of the suite about a sale that is frozen, and made to agree with the orders of an application. */
export function stockReconcileCases(check: Check): void {
  check('a frozen sale changes for nobody, and can be read', async ({ stock, elsewhere, driver }) => {
    await stock.open(sku, 10)
    await stock.sell({ sku, orderId: 'a' })
    await freeze(driver)
    for (const call of [
      () => stock.sell({ sku, orderId: 'a' }),
      () => elsewhere.sell({ sku, orderId: 'b' }),
      () => stock.reserve({ sku, orderId: 'b', holdMs: forMs }),
      () => stock.refund('a', sku),
      () => stock.sellTogether([{ sku, orderId: 'b' }]),
      () => stock.reconcile(sku, []),
    ]) {
      await assert.rejects(call, StockFrozenError)
    }
    assert.deepEqual(await elsewhere.level(sku), { total: 10, available: 9, held: 0, sold: 1 })
    assert.equal((await stock.find('a', sku))?.state, 'sold')
    assert.equal(await stock.open(sku, 10), false)
    await thaw(driver)
    assert.deepEqual(await elsewhere.sell({ sku, orderId: 'b' }), sold)
  })

  check('is reconciled with the orders of an application, whatever it had of them', async ({ stock, elsewhere }) => {
    await stock.open(sku, 20)
    await stock.sell({ sku, orderId: 'known', quantity: 2, buyer: { id: 'ann', limit: 2 } })
    await stock.sell({ sku, orderId: 'stranger' })
    await stock.sell({ sku, orderId: 'other content', quantity: 3 })
    await stock.reserve({ sku, orderId: 'held', holdMs: forMs, buyer: { id: 'bob', limit: 9 } })
    await stock.reserve({ sku, orderId: 'held by a stranger', holdMs: forMs })
    await stock.reserve({ sku, orderId: 'cancelled', holdMs: forMs })
    await stock.cancel('cancelled', sku)
    await stock.sell({ sku, orderId: 'refunded' })
    await stock.refund('refunded', sku)
    const { recorded, unsold, unknown } = await elsewhere.reconcile(sku, [
      { orderId: 'known', quantity: 2, buyerId: 'ann' },
      { orderId: 'lost', quantity: 2, buyerId: 'ann' },
      { orderId: 'other content' },
      { orderId: 'held', buyerId: 'bob' },
      { orderId: 'cancelled' },
      { orderId: 'refunded' },
      { orderId: 'too many', quantity: 13 },
    ])
    assert.equal(recorded, 4)
    assert.deepEqual(unsold, [{ orderId: 'other content' }, { orderId: 'too many', quantity: 13 }])
    assert.deepEqual(
      byId(unknown).map(({ orderId, state }) => [orderId, state]),
      [
        ['held by a stranger', 'held'],
        ['stranger', 'sold'],
      ],
    )
    assert.deepEqual(await stock.level(sku), { total: 20, available: 8, held: 1, sold: 11 })
    assert.deepEqual(await stock.sell({ sku, orderId: 'lost', quantity: 2 }), replayed)
    const more = (id: string) => ({ sku, orderId: `${id}'s next`, buyer: { id, limit: 4 } })
    assert.deepEqual(await stock.sell(more('ann')), refused('buyer-limit', 8), 'whatever limit they were sold under')
    assert.deepEqual(await stock.sell(more('bob')), sold)
    assert.equal(await stock.confirm('held by a stranger', sku), 'done')
  })

  check('leaves what it had of an order for which there are too few units', async ({ stock }) => {
    await stock.open(sku, 20)
    await stock.sell({ sku, orderId: 'refunded' })
    await stock.refund('refunded', sku)
    await stock.reserve({ sku, orderId: 'held', quantity: 2, holdMs: forMs })
    await stock.sell({ sku, orderId: 'a', quantity: 18 })
    const own = [{ orderId: 'a', quantity: 18 }, { orderId: 'refunded' }, { orderId: 'held', quantity: 3 }]
    const { recorded, unsold } = await stock.reconcile(sku, own)
    assert.deepEqual([recorded, unsold], [0, own.slice(1)])
    assert.deepEqual(await stock.level(sku), { total: 20, available: 0, held: 2, sold: 18 })
    assert.equal(await stock.confirm('held', sku), 'done')
    assert.deepEqual(await stock.sell({ sku, orderId: 'refunded' }), refused('spent', 0), 'a late duplicate')
  })

  check('counts what an order holds to what it needs', async ({ stock }) => {
    await stock.open(sku, 6)
    for (const orderId of ['a', 'b', 'c']) await stock.sell({ sku, orderId })
    await stock.reserve({ sku, orderId: 'held', quantity: 2, holdMs: forMs })
    const own = [{ orderId: 'held', quantity: 3 }]
    assert.deepEqual((await stock.reconcile(sku, own)).unsold, [])
    assert.deepEqual(await stock.level(sku), { total: 6, available: 0, held: 0, sold: 6 })
  })

  check('takes orders from any iterable, in any number', async ({ stock }) => {
    await stock.open(sku, 3_000)
    async function* own() {
      for (let i = 0; i < 2_500; i++) yield { orderId: `o${i}` }
    }
    const result = await stock.reconcile(sku, own())
    assert.deepEqual(result, { recorded: 2_500, unsold: [], unknown: [] })
    assert.deepEqual(await stock.reconcile(sku, own()), { recorded: 0, unsold: [], unknown: [] })
    assert.deepEqual(await stock.level(sku), { total: 3_000, available: 500, held: 0, sold: 2_500 })
  })

  check('opens a sale that is gone, frozen until its orders are back', async ({ stock, driver }) => {
    await assert.rejects(stock.reconcile(sku, []), RangeError)
    const own = [{ orderId: 'a' }, { orderId: 'b', quantity: 4 }]
    assert.deepEqual(await stock.reconcile(sku, own, { total: 5 }), { recorded: 2, unsold: [], unknown: [] })
    assert.deepEqual(await stock.level(sku), { total: 5, available: 0, held: 0, sold: 5 })
    assert.equal((await driver.level(sku, undefined, trip))?.frozen, false)
  })

  check('stays frozen where the orders cannot be had, for the next who reconciles it', async ({ stock, elsewhere }) => {
    await stock.open(sku, 5)
    const bad = [{ orderId: 'a' }, { orderId: '' }]
    await assert.rejects(stock.reconcile(sku, bad), RangeError)
    await assert.rejects(stock.sell({ sku, orderId: 'b' }), StockFrozenError)
    assert.deepEqual(await elsewhere.reconcile(sku, []), { recorded: 0, unsold: [], unknown: [] })
    await assert.rejects(
      async () => {
        await stock.sell({ sku, orderId: 'a' })
        await stock.sell({ sku, orderId: 'a', quantity: 2 })
      },
      OrderConflictError,
      'and is an ordinary sale afterwards',
    )
  })

  check('driver: a freeze says for how long some process may say sold out', async ({ driver, stock }) => {
    await stock.open(sku, 1)
    await stock.sell({ sku, orderId: 'a' })
    const freezeFor = async (token: string) => {
      const [changed] = await driver.adjust(sku, [{ kind: 'freeze', token, quantity: 0, forMs }], trip)
      assert.equal(changed?.outcome, 'done')
      await thaw(driver, token)
      return changed.onSaleInMs
    }
    assert.equal(await freezeFor('a'), 0)
    assert.equal((await driver.level(sku, { below: 1, forMs }, trip))?.closedForMs, forMs)
    const waited = await freezeFor('b')
    assert.ok(waited > 0 && waited <= forMs, `${waited} ms`)
  })

  check('driver: a freeze is one process’ own until it lapses or is kept', async ({ driver, stock }) => {
    await stock.open(sku, 5)
    const change = async (kind: 'freeze' | 'keep-frozen' | 'thaw', token: string) => {
      const [changed] =
        kind === 'thaw'
          ? await driver.adjust(sku, [{ kind, token }], trip)
          : await driver.adjust(sku, [{ kind, token, quantity: 0, forMs }], trip)
      return changed?.outcome
    }
    assert.equal(await change('keep-frozen', 'a'), 'refused')
    for (let i = 0; i < 2; i++) assert.equal(await change('freeze', 'a'), 'done')
    assert.equal(await change('freeze', 'b'), 'refused')
    assert.equal(await change('keep-frozen', 'b'), 'refused')
    assert.equal(await change('thaw', 'b'), 'refused')
    assert.equal(await change('keep-frozen', 'a'), 'done')
    for (let i = 0; i < 2; i++) assert.equal(await change('thaw', 'a'), 'done')
    assert.equal(await change('keep-frozen', 'a'), 'refused')
    assert.equal(await change('freeze', 'b'), 'done')
  })
}
