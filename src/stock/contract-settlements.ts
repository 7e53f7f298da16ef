import assert from 'node:assert/strict'
import { OrderConflictError } from '../core/errors.js'
import {
  added,
  counts,
  lapse,
  longMs,
  many,
  refused,
  replayed,
  reserveAll,
  sellAll,
  shortMs,
  sku,
  sold,
  soldOf,
  type Check,
} from './contract-shared.js'

/** The part of the suite for confirming, cancelling and refunding. */
export function stockSettlementCases(check: Check): void {
  check('confirms a hold once, from wherever', async ({ stock, elsewhere }) => {
    await stock.open(sku, 5)
    const order = { sku, orderId: 'a', quantity: 3 }
    await stock.reserve({ ...order, holdMs: longMs })
    assert.equal(await elsewhere.confirm('a', sku), 'done')
    assert.deepEqual(await counts(stock), [2, 0, 3])
    for (const one of [stock, elsewhere]) {
      assert.equal(await one.confirm('a', sku), 'already')
      assert.equal(await one.confirm('a', sku, { quantity: 3 }), 'already')
      await assert.rejects(one.confirm('a', sku, { quantity: 2 }), OrderConflictError)
      await assert.rejects(one.confirm('a', sku, { quantity: 4 }), OrderConflictError)
      await assert.rejects(one.reserve({ ...order, holdMs: longMs }), OrderConflictError)
      assert.equal(await one.cancel('a', sku), 'confirmed')
      assert.deepEqual(await one.sell(order), replayed, 'it is sold like any other')
      assert.deepEqual(await one.find('a', sku), { orderId: 'a', quantity: 3, state: 'sold' })
    }
    assert.deepEqual(await counts(stock), [2, 0, 3])
  })

  check('confirms a hold that no unit is left for, in a sold-out sale', async ({ stock, elsewhere }) => {
    await stock.open(sku, 3)
    await stock.reserve({ sku, orderId: 'a', quantity: 2, holdMs: longMs })
    await sellAll(stock, many(9))
    await sellAll(elsewhere, many(9))
    assert.deepEqual(await counts(stock), [0, 2, 1])
    assert.equal(await stock.confirm('a', sku), 'done')
    assert.deepEqual(await counts(stock), [0, 0, 3])
  })

  check('confirms a part, and the rest is on sale', async ({ stock, elsewhere, onSale }) => {
    await stock.open(sku, 6)
    const buyer = { id: 'ann', limit: 5 }
    await stock.reserve({ sku, orderId: 'a', quantity: 5, buyer, holdMs: longMs })
    await sellAll(elsewhere, many(9))
    assert.equal(await onSale(elsewhere.confirm('a', sku, { quantity: 2 })), 'done')
    assert.deepEqual(await counts(stock), [3, 0, 3])
    const known = { orderId: 'a', quantity: 2, state: 'sold', buyerId: 'ann' }
    assert.deepEqual(await stock.find('a', sku), known)
    assert.equal(await stock.confirm('a', sku), 'already')
    assert.equal(await stock.confirm('a', sku, { quantity: 2 }), 'already')
    await assert.rejects(stock.confirm('a', sku, { quantity: 5 }), OrderConflictError)
    await assert.rejects(stock.sell({ sku, orderId: 'a', quantity: 5 }), OrderConflictError)
    assert.deepEqual(await stock.sell({ sku, orderId: 'a', quantity: 2, buyer }), replayed)
    assert.deepEqual(await elsewhere.sell({ sku, orderId: 'b', quantity: 3, buyer }), sold, 'the limit has room again')
    assert.deepEqual(await counts(stock), [0, 0, 6])
  })

  check('confirms no more than is held, and changes nothing then', async ({ stock, elsewhere }) => {
    await stock.open(sku, 9)
    await stock.reserve({ sku, orderId: 'a', quantity: 2, holdMs: longMs })
    for (const quantity of [3, Number.MAX_SAFE_INTEGER]) {
      const message = `quantity ${quantity} is out of range: order "a" of "${sku}" holds fewer units`
      await assert.rejects(elsewhere.confirm('a', sku, { quantity }), { name: 'RangeError', message })
    }
    assert.deepEqual(await counts(stock), [7, 2, 0])
    assert.equal(await elsewhere.confirm('a', sku, { quantity: 2 }), 'done')
    assert.deepEqual(await counts(stock), [7, 0, 2])
    // One impossible confirmation in a trip fails alone.
    await reserveAll(stock, many(2))
    const outcomes = await Promise.allSettled([
      stock.confirm('order-0', sku, { quantity: 2 }),
      stock.confirm('order-1', sku, { quantity: 1 }),
    ])
    assert.deepEqual(outcomes[1], { status: 'fulfilled', value: 'done' })
    assert.deepEqual([outcomes[0].status, await counts(stock)], ['rejected', [5, 1, 3]])
  })

  check('cancels a hold once, and its id is spent', async ({ stock, elsewhere, onSale }) => {
    await stock.open(sku, 4)
    const order = { sku, orderId: 'a', quantity: 3 }
    await stock.reserve({ ...order, holdMs: longMs })
    await sellAll(elsewhere, many(9))
    assert.equal(await onSale(elsewhere.cancel('a', sku)), 'done')
    assert.deepEqual(await counts(stock), [3, 0, 1])
    for (const one of [stock, elsewhere]) {
      assert.equal(await one.cancel('a', sku), 'already')
      assert.equal(await one.confirm('a', sku), 'cancelled')
      assert.equal(await one.confirm('a', sku, { quantity: 9 }), 'cancelled')
      assert.equal(await one.refund('a', sku), 'cancelled')
      assert.deepEqual(await one.sell(order), refused('spent', 3))
      assert.deepEqual(await one.sell({ ...order, quantity: 4, buyer: { id: 'b', limit: 1 } }), refused('spent', 3))
      assert.deepEqual(await one.reserve({ ...order, holdMs: longMs }), refused('spent', 3))
      assert.equal(await one.find('a', sku), undefined)
    }
    assert.deepEqual(await counts(stock), [3, 0, 1])
    assert.equal(soldOf(await sellAll(elsewhere, many(9, 'again'))), 3)
    assert.deepEqual(await stock.sell(order), refused('spent', 0))
  })

  check('refunds a sale once, and its id is spent', async ({ stock, elsewhere, onSale }) => {
    await stock.open(sku, 4)
    const order = { sku, orderId: 'a', quantity: 3 }
    await stock.sell(order)
    await sellAll(elsewhere, many(9))
    assert.equal(await onSale(elsewhere.refund('a', sku)), 'done')
    assert.deepEqual(await counts(stock), [3, 0, 1])
    for (const one of [stock, elsewhere]) {
      assert.equal(await one.refund('a', sku), 'already')
      assert.equal(await one.confirm('a', sku), 'cancelled')
      assert.equal(await one.cancel('a', sku), 'already')
      assert.deepEqual(await one.sell(order), refused('spent', 3))
      assert.deepEqual(await one.reserve({ ...order, holdMs: longMs }), refused('spent', 3))
      assert.equal(await one.find('a', sku), undefined)
    }
    assert.deepEqual(await counts(stock), [3, 0, 1])
    assert.equal(soldOf(await sellAll(elsewhere, many(9, 'again'))), 3)
    assert.deepEqual(await counts(stock), [0, 0, 4])
  })

  check('refunds what was confirmed, and no hold', async ({ stock, elsewhere, onSale }) => {
    await stock.open(sku, 9)
    await stock.reserve({ sku, orderId: 'a', quantity: 5, holdMs: longMs })
    assert.equal(await elsewhere.refund('a', sku), 'unknown')
    assert.deepEqual(await counts(stock), [4, 5, 0])
    assert.equal(await onSale(stock.confirm('a', sku, { quantity: 2 })), 'done')
    assert.deepEqual(await counts(stock), [7, 0, 2])
    assert.equal(await onSale(elsewhere.refund('a', sku)), 'done')
    assert.deepEqual(await counts(stock), [9, 0, 0])
    assert.equal(await stock.refund('a', sku), 'already')
    assert.equal(await stock.confirm('a', sku, { quantity: 2 }), 'cancelled')
  })

  check('knows no order that nobody placed, and none of another SKU', async ({ stock, elsewhere }) => {
    const all = async (orderId: string, name: string): Promise<void> => {
      for (const one of [stock, elsewhere]) {
        assert.equal(await one.confirm(orderId, name), 'unknown')
        assert.equal(await one.confirm(orderId, name, { quantity: 2 }), 'unknown')
        assert.equal(await one.cancel(orderId, name), 'unknown')
        assert.equal(await one.refund(orderId, name), 'unknown')
      }
    }
    await all('a', sku)
    await stock.open(sku, 1)
    await stock.open('other', 1)
    await stock.sell({ sku: 'other', orderId: 'a' })
    await stock.reserve({ sku, orderId: 'b', holdMs: longMs })
    await stock.sell({ sku, orderId: 'refused' })
    await all('a', sku)
    await all('b', 'other')
    await all('refused', sku)
    assert.deepEqual(
      [await counts(stock), await counts(stock, 'other')],
      [
        [0, 1, 0],
        [0, 0, 1],
      ],
    )
  })

  check(
    'gives the buyer limit back by cancel, refund and a partial confirmation',
    async ({ stock, elsewhere, onSale }) => {
      await stock.open(sku, 1_000)
      const buyer = { id: 'ann', limit: 6 }
      const of = (orderId: string, quantity: number) => ({ sku, orderId, quantity, buyer })
      const full = async (left: number, room: number): Promise<void> => {
        const more = of(`more ${left}`, room + 1)
        assert.deepEqual(await elsewhere.sell(more), refused('buyer-limit', left))
        assert.deepEqual(await elsewhere.reserve({ ...more, holdMs: longMs }), refused('buyer-limit', left))
      }
      await stock.reserve({ ...of('a', 2), holdMs: longMs })
      await stock.reserve({ ...of('b', 3), holdMs: longMs })
      await stock.sell(of('c', 1))
      await full(994, 0)
      assert.equal(await onSale(stock.cancel('a', sku)), 'done')
      await full(996, 2)
      assert.equal(await onSale(stock.confirm('b', sku, { quantity: 1 })), 'done')
      await full(998, 4)
      assert.equal(await onSale(stock.refund('c', sku)), 'done')
      await full(999, 5)
      assert.equal(await onSale(stock.refund('b', sku)), 'done')
      await full(1_000, 6)
      assert.deepEqual(await elsewhere.sell(of('all', 6)), sold)
      assert.deepEqual(await counts(stock), [994, 0, 6])
    },
  )

  check('decides between confirm, cancel and refund once, for two processes', async ({ stock, elsewhere, onSale }) => {
    const holds = many(200)
    await stock.open(sku, 1_000)
    await reserveAll(stock, holds)
    const confirms = Promise.all(holds.map(({ orderId }) => stock.confirm(orderId, sku)))
    const cancels = Promise.all(holds.map(({ orderId }) => elsewhere.cancel(orderId, sku)))
    const [confirmed, cancelled] = await onSale(Promise.all([confirms, cancels]))
    for (const [i, outcome] of confirmed.entries()) {
      const pair = `${outcome} ${cancelled[i]}`
      assert.ok(pair === 'done confirmed' || pair === 'cancelled done', pair)
    }
    const wins = confirmed.filter((outcome) => outcome === 'done').length
    assert.deepEqual(await counts(stock), [1_000 - wins, 0, wins])
    const refunds = [stock, elsewhere].map((one) => Promise.all(holds.map(({ orderId }) => one.refund(orderId, sku))))
    const [here, there] = (await onSale(Promise.all(refunds))) as [string[], string[]]
    for (const [i, outcome] of confirmed.entries()) {
      const expected = outcome === 'done' ? ['already', 'done'] : ['cancelled', 'cancelled']
      assert.deepEqual([here[i], there[i]].sort(), expected)
    }
    assert.deepEqual(await counts(stock), [1_000, 0, 0])
  })

  check('settles at the end of a hold one way or the other', async (bench) => {
    const { stock, elsewhere } = bench
    const holds = many(60)
    await stock.open(sku, 60)
    await reserveAll(stock, holds, shortMs)
    const outcomes: string[] = []
    for (const [i, { orderId }] of holds.entries()) {
      if (i % 10 === 0) await bench.advance(shortMs / 5)
      const one = i % 2 ? stock : elsewhere
      const settled = i % 3 ? one.confirm(orderId, sku) : one.cancel(orderId, sku)
      outcomes.push(await settled)
      await added(elsewhere)
    }
    await lapse(bench)
    const wins = outcomes.filter((outcome, i) => outcome === 'done' && i % 3 > 0).length
    assert.ok(outcomes.every((outcome) => outcome === 'done' || outcome === 'expired'))
    assert.equal(outcomes.at(-1), 'expired')
    assert.deepEqual(await counts(stock), [60 - wins, 0, wins])
  })
}
