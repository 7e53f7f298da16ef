import assert from 'node:assert/strict'
import { systemClock, type Clock } from '../core/clock.js'
import { ClosedError, OrderConflictError } from '../core/errors.js'
import { stockBasketCases } from './contract-baskets.js'
import { stockDriverCases } from './contract-driver.js'
import { stockHoldCases } from './contract-holds.js'
import { stockReconcileCases } from './contract-reconcile.js'
import { stockSettlementCases } from './contract-settlements.js'
import {
  added,
  balanced,
  listed,
  many,
  refused,
  replayed,
  sellAll,
  sku,
  sold,
  soldOf,
  type Check,
} from './contract-shared.js'
import type { StockDriver } from './driver.js'
import { createStock } from './stock.js'
import type { Order, Stock, StockOptions } from './types.js'

/** A driver under test. */
export interface StockSubject extends AsyncDisposable {
  /** Makes a driver; all of a subject's drivers have the same units, as those of several processes do. */
  readonly driver: () => StockDriver
  /** Runs the suite through the gate. @defaultValue every order goes to the backend */
  readonly local?: StockOptions['local'] | undefined
  /** Whether any SKUs can share a basket. Without it the suite checks that those that cannot are refused. @defaultValue true */
  readonly baskets?: boolean | undefined
  /** Whether the orders of a trip are decided in their order, also where they are of different lanes. @defaultValue true */
  readonly ordered?: boolean | undefined
  /** Lets time pass, in the store and by `clock`. */
  advance(ms: number): Promise<void>
  /** @defaultValue systemClock */
  readonly clock?: Clock | undefined
}

/**
 * What every stock driver must do. `it` is a test runner's, `create` gives each case a subject with an empty store.
 * No case depends on the machine being quick.
 */
export function stockContract(
  it: (name: string, run: () => Promise<void>) => void,
  create: () => Promise<StockSubject>,
): void {
  const check: Check = (name, body) =>
    it(name, async () => {
      const subject = await create()
      const { clock = systemClock, local, baskets = true, ordered = true } = subject
      const front = (): Stock =>
        createStock(subject.driver(), { timeoutMs: 120_000, clock, ...(local === undefined ? {} : { local }) })
      const stock = front()
      const elsewhere = front()
      const advance = (ms: number): Promise<void> => subject.advance(ms)
      const onSale = async <T>(work: Promise<T>): Promise<T> => (await Promise.all([work, advance(300)]))[0]
      try {
        await body({ stock, elsewhere, driver: subject.driver(), onSale, advance, baskets, ordered })
      } finally {
        await Promise.all([stock.close(), elsewhere.close()])
        await subject[Symbol.asyncDispose]()
      }
    })

  check('opens a sale once, and never refills it by opening', async ({ stock, elsewhere }) => {
    assert.equal(await stock.open(sku, 2), true)
    assert.equal(await elsewhere.open(sku, 50), false)
    assert.equal(soldOf(await sellAll(stock, many(2))), 2)
    assert.equal(await stock.open(sku, 50), false)
    assert.deepEqual(await balanced(stock), { total: 2, available: 0, sold: 2 })
  })

  check('sells every unit once, to callers of two processes', async ({ stock, elsewhere }) => {
    await stock.open(sku, 700)
    const results = await Promise.all([
      sellAll(stock, many(1_500, 'here')),
      sellAll(elsewhere, many(1_500, 'there')),
      added(stock),
    ])
    assert.equal(soldOf([...results[0], ...results[1]]), 700)
    assert.deepEqual(await balanced(stock), { total: 700, available: 0, sold: 700 })
    assert.deepEqual(await stock.sell({ sku, orderId: 'late' }), refused('sold-out', 0))
  })

  check('gives an id its one sale, however often and from wherever it is asked', async ({ stock, elsewhere }) => {
    await stock.open(sku, 10)
    const order = { sku, orderId: 'one', quantity: 3 }
    const results = await sellAll(stock, [order, order, order])
    assert.deepEqual(results, [sold, replayed, replayed])
    assert.deepEqual(await elsewhere.sell(order), replayed)
    await sellAll(stock, many(7))
    assert.deepEqual(await elsewhere.sell({ sku, orderId: 'late' }), refused('sold-out', 0))
    assert.deepEqual(await elsewhere.sell({ sku, orderId: 'late' }), refused('sold-out', 0))
    assert.deepEqual(await elsewhere.sell(order), replayed)
    assert.deepEqual(await balanced(stock), { total: 10, available: 0, sold: 10 })
  })

  check('refuses an id that is known with another quantity or another buyer', async ({ stock }) => {
    await stock.open(sku, 10)
    const buyer = (id: string) => ({ id, limit: 5 })
    await stock.sell({ sku, orderId: 'plain' })
    await stock.sell({ sku, orderId: 'named', quantity: 2, buyer: buyer('ann lee') })
    const conflicts = [
      { sku, orderId: 'plain', quantity: 2 },
      { sku, orderId: 'named', quantity: 1 },
      { sku, orderId: 'named', quantity: 2, buyer: buyer('ann') },
    ]
    for (const order of conflicts) await assert.rejects(stock.sell(order), OrderConflictError)
    for (const order of [
      { sku, orderId: 'plain', buyer: buyer('ann') },
      { sku, orderId: 'named', quantity: 2 },
      { sku, orderId: 'named', quantity: 2, buyer: buyer('ann lee') },
    ]) {
      assert.deepEqual(await stock.sell(order), replayed)
    }
    // One conflict in a trip fails alone.
    const [bad, good] = await Promise.allSettled([
      stock.sell({ sku, orderId: 'plain', quantity: 7 }),
      stock.sell({ sku, orderId: 'other' }),
    ])
    assert.equal(bad.status, 'rejected')
    assert.deepEqual(good, { status: 'fulfilled', value: sold })
    assert.deepEqual(await balanced(stock), { total: 10, available: 6, sold: 4 })
  })

  check('sells a quantity whole or not at all', async ({ stock }) => {
    await stock.open(sku, 5)
    assert.deepEqual(await stock.sell({ sku, orderId: 'a', quantity: 3 }), sold)
    assert.deepEqual(await stock.sell({ sku, orderId: 'b', quantity: 3 }), refused('sold-out', 2))
    assert.deepEqual(await stock.sell({ sku, orderId: 'b', quantity: 3 }), refused('sold-out', 2))
    assert.deepEqual(await stock.sell({ sku, orderId: 'b', quantity: 2 }), sold, 'a refusal is not remembered')
    assert.deepEqual(await balanced(stock), { total: 5, available: 0, sold: 5 })
  })

  check('holds every buyer to the limit, in one trip and over many', async ({ stock, elsewhere }) => {
    await stock.open(sku, 1_000)
    const of = (id: string, count: number) => many(count, id).map((order) => ({ ...order, buyer: { id, limit: 2 } }))
    const results = await Promise.all([
      sellAll(stock, [...of('ann', 6), ...of('bob', 1)]),
      sellAll(
        elsewhere,
        of('ann', 6).map((order) => ({ ...order, orderId: `2-${order.orderId}` })),
      ),
    ])
    assert.equal(soldOf(results.flat()), 3)
    const more = { sku, orderId: 'more', buyer: { id: 'ann', limit: 2 } }
    assert.deepEqual(await stock.sell(more), refused('buyer-limit', 997))
    assert.deepEqual(
      await stock.sell({ ...more, buyer: { id: 'bob', limit: 2 }, quantity: 2 }),
      refused('buyer-limit', 997),
    )
    assert.deepEqual(await stock.sell({ ...more, buyer: { id: 'ann', limit: 3 } }), sold)
    assert.deepEqual(await balanced(stock), { total: 1_000, available: 996, sold: 4 })
  })

  check('restocks once per id', async ({ stock, elsewhere, onSale }) => {
    await stock.open(sku, 1)
    await sellAll(stock, many(4))
    await sellAll(elsewhere, many(4))
    await onSale(stock.restock(sku, 3, { id: 'delivery' }))
    await onSale(elsewhere.restock(sku, 3, { id: 'delivery' }))
    assert.deepEqual(await balanced(stock), { total: 4, available: 3, sold: 1 })
    assert.equal(soldOf(await sellAll(elsewhere, many(8, 'again'))), 3)
    await onSale(stock.restock(sku, 2))
    await onSale(stock.restock(sku, 2))
    assert.equal(soldOf(await sellAll(stock, many(8, 'more'))), 4)
    assert.deepEqual(await balanced(stock), { total: 8, available: 0, sold: 8 })
  })

  check('takes unsold units away, and never sold ones', async ({ stock }) => {
    await stock.open(sku, 10)
    await stock.sell({ sku, orderId: 'a', quantity: 4 })
    await assert.rejects(stock.restock(sku, -7, { id: 'x' }), RangeError)
    assert.deepEqual(await balanced(stock), { total: 10, available: 6, sold: 4 })
    await stock.restock(sku, -6, { id: 'x' })
    await stock.restock(sku, -6, { id: 'x' })
    assert.deepEqual(await balanced(stock), { total: 4, available: 0, sold: 4 })
    assert.deepEqual(await stock.sell({ sku, orderId: 'b' }), refused('sold-out', 0))
  })

  check('counts to the last safe integer, and no further', async ({ stock }) => {
    const most = Number.MAX_SAFE_INTEGER
    await stock.open(sku, most - 1)
    await assert.rejects(stock.restock(sku, 2), RangeError)
    await stock.restock(sku, 1)
    assert.deepEqual(await stock.sell({ sku, orderId: 'a', quantity: most - 2 }), sold)
    assert.deepEqual(await stock.sell({ sku, orderId: 'a', quantity: most - 2 }), replayed)
    assert.deepEqual(await balanced(stock), { total: most, available: 2, sold: most - 2 })
  })

  check('knows nothing of a SKU that is not on sale', async ({ stock }) => {
    const named = new RegExp(JSON.stringify(sku).replace(/[{}]/g, '\\$&'))
    assert.deepEqual(await stock.sell({ sku, orderId: 'a' }), refused('not-open', 0))
    await assert.rejects(stock.level(sku), { name: 'RangeError', message: named })
    await assert.rejects(stock.restock(sku, 1), { name: 'RangeError', message: named })
    await assert.rejects(listed(stock), { name: 'RangeError', message: named })
    assert.equal(await stock.find('a', sku), undefined)
    await stock.remove(sku)
  })

  check('ends a sale and may begin another under its name', async ({ stock, elsewhere, onSale }) => {
    await stock.open(sku, 2)
    await sellAll(stock, many(4))
    await sellAll(elsewhere, many(4))
    await stock.remove(sku)
    await stock.remove(sku)
    await assert.rejects(elsewhere.level(sku), RangeError)
    assert.equal(await onSale(elsewhere.open(sku, 3)), true)
    assert.deepEqual(await sellAll(stock, many(2)), [sold, sold], 'the ids of the old sale are forgotten')
    assert.deepEqual(await balanced(elsewhere), { total: 3, available: 1, sold: 2 })
  })

  check('lists every order once, over many pages, and finds each', async ({ stock }) => {
    await stock.open(sku, 10_000)
    const orders = many(2_600).map((order, i) => {
      return { ...order, quantity: 1 + (i % 3), ...(i % 2 ? { buyer: { id: `b ${i}`, limit: 9 } } : {}) }
    })
    await sellAll(stock, orders)
    const recorded = new Map((await listed(stock)).map((order) => [order.orderId, order]))
    assert.equal(recorded.size, orders.length)
    for (const { orderId, quantity, buyer } of orders) {
      const expected = { orderId, quantity, state: 'sold', ...(buyer ? { buyerId: buyer.id } : {}) }
      assert.deepEqual(recorded.get(orderId), expected)
    }
    const found = await Promise.all(['order-0', 'order-1', 'stranger'].map((orderId) => stock.find(orderId, sku)))
    assert.deepEqual(found, [recorded.get('order-0'), recorded.get('order-1'), undefined])
    await balanced(stock)
  })

  check('tells awkward names apart', async ({ stock }) => {
    const awkward = [
      'a b',
      'a',
      ' a',
      'a:b',
      '{a}',
      '%7Ba}',
      '"',
      '\\',
      '\n',
      '\u0000',
      'é',
      'e\u0301',
      '😀',
      '[1]',
      '0',
      '1e3',
    ]
    for (const name of awkward) {
      assert.equal(await stock.open(name, 100), true, JSON.stringify(name))
      const buyer = { id: name, limit: 1 }
      const results = await sellAll(
        stock,
        awkward.map((orderId) => ({ sku: name, orderId, ...(orderId === name ? { buyer } : {}) })),
      )
      assert.equal(soldOf(results), awkward.length)
      assert.deepEqual(await stock.sell({ sku: name, orderId: name, buyer }), replayed)
      assert.deepEqual((await listed(stock, name)).map((order) => order.orderId).sort(), [...awkward].sort())
    }
  })

  check('takes names of up to 8,192 bytes and tells those apart that differ at their end', async ({ stock }) => {
    const longest = [
      'x'.repeat(8_192),
      `${'x'.repeat(8_191)}y`,
      `${'x'.repeat(8_191)} `,
      'é'.repeat(4_096),
      '%'.repeat(8_192),
      '{}'.repeat(4_096),
      '\0'.repeat(8_192),
      '"'.repeat(8_192),
    ]
    for (const name of [longest[0] as string, longest[4] as string, longest[5] as string]) {
      assert.equal(await stock.open(name, 100), true)
      const orders = longest.map((orderId) => ({ sku: name, orderId, buyer: { id: orderId, limit: 1 } }))
      assert.equal(soldOf(await sellAll(stock, orders)), longest.length)
      assert.deepEqual(
        await stock.sell({ ...(orders[0] as Order), orderId: 'more' }),
        refused('buyer-limit', 100 - longest.length),
      )
      const recorded = await listed(stock, name)
      assert.deepEqual(recorded.map(({ orderId }) => orderId).sort(), [...longest].sort())
      for (const { orderId, buyerId } of recorded) assert.equal(buyerId, orderId)
      assert.equal((await stock.find(longest[1] as string, name))?.buyerId, longest[1])
      for (let i = 0; i < 2; i++) await stock.restock(name, 1, { id: longest[0] as string })
      assert.equal((await stock.level(name)).total, 101)
    }
  })

  check('turns calls away once closed, twice closed as well', async ({ stock }) => {
    await stock.open(sku, 1)
    await stock.close()
    await stock.close()
    await assert.rejects(stock.sell({ sku, orderId: 'a' }), ClosedError)
    await assert.rejects(stock.open(sku, 1), ClosedError)
    await assert.rejects(stock.reserve({ sku, orderId: 'a', holdMs: 1_000 }), ClosedError)
    await assert.rejects(stock.confirm('a', sku), ClosedError)
    await assert.rejects(stock.cancel('a', sku), ClosedError)
    await assert.rejects(stock.refund('a', sku), ClosedError)
    await assert.rejects(stock.sellTogether([{ sku, orderId: 'a' }]), ClosedError)
    await assert.rejects(stock.level(sku), ClosedError)
    await assert.rejects(listed(stock), ClosedError)
  })

  stockHoldCases(check)
  stockSettlementCases(check)
  stockBasketCases(check)
  stockDriverCases(check)
  stockReconcileCases(check)
}
