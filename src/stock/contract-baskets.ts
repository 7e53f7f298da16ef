import assert from 'node:assert/strict'
import { OrderConflictError } from '../core/errors.js'
import {
  counts,
  lapse,
  longMs,
  many,
  refused,
  replayed,
  sellAll,
  shortMs,
  sku,
  sold,
  type Bench,
  type Check,
} from './contract-shared.js'
import type { BasketResult, Order, RefusalReason, Stock } from './types.js'

const hat = 'hat'
const sock = 'sock {7}'
const all = [sku, hat, sock]

const refusedBy = (index: number, reason: RefusalReason, available: number): BasketResult => {
  return { ok: false, refusedBy: index, reason, available }
}
const openAll = async (stock: Stock, units: number): Promise<void> => {
  await Promise.all(all.map((name) => stock.open(name, units)))
}
const countsOfAll = (stock: Stock): Promise<number[][]> => Promise.all(all.map((name) => counts(stock, name)))
/** One order of each SKU, of one id. */
const oneOfEach = (orderId: string, more: Partial<Order> = {}): Order[] =>
  all.map((name) => ({ sku: name, orderId, ...more }))

/** The part of the suite for baskets. */
export function stockBasketCases(check: Check): void {
  const together = (name: string, body: (bench: Bench) => Promise<void>): void =>
    check(name, async (bench) => {
      if (bench.baskets) return body(bench)
      await openAll(bench.stock, 1)
      const message = /do not share a slot of the Cluster: give redisStock (a group|no shards)$/
      const apart = { name: 'RangeError', message }
      await assert.rejects(bench.stock.sellTogether(oneOfEach('a')), apart)
      await assert.rejects(bench.elsewhere.sellTogether(oneOfEach('a'), { holdMs: longMs }), apart)
      assert.deepEqual(await countsOfAll(bench.stock), Array(3).fill([1, 0, 0]))
    })

  together('sells a basket whole or not at all', async ({ stock, elsewhere }) => {
    await openAll(stock, 5)
    assert.deepEqual(await stock.sellTogether(oneOfEach('a')), sold)
    assert.deepEqual(await countsOfAll(elsewhere), Array(3).fill([4, 0, 1]))
    const tooMany = oneOfEach('b').map((order, i) => ({ ...order, quantity: 3 + i }))
    assert.deepEqual(await elsewhere.sellTogether(tooMany), refusedBy(2, 'sold-out', 4))
    assert.deepEqual(await elsewhere.sellTogether(tooMany.toReversed()), refusedBy(0, 'sold-out', 4))
    assert.deepEqual(await countsOfAll(stock), Array(3).fill([4, 0, 1]))
    assert.equal(await stock.find('b', sku), undefined, 'a refusal is not remembered')
    assert.deepEqual(await stock.sellTogether(tooMany.slice(0, 2)), sold)
    assert.deepEqual(await countsOfAll(stock), [
      [1, 0, 4],
      [0, 0, 5],
      [4, 0, 1],
    ])
    assert.deepEqual(await elsewhere.sellTogether(oneOfEach('c')), refusedBy(1, 'sold-out', 0))
    assert.deepEqual(await elsewhere.sellTogether(oneOfEach('c')), refusedBy(1, 'sold-out', 0))
    assert.deepEqual(await stock.sell({ sku, orderId: 'c' }), sold)
  })

  together('holds a basket whole, which is settled order by order', async (bench) => {
    const { stock, elsewhere, onSale } = bench
    await openAll(stock, 2)
    assert.deepEqual(await stock.sellTogether(oneOfEach('a', { quantity: 2 }), { holdMs: longMs }), sold)
    assert.deepEqual(await countsOfAll(elsewhere), Array(3).fill([0, 2, 0]))
    assert.deepEqual(await elsewhere.sellTogether(oneOfEach('a', { quantity: 2 }), { holdMs: 1 }), replayed)
    assert.equal(await elsewhere.confirm('a', sku), 'done')
    assert.equal(await onSale(stock.cancel('a', hat)), 'done')
    assert.deepEqual(await countsOfAll(stock), [
      [0, 0, 2],
      [2, 0, 0],
      [0, 2, 0],
    ])
    const again = stock.sellTogether(oneOfEach('a', { quantity: 2 }), { holdMs: longMs })
    await assert.rejects(again, OrderConflictError, 'the sold order comes before the spent one')
    const rest = oneOfEach('a', { quantity: 2 }).slice(1)
    assert.deepEqual(await stock.sellTogether(rest, { holdMs: longMs }), refusedBy(0, 'spent', 2))
    assert.deepEqual(await countsOfAll(stock), [
      [0, 0, 2],
      [2, 0, 0],
      [0, 2, 0],
    ])
  })

  together('lets the holds of a basket end', async (bench) => {
    const { stock, elsewhere } = bench
    await openAll(stock, 1)
    assert.deepEqual(await stock.sellTogether(oneOfEach('a'), { holdMs: shortMs }), sold)
    await lapse(bench)
    assert.deepEqual(await elsewhere.sellTogether(oneOfEach('a')), refusedBy(0, 'spent', 1))
    assert.deepEqual(await elsewhere.sellTogether(oneOfEach('b')), sold)
    assert.deepEqual(await countsOfAll(stock), Array(3).fill([0, 0, 1]))
  })

  together('counts known orders as fulfilled, wherever they stand', async ({ stock, elsewhere }) => {
    await openAll(stock, 1)
    await stock.sell({ sku: hat, orderId: 'a' })
    const basket = oneOfEach('a')
    assert.deepEqual(await elsewhere.sellTogether(basket.slice(1, 2)), replayed)
    assert.deepEqual(await elsewhere.sellTogether([...basket.slice(1), ...basket.slice(0, 1)]), sold)
    for (const one of [stock, elsewhere]) {
      assert.deepEqual(await one.sellTogether(basket), replayed)
      assert.deepEqual(await one.sellTogether(basket.toReversed()), replayed)
      for (const order of basket) assert.deepEqual(await one.sell(order), replayed)
    }
    assert.deepEqual(await countsOfAll(stock), Array(3).fill([0, 0, 1]))
  })

  together('tells of a conflict before a refusal, and changes nothing', async ({ stock, elsewhere }) => {
    await openAll(stock, 10)
    await stock.sell({ sku: sock, orderId: 'sold', quantity: 2, buyer: { id: 'ann', limit: 5 } })
    await stock.reserve({ sku: sock, orderId: 'held', holdMs: longMs })
    const before = await countsOfAll(stock)
    const rejects = (orders: Order[], what: string, options?: { holdMs: number }): Promise<void> =>
      assert.rejects(
        elsewhere.sellTogether(orders, options),
        (error: Error) => error instanceof OrderConflictError && error.message.endsWith(what),
      )
    const fine = { sku: hat, orderId: 'new' }
    const impossible = { sku, orderId: 'new', quantity: 99 }
    const known = { sku: sock, orderId: 'sold', quantity: 2 }
    for (const others of [[fine], [impossible], [impossible, fine], [{ ...fine, sku: 'nowhere' }]]) {
      await rejects([...others, { ...known, quantity: 1 }], '"sock {7}" is known with another quantity')
      await rejects([{ ...known, buyer: { id: 'bob', limit: 5 } }, ...others], 'is known with another buyer')
      await rejects([...others, known], 'is sold already', { holdMs: longMs })
      await rejects([{ sku: sock, orderId: 'held' }, ...others], 'is held already')
    }
    assert.deepEqual(await countsOfAll(stock), before)
    assert.deepEqual(await elsewhere.sellTogether([fine, known]), sold)
  })

  together('names the order that was refused by its place in the list', async ({ stock, elsewhere }) => {
    await openAll(stock, 4)
    await stock.sell({ sku: hat, orderId: 'gone' })
    await elsewhere.refund('gone', hat)
    const at = async (orders: Order[], expected: BasketResult, holdMs?: number): Promise<void> => {
      for (const one of [stock, elsewhere]) assert.deepEqual(await one.sellTogether(orders, { holdMs }), expected)
    }
    const buyer = { id: 'ann', limit: 1 }
    for (const holdMs of [undefined, longMs]) {
      const one = { sku: sock, orderId: 'x' }
      await at(
        [one, { sku: hat, orderId: 'gone' }, { sku, orderId: 'x', quantity: 9 }],
        refusedBy(1, 'spent', 4),
        holdMs,
      )
      await at([one, { sku: 'nowhere', orderId: 'x' }], refusedBy(1, 'not-open', 0), holdMs)
      await at([{ sku, orderId: 'x', quantity: 2, buyer }, one], refusedBy(0, 'buyer-limit', 4), holdMs)
      // Two orders of one SKU and id are one, in the place of the first.
      const merged = [one, { sku: hat, orderId: 'x', quantity: 3 }, one, { sku: hat, orderId: 'x', quantity: 2 }]
      await at(merged, refusedBy(1, 'sold-out', 4), holdMs)
      await at([one, one, one, one, one], refusedBy(0, 'sold-out', 4), holdMs)
      await at([one, one, { sku, orderId: 'y', quantity: 5 }], refusedBy(2, 'sold-out', 4), holdMs)
    }
    assert.deepEqual(await countsOfAll(stock), Array(3).fill([4, 0, 0]))
  })

  check('sums up the orders of one SKU and id, and refuses two ids', async ({ stock, elsewhere }) => {
    await stock.open(sku, 9)
    const one = { sku, orderId: 'a', quantity: 2, buyer: { id: 'ann', limit: 5 } }
    const { buyer: _, ...nameless } = one
    assert.deepEqual(await stock.sellTogether([one, nameless]), sold)
    assert.deepEqual(await stock.find('a', sku), { orderId: 'a', quantity: 4, state: 'sold', buyerId: 'ann' })
    assert.deepEqual(await elsewhere.sellTogether([nameless, one]), replayed)
    assert.deepEqual(await elsewhere.sell({ sku, orderId: 'a', quantity: 4 }), replayed)
    await assert.rejects(elsewhere.sellTogether([one]), OrderConflictError)
    await assert.rejects(elsewhere.sellTogether([one, one, one]), OrderConflictError)
    const more = { ...one, orderId: 'b', quantity: 1 }
    assert.deepEqual(await elsewhere.sellTogether([more, more]), refusedBy(0, 'buyer-limit', 5))
    const rejects = (orders: Order[]): Promise<void> => assert.rejects(stock.sellTogether(orders), RangeError)
    await rejects([more, { ...more, orderId: 'c' }])
    await rejects([more, { ...more, buyer: { id: 'bob', limit: 5 } }])
    await rejects([more, { ...more, buyer: { id: 'ann', limit: 6 } }])
    await rejects([more, { ...more, quantity: Number.MAX_SAFE_INTEGER }])
    await rejects([])
    assert.deepEqual(await counts(stock), [5, 0, 4])
  })

  together('holds every buyer of a basket to the limits', async ({ stock, elsewhere }) => {
    await openAll(stock, 100)
    const buyer = { id: 'ann', limit: 2 }
    const basket = oneOfEach('a', { buyer })
    assert.deepEqual(await stock.sellTogether(basket), sold)
    assert.deepEqual(await stock.reserve({ sku: hat, orderId: 'b', buyer, holdMs: longMs }), sold)
    const more = oneOfEach('c', { buyer })
    assert.deepEqual(await elsewhere.sellTogether(more), refusedBy(1, 'buyer-limit', 98))
    assert.equal(await elsewhere.cancel('b', hat), 'done')
    assert.deepEqual(await elsewhere.sellTogether(more), sold)
    assert.deepEqual(await elsewhere.sellTogether(oneOfEach('d', { buyer })), refusedBy(0, 'buyer-limit', 98))
    assert.deepEqual(await countsOfAll(stock), Array(3).fill([98, 0, 2]))
  })

  together('sells baskets and orders of two processes without selling a unit twice', async ({ stock, elsewhere }) => {
    await openAll(stock, 100)
    const baskets = (one: Stock, name: string): Promise<BasketResult[]> =>
      Promise.all(
        many(120, name).map(({ orderId }, i) => {
          const orders = [...all.slice(i % 3), ...all.slice(0, i % 3)].map((name) => ({ sku: name, orderId }))
          return one.sellTogether(orders, i % 2 ? { holdMs: longMs } : undefined)
        }),
      )
    const [here, there, alone] = await Promise.all([
      baskets(stock, 'here'),
      baskets(elsewhere, 'there'),
      sellAll(elsewhere, many(60, 'alone')),
    ])
    const whole = [...here, ...there].filter(({ ok }) => ok).length
    const singly = alone.filter(({ ok }) => ok).length
    assert.equal(whole + singly, 100)
    const [[left], ...others] = (await countsOfAll(stock)) as [number[], ...number[][]]
    assert.equal(left, 0)
    for (const [available = 0, held = 0, sold = 0] of others) {
      assert.equal(available, 100 - whole)
      assert.equal(held + sold, whole)
    }
    assert.deepEqual(await stock.sell({ sku, orderId: 'late' }), refused('sold-out', 0))
  })

  together('sells as many SKUs together as a basket may have', async ({ stock, elsewhere }) => {
    const names = Array.from({ length: 1_000 }, (_, i) => `sku {${i}}`)
    await Promise.all(names.map((name) => stock.open(name, 2)))
    const basket = (orderId: string): Order[] =>
      names.map((name) => ({ sku: name, orderId, buyer: { id: 'ann', limit: 2 } }))
    assert.deepEqual(await stock.sellTogether(basket('a')), sold)
    await elsewhere.sell({ sku: 'sku {999}', orderId: 'x' })
    assert.deepEqual(await elsewhere.sellTogether(basket('b')), refusedBy(999, 'sold-out', 0))
    assert.deepEqual(await elsewhere.sellTogether(basket('a')), replayed)
    assert.deepEqual(await counts(stock, 'sku {0}'), [1, 0, 1])
    const message = 'orders must have 1 to 1000 elements, got 1001'
    await assert.rejects(stock.sellTogether([...basket('c'), { sku, orderId: 'c' }]), { name: 'RangeError', message })
  })
}
