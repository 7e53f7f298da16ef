import assert from 'node:assert/strict'
import { refused, replayed, request, sku, sold, trip, type Check } from './contract-shared.js'
import type { StockChange } from './driver.js'
import type { SaleResult } from './types.js'

/** The part of the suite that asks the driver itself, as a client does that sends a command again because its reply was lost. */
export function stockDriverCases(check: Check): void {
  check('driver: changes arrive twice and apply once', async ({ driver }) => {
    const outcome = async (change: StockChange) => (await driver.adjust(sku, [change], trip))[0]?.outcome
    const open = { kind: 'open', epoch: 'first', quantity: 5 } as const
    assert.equal(await outcome(open), 'done')
    assert.equal(await outcome(open), 'done')
    assert.equal(await outcome({ ...open, epoch: 'second' }), 'refused')
    const restock = { kind: 'restock', id: 'r', quantity: 2 } as const
    for (let i = 0; i < 2; i++) {
      assert.deepEqual(await driver.adjust(sku, [restock], trip), [{ outcome: 'done', available: 7, onSaleInMs: 0 }])
    }
    const remove = { kind: 'remove', epoch: 'first' } as const
    await outcome(remove)
    await outcome({ ...open, epoch: 'second' })
    await outcome(remove)
    assert.equal((await driver.level(sku, undefined, trip))?.epoch, 'second', 'a late remove spares the next sale')
    assert.equal((await driver.level(sku, undefined, trip))?.total, 5)
  })

  check('driver: makes many changes one after the other', async ({ driver }) => {
    const restocks = [5, -3, -9, 2].map((quantity, i) => ({ kind: 'restock', id: `r${i}`, quantity }) as const)
    const made = async (changes: readonly StockChange[]) =>
      (await driver.adjust(sku, changes, trip)).map(({ outcome, available }) => [outcome, available])
    assert.deepEqual(await made(restocks.slice(0, 2)), Array(2).fill(['not-open', 0]))
    const opens = ['a', 'b', 'a'].map((epoch) => ({ kind: 'open', epoch, quantity: 2 }) as const)
    assert.deepEqual(await made(opens), [
      ['done', 2],
      ['refused', 2],
      ['done', 2],
    ])
    const expected = [
      ['done', 7],
      ['done', 4],
      ['refused', 4],
      ['done', 6],
      ['done', 6],
    ]
    assert.deepEqual(await made([...restocks, restocks[0] as StockChange]), expected)
    const removes = ['b', 'a', 'a'].map((epoch) => ({ kind: 'remove', epoch }) as const)
    assert.deepEqual(
      (await made(removes)).map(([outcome]) => outcome),
      ['done', 'done', 'done'],
    )
    assert.equal(await driver.level(sku, undefined, trip), undefined)
  })

  check('driver: decides a trip of 1,000 in order, and the same trip again sells nothing', async ({ driver }) => {
    await driver.adjust(sku, [{ kind: 'open', epoch: 'e', quantity: 998 }], trip)
    const orders = Array.from({ length: 999 }, (_, i) => request(`o${i}`, { buyer: { id: `b${i}`, limit: 1 } }))
    orders.push(request('o0'))
    const first = await driver.sell(sku, orders, trip)
    assert.deepEqual(first.slice(0, 998), Array<SaleResult>(998).fill(sold))
    assert.deepEqual(first.slice(998), [refused('sold-out', 0), replayed])
    const again = await driver.sell(sku, orders, trip)
    assert.deepEqual(again.slice(0, 998), Array<SaleResult>(998).fill(replayed))
    assert.deepEqual(again.slice(998), [refused('sold-out', 0), replayed])
    const level = await driver.level(sku, undefined, trip)
    assert.deepEqual([level?.available, level?.sold, level?.recorded], [0, 998, 998])
  })

  check('driver: units that come back wait for those who may say sold out', async ({ driver, onSale }) => {
    const forMs = 250
    const close = { below: 10, forMs }
    await driver.adjust(sku, [{ kind: 'open', epoch: 'e', quantity: 12 }], trip)
    assert.equal((await driver.level(sku, close, trip))?.closedForMs, 0, 'too much is left')
    await driver.sell(sku, [request('a', { quantity: 11 })], trip)
    assert.equal((await driver.level(sku, undefined, trip))?.closedForMs, 0, 'nobody asked')
    // The server may be slow to answer the second question, so ask until the first answer is still in force.
    let waited = 0
    for (let attempt = 1; waited === 0 && attempt <= 50; attempt++) {
      assert.equal((await driver.level(sku, close, trip))?.closedForMs, forMs)
      const [changed] = await driver.adjust(sku, [{ kind: 'restock', id: `r${attempt}`, quantity: 5 }], trip)
      assert.equal(changed?.outcome, 'done')
      waited = changed.onSaleInMs
    }
    assert.ok(waited > 0 && waited <= forMs, `${waited} ms`)
    const units = (await driver.level(sku, undefined, trip))?.available ?? 0
    assert.ok(units >= 6)
    await onSale(Promise.resolve())
    assert.deepEqual(await driver.sell(sku, [request('b', { quantity: units })], trip), [sold])
    assert.equal((await driver.level(sku, close, trip))?.closedForMs, forMs)
  })
}
