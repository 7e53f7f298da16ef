import assert from 'node:assert/strict'
import { OrderConflictError } from '../core/errors.js'
import {
  added,
  counts,
  lapse,
  listed,
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

/** The part of the suite for holds: how units are set aside, and how they come back by themselves. */
export function stockHoldCases(check: Check): void {
  check('sets units aside, which nobody else gets', async ({ stock, elsewhere }) => {
    await stock.open(sku, 5)
    assert.deepEqual(await stock.reserve({ sku, orderId: 'a', quantity: 3, holdMs: longMs }), sold)
    assert.deepEqual(await added(elsewhere), { total: 5, available: 2, held: 3, sold: 0 })
    assert.deepEqual(await elsewhere.sell({ sku, orderId: 'b', quantity: 3 }), refused('sold-out', 2))
    const tooMany = { sku, orderId: 'c', quantity: 3, holdMs: longMs }
    assert.deepEqual(await elsewhere.reserve(tooMany), refused('sold-out', 2))
    assert.deepEqual(await elsewhere.sell({ sku, orderId: 'b', quantity: 1 }), sold, 'a refusal is not remembered')
    assert.deepEqual(await elsewhere.reserve({ ...tooMany, quantity: 1 }), sold)
    assert.deepEqual(await counts(stock), [0, 4, 1])
    assert.deepEqual(await stock.sell({ sku, orderId: 'd' }), refused('sold-out', 0))
    assert.deepEqual(await elsewhere.reserve({ sku, orderId: 'e', holdMs: 1 }), refused('sold-out', 0))
  })

  check('holds every unit once, for callers of two processes', async ({ stock, elsewhere }) => {
    await stock.open(sku, 700)
    const results = await Promise.all([
      reserveAll(stock, many(1_200, 'here')),
      reserveAll(elsewhere, many(1_200, 'there')),
      added(stock),
    ])
    assert.equal(soldOf([...results[0], ...results[1]]), 700)
    assert.deepEqual(await counts(elsewhere), [0, 700, 0])
  })

  check('gives an id its one hold, and prolongs none', async ({ stock, elsewhere }) => {
    await stock.open(sku, 10)
    const order = { sku, orderId: 'one', quantity: 2, holdMs: longMs }
    assert.deepEqual(await Promise.all([1, 2, 3].map(() => stock.reserve(order))), [sold, replayed, replayed])
    assert.deepEqual(await elsewhere.reserve({ ...order, holdMs: 1_000 * longMs }), replayed)
    assert.deepEqual(await elsewhere.reserve({ ...order, holdMs: 1 }), replayed)
    const { expiresInMs = 0, ...rest } = (await stock.find('one', sku)) ?? assert.fail()
    assert.deepEqual(rest, { orderId: 'one', quantity: 2, state: 'held' })
    // A thousandth is what a driver may add to a long hold.
    assert.ok(expiresInMs > 1 && expiresInMs <= longMs * 1.001 + 1, `${expiresInMs} ms`)
    await sellAll(stock, many(8))
    assert.deepEqual(await elsewhere.reserve({ ...order, orderId: 'late' }), refused('sold-out', 0))
    assert.deepEqual(await elsewhere.reserve(order), replayed, 'also when all is sold')
    assert.deepEqual(await counts(stock), [0, 2, 8])
  })

  check('refuses an id that is known otherwise: sold or held, quantity, buyer', async ({ stock, elsewhere }) => {
    await stock.open(sku, 10)
    const buyer = (id: string) => ({ id, limit: 5 })
    const sale = { sku, orderId: 'sale', quantity: 2, buyer: buyer('ann lee') }
    const hold = { sku, orderId: 'hold', quantity: 2, buyer: buyer('ann lee'), holdMs: longMs }
    const { holdMs, ...holdToSell } = hold
    await stock.sell(sale)
    await stock.reserve(hold)
    const rejects = (call: Promise<unknown>, what: string): Promise<void> =>
      assert.rejects(call, (error: Error) => error instanceof OrderConflictError && error.message.endsWith(what))
    for (const one of [stock, elsewhere]) {
      await rejects(one.reserve({ ...sale, holdMs }), 'is sold already')
      await rejects(one.sell(holdToSell), 'is held already')
      await rejects(one.reserve({ ...hold, quantity: 1 }), 'is known with another quantity')
      await rejects(one.reserve({ ...hold, buyer: buyer('ann') }), 'is known with another buyer')
      // State comes before quantity, quantity before buyer.
      await rejects(one.reserve({ ...sale, quantity: 1, holdMs }), 'is sold already')
      await rejects(one.reserve({ ...hold, quantity: 1, buyer: buyer('ann') }), 'is known with another quantity')
      // A conflict comes before a refusal: neither the stock nor the limit allows these.
      await rejects(one.reserve({ ...hold, quantity: 99 }), 'is known with another quantity')
      await rejects(one.sell({ ...holdToSell, quantity: 99, buyer: { id: 'ann lee', limit: 1 } }), 'is held already')
      assert.deepEqual(await one.reserve({ sku, orderId: 'hold', quantity: 2, holdMs }), replayed)
      assert.deepEqual(await one.reserve({ ...hold, buyer: { id: 'ann lee', limit: 1 } }), replayed)
    }
    // One conflict in a trip fails alone.
    const [bad, good] = await Promise.allSettled([
      stock.reserve({ ...hold, quantity: 7 }),
      stock.reserve({ sku, orderId: 'other', holdMs }),
    ])
    assert.equal(bad.status, 'rejected')
    assert.deepEqual(good, { status: 'fulfilled', value: sold })
    assert.deepEqual(await counts(stock), [5, 3, 2])
  })

  check('counts what a buyer holds towards the limit', async ({ stock, elsewhere }) => {
    await stock.open(sku, 100)
    const ann = { id: 'ann', limit: 3 }
    const of = (orderId: string, quantity: number) => ({ sku, orderId, quantity, buyer: ann })
    assert.deepEqual(await stock.reserve({ ...of('a', 2), holdMs: longMs }), sold)
    assert.deepEqual(await elsewhere.sell(of('b', 2)), refused('buyer-limit', 98))
    assert.deepEqual(await elsewhere.reserve({ ...of('b', 2), holdMs: longMs }), refused('buyer-limit', 98))
    assert.deepEqual(await elsewhere.sell(of('b', 1)), sold)
    assert.deepEqual(await stock.reserve({ ...of('c', 1), holdMs: longMs }), refused('buyer-limit', 97))
    assert.equal(await stock.confirm('a', sku), 'done')
    assert.deepEqual(await stock.sell(of('c', 1)), refused('buyer-limit', 97), 'a confirmed hold counts on')
    const results = await reserveAll(
      stock,
      many(9, 'bob').map((order) => ({ ...order, buyer: { id: 'bob', limit: 4 } })),
    )
    assert.equal(soldOf(results), 4, 'within one trip')
    assert.deepEqual(await counts(stock), [93, 4, 3])
  })

  check('ends a hold by itself: its units are on sale and its id is spent', async (bench) => {
    const { stock, elsewhere } = bench
    await stock.open(sku, 4)
    assert.deepEqual(await stock.reserve({ sku, orderId: 'a', quantity: 3, holdMs: shortMs }), sold)
    assert.deepEqual(await stock.reserve({ sku, orderId: 'b', holdMs: longMs }), sold)
    await lapse(bench)
    assert.deepEqual(await counts(stock), [3, 1, 0])
    assert.equal(await stock.find('a', sku), undefined)
    assert.deepEqual(
      (await listed(elsewhere)).map(({ orderId }) => orderId),
      ['b'],
    )
    for (const one of [stock, elsewhere]) {
      assert.deepEqual(await one.sell({ sku, orderId: 'a' }), refused('spent', 3))
      assert.deepEqual(await one.reserve({ sku, orderId: 'a', quantity: 3, holdMs: longMs }), refused('spent', 3))
      assert.equal(await one.confirm('a', sku), 'expired')
      assert.equal(await one.confirm('a', sku, { quantity: 1 }), 'expired')
      assert.equal(await one.confirm('a', sku, { quantity: 9 }), 'expired')
      assert.equal(await one.cancel('a', sku), 'expired')
      assert.equal(await one.refund('a', sku), 'expired')
    }
    assert.deepEqual(await counts(stock), [3, 1, 0], 'what came late changed nothing')
    assert.deepEqual(await elsewhere.sell({ sku, orderId: 'c', quantity: 3 }), sold)
    assert.deepEqual(await stock.sell({ sku, orderId: 'd' }), refused('sold-out', 0))
    assert.deepEqual(await stock.sell({ sku, orderId: 'a' }), refused('spent', 0))
    assert.deepEqual(await counts(stock), [0, 1, 3])
  })

  check('sells the last unit to those who ask for it when its hold ends', async ({ stock, elsewhere, advance }) => {
    await stock.open(sku, 1)
    await stock.reserve({ sku, orderId: 'held', holdMs: shortMs })
    // Both fill their gates, if they have some, so that they may say sold out by themselves.
    await sellAll(stock, many(20, 'early here'))
    await sellAll(elsewhere, many(20, 'early there'))
    let buyers = 0
    for (let i = 0; i < 100 && buyers === 0; i++) {
      await advance(shortMs / 20)
      const asked = [stock.sell({ sku, orderId: `here-${i}` }), elsewhere.sell({ sku, orderId: `there-${i}` })]
      buyers = soldOf(await Promise.all(asked))
    }
    // When the machine is slow, one of the first may have come late enough.
    assert.deepEqual(await counts(stock), [0, 0, 1])
    assert.equal(await stock.confirm('held', sku), 'expired')
    assert.deepEqual(await counts(elsewhere), [0, 0, 1])
  })

  check('ends many holds, those of one moment and those of many', async (bench) => {
    const { stock, elsewhere } = bench
    await stock.open(sku, 3_000)
    const lengths = [1, 2, 5, 40, shortMs - 0.5, shortMs]
    const reserve = (one: typeof stock, name: string) =>
      Promise.all(
        many(1_200, name).map((order, i) => one.reserve({ ...order, holdMs: lengths[i % lengths.length] as number })),
      )
    const results = await Promise.all([reserve(stock, 'here'), reserve(elsewhere, 'there'), added(stock)])
    assert.equal(soldOf(results[0]) + soldOf(results[1]), 2_400)
    await stock.reserve({ sku, orderId: 'stays', quantity: 10, holdMs: longMs })
    await lapse(bench)
    assert.deepEqual(await counts(stock), [2_990, 10, 0])
    assert.deepEqual(await elsewhere.sell({ sku, orderId: 'all', quantity: 2_990 }), sold)
    assert.deepEqual(await counts(stock), [0, 10, 2_990])
  })

  check('gives back the buyer limit when a hold ends', async (bench) => {
    const { stock, elsewhere } = bench
    await stock.open(sku, 100)
    const buyer = { id: 'ann', limit: 4 }
    await stock.reserve({ sku, orderId: 'a', quantity: 2, buyer, holdMs: shortMs })
    await stock.reserve({ sku, orderId: 'b', buyer, holdMs: longMs })
    await stock.sell({ sku, orderId: 'c', buyer })
    await lapse(bench)
    assert.deepEqual(await elsewhere.sell({ sku, orderId: 'd', quantity: 3, buyer }), refused('buyer-limit', 98))
    assert.deepEqual(await elsewhere.sell({ sku, orderId: 'd', quantity: 2, buyer }), sold)
    assert.deepEqual(await stock.reserve({ sku, orderId: 'e', buyer, holdMs: longMs }), refused('buyer-limit', 96))
    assert.deepEqual(await counts(stock), [96, 1, 3])
  })

  check('holds without an end until it is told', async ({ stock, elsewhere }) => {
    await stock.open(sku, 2)
    assert.deepEqual(await stock.reserve({ sku, orderId: 'a', holdMs: Infinity }), sold)
    assert.deepEqual(await stock.reserve({ sku, orderId: 'b', holdMs: Number.MAX_SAFE_INTEGER }), sold)
    assert.equal((await elsewhere.find('a', sku))?.expiresInMs, Infinity)
    assert.deepEqual(await counts(stock), [0, 2, 0])
    assert.equal(await elsewhere.confirm('a', sku), 'done')
    assert.equal(await elsewhere.cancel('b', sku), 'done')
    assert.deepEqual(await counts(stock), [1, 0, 1])
  })

  check('takes away no unit that is held', async (bench) => {
    const { stock, elsewhere, onSale } = bench
    await stock.open(sku, 10)
    await stock.reserve({ sku, orderId: 'a', quantity: 4, holdMs: longMs })
    await stock.reserve({ sku, orderId: 'short', quantity: 3, holdMs: shortMs })
    await assert.rejects(elsewhere.restock(sku, -7), { name: 'RangeError', message: /has \d unsold units/ })
    await lapse(bench)
    await elsewhere.restock(sku, -6)
    assert.deepEqual(await counts(stock), [0, 4, 0])
    await assert.rejects(elsewhere.restock(sku, -1), RangeError)
    await onSale(stock.restock(sku, 2))
    assert.deepEqual(await counts(stock), [2, 4, 0])
    assert.equal(await stock.confirm('a', sku), 'done')
    await assert.rejects(stock.restock(sku, -3), RangeError)
    assert.deepEqual(await counts(stock), [2, 0, 4])
  })

  check('forgets holds with their sale', async (bench) => {
    const { stock, elsewhere, onSale } = bench
    await stock.open(sku, 2)
    const buyer = { id: 'ann', limit: 1 }
    await stock.reserve({ sku, orderId: 'a', buyer, holdMs: longMs })
    await stock.reserve({ sku, orderId: 'b', holdMs: shortMs })
    await elsewhere.remove(sku)
    assert.equal(await stock.confirm('a', sku), 'unknown')
    assert.deepEqual(await stock.reserve({ sku, orderId: 'a', holdMs: longMs }), refused('not-open', 0))
    assert.equal(await onSale(stock.open(sku, 3)), true)
    assert.equal(await elsewhere.confirm('a', sku), 'unknown')
    assert.deepEqual(await elsewhere.reserve({ sku, orderId: 'a', quantity: 1, buyer, holdMs: longMs }), sold)
    await lapse(bench)
    assert.deepEqual(await counts(stock), [2, 1, 0], 'a hold of the sale before gives nothing to this one')
  })

  check('lists held and sold orders, and finds each, over many pages', async ({ stock, elsewhere }) => {
    await stock.open(sku, 10_000)
    const orders = many(2_400).map((order, i) => {
      return { ...order, quantity: 1 + (i % 3), ...(i % 2 ? { buyer: { id: `b ${i}`, limit: 9 } } : {}) }
    })
    const half = orders.length / 2
    await Promise.all([sellAll(stock, orders.slice(0, half)), reserveAll(elsewhere, orders.slice(half))])
    await Promise.all(orders.slice(-100).map(({ orderId }) => elsewhere.cancel(orderId, sku)))
    const recorded = new Map((await listed(stock)).map((order) => [order.orderId, order]))
    assert.equal(recorded.size, orders.length - 100)
    for (const [i, { orderId, quantity, buyer }] of orders.slice(0, -100).entries()) {
      const { expiresInMs, ...rest } = recorded.get(orderId) ?? assert.fail(orderId)
      const state = i < half ? 'sold' : 'held'
      assert.deepEqual(rest, { orderId, quantity, state, ...(buyer ? { buyerId: buyer.id } : {}) })
      assert.equal(expiresInMs === undefined, state === 'sold')
    }
    const found = await Promise.all([0, half, -1].map((i) => stock.find(orders.at(i)?.orderId ?? '', sku)))
    assert.deepEqual(
      found.map((order) => order?.state),
      ['sold', 'held', undefined],
    )
    await counts(stock)
  })

  check('keeps awkward names of holders apart', async ({ stock, elsewhere }) => {
    const names = ['1', '1@2', ' 1@2', '2 1@9999999999999', 'h1 5 x', 's1', 'a b', 'a', '\n', '\u0000', '"', '{}', '😀']
    await stock.open(sku, 1_000)
    for (const name of names) {
      const buyer = { id: name, limit: 3 }
      const order = { sku, orderId: name, quantity: 2, buyer, holdMs: longMs }
      assert.deepEqual(await stock.reserve(order), sold)
      assert.deepEqual(await elsewhere.reserve(order), replayed)
      assert.equal((await elsewhere.find(name, sku))?.buyerId, name)
      const more = { sku, orderId: `more ${name}`, quantity: 2, buyer }
      assert.deepEqual(await elsewhere.sell(more), refused('buyer-limit', (await added(stock)).available))
      assert.equal(await stock.confirm(name, sku, { quantity: 1 }), 'done')
      assert.deepEqual(await elsewhere.sell(more), sold)
      assert.deepEqual(await elsewhere.find(name, sku), { orderId: name, quantity: 1, state: 'sold', buyerId: name })
    }
  })
}
