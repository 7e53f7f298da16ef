import assert from 'node:assert/strict'
import { isDeepStrictEqual } from 'node:util'
import { longMs, refused, replayed, request, sku, sold, trip, type Bench, type Check } from './contract-shared.js'
import type { SaleRequest, Settled, Settlement, StockChange } from './driver.js'
import type { SaleResult } from './types.js'

type Driver = Bench['driver']

const open = (driver: Driver, quantity: number, name = sku) =>
  driver.adjust(name, [{ kind: 'open', epoch: 'e', quantity }], trip)

/** Available, held and sold units, and how many ids are recorded. */
async function stateOf(driver: Driver, name = sku): Promise<number[]> {
  const state = (await driver.level(name, undefined, trip)) ?? assert.fail('it is on sale')
  assert.equal(state.total, state.available + state.held + state.sold)
  return [state.available, state.held, state.sold, state.recorded]
}

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

  check('driver: decides a trip of 1,000 in order, and the same trip again sells nothing', async (bench) => {
    const { driver, ordered } = bench
    await driver.adjust(sku, [{ kind: 'open', epoch: 'e', quantity: 998 }], trip)
    const orders = Array.from({ length: 999 }, (_, i) => request(`o${i}`, { buyer: { id: `b${i}`, limit: 1 } }))
    const first = await driver.sell(sku, orders, trip)
    const late = ordered ? 998 : first.findIndex((reply) => 'ok' in reply && !reply.ok)
    const others = (reply: SaleResult): SaleResult[] => Array<SaleResult>(998).fill(reply)
    assert.deepEqual(first, others(sold).toSpliced(late, 0, refused('sold-out', 0)))
    const again = await driver.sell(sku, [...orders, orders[late === 0 ? 1 : 0] as SaleRequest], trip)
    assert.deepEqual(again, [...others(replayed).toSpliced(late, 0, refused('sold-out', 0)), replayed])
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
      const back = { kind: 'restock', id: `back${attempt}`, quantity: -5 } as const
      if (waited === 0) await driver.adjust(sku, [back], trip)
    }
    assert.ok(waited > 0 && waited <= forMs, `${waited} ms`)
    const units = (await driver.level(sku, undefined, trip))?.available ?? 0
    assert.ok(units >= 6)
    await onSale(Promise.resolve())
    assert.deepEqual(await driver.sell(sku, [request('b', { quantity: units })], trip), [sold])
    assert.equal((await driver.level(sku, close, trip))?.closedForMs, forMs)
  })

  check('driver: settles a trip of 1,000 in order, and the same trip again changes nothing', async ({ driver }) => {
    await open(driver, 3_000)
    const ids = Array.from({ length: 999 }, (_, i) => `o${i}`)
    const hold = { quantity: 3, holdMs: longMs, buyer: { id: 'ann', limit: 2_997 } }
    const held = ids.map((orderId) => request(orderId, hold))
    assert.deepEqual(await driver.sell(sku, held, trip), Array(999).fill(sold))
    assert.deepEqual(await driver.sell(sku, held, trip), Array(999).fill(replayed))
    const settle = async (kind: Settlement['kind'], quantity?: number): Promise<string[]> => {
      // The first id is settled twice in one trip.
      const settlements = [...ids, 'o0'].map((orderId) => ({ kind, orderId, quantity }))
      const replies = await driver.settle(sku, settlements, trip)
      return replies.map((reply) => (reply instanceof Error ? reply.name : reply.outcome))
    }
    assert.deepEqual(await settle('confirm', 2), [...Array<string>(999).fill('done'), 'already'])
    const confirmed = [1_002, 0, 1_998, 999]
    assert.deepEqual(await stateOf(driver), confirmed)
    assert.deepEqual(await settle('confirm', 2), Array(1_000).fill('already'))
    assert.deepEqual(await settle('confirm', 1), Array(1_000).fill('OrderConflictError'))
    assert.deepEqual(await settle('cancel'), Array(1_000).fill('confirmed'))
    assert.deepEqual(await stateOf(driver), confirmed)
    const more = request('more', { ...hold, quantity: 1_000 })
    assert.deepEqual(await driver.sell(sku, [more], trip), [refused('buyer-limit', 1_002)])
    assert.deepEqual(await settle('refund'), [...Array<string>(999).fill('done'), 'already'])
    assert.deepEqual(await settle('refund'), Array(1_000).fill('already'))
    assert.deepEqual(await stateOf(driver), [3_000, 0, 0, 999])
    assert.deepEqual(await driver.sell(sku, [more], trip), [sold])
    assert.deepEqual(await stateOf(driver), [2_000, 1_000, 0, 1_000])
  })

  check('driver: settles each of a trip by itself', async ({ driver }) => {
    await open(driver, 9)
    await driver.sell(sku, [request('sold'), request('held', { quantity: 2, holdMs: longMs })], trip)
    const confirm = (orderId: string, quantity?: number) => ({ kind: 'confirm' as const, orderId, quantity })
    const all = [confirm('held', 3), confirm('nobody'), confirm('sold'), confirm('sold', 2), confirm('held', 1)]
    const told = (reply: Settled | Error) => (reply instanceof Error ? reply.name : reply.outcome)
    const replies = await driver.settle(sku, all, trip)
    assert.deepEqual(replies.map(told), ['RangeError', 'unknown', 'already', 'OrderConflictError', 'done'])
    const again = await driver.settle(sku, all, trip)
    const expected = ['OrderConflictError', 'unknown', 'already', 'OrderConflictError', 'already']
    assert.deepEqual(again.map(told), expected)
    assert.deepEqual(await stateOf(driver), [7, 0, 2, 2])
    assert.deepEqual(await driver.settle('nowhere', all.slice(0, 1), trip), [{ outcome: 'unknown', onSaleInMs: 0 }])
  })

  check('driver: says how long units that come back wait, and those alone', async ({ driver }) => {
    await open(driver, 9)
    await driver.sell(sku, [request('a', { quantity: 4, holdMs: longMs }), request('b', { quantity: 5 })], trip)
    const waitOf = async (settlement: Settlement): Promise<number> => {
      const [reply] = await driver.settle(sku, [settlement], trip)
      return reply && 'onSaleInMs' in reply ? reply.onSaleInMs : assert.fail(String(reply))
    }
    const forMs = longMs / 2
    assert.equal((await driver.level(sku, { below: 1, forMs }, trip))?.closedForMs, forMs)
    assert.equal(await waitOf({ kind: 'confirm', orderId: 'nobody' }), 0)
    const part: Settlement = { kind: 'confirm', orderId: 'a', quantity: 3 }
    const waited = await waitOf(part)
    assert.ok(waited > 0 && waited <= forMs, `${waited} ms`)
    assert.equal(await waitOf(part), 0, 'nothing came back')
    assert.ok((await waitOf({ kind: 'refund', orderId: 'b' })) > 0)
    assert.deepEqual(await stateOf(driver), [6, 0, 3, 2])
    assert.deepEqual(await driver.sell(sku, [request('c')], trip), [refused('sold-out', 0)])
    assert.equal((await driver.level(sku, { below: 7, forMs }, trip))?.closedForMs, 0, 'it is not prolonged')
  })

  check('driver: lets nobody say sold out for longer than the next hold lasts', async ({ driver }) => {
    await open(driver, 2)
    const holds = [request('a', { holdMs: longMs }), request('b', { holdMs: longMs / 4 })]
    await driver.sell(sku, holds, trip)
    const closed = async () => (await driver.level(sku, { below: 1, forMs: longMs }, trip))?.closedForMs ?? 0
    const first = await closed()
    assert.ok(first > 0 && first <= (longMs / 4) * 1.001, `${first} ms`)
    await driver.settle(sku, [{ kind: 'confirm', orderId: 'b' }], trip)
    const second = await closed()
    assert.ok(second > first && second <= longMs, `${second} ms`)
    await driver.settle(sku, [{ kind: 'confirm', orderId: 'a' }], trip)
    assert.equal(await closed(), longMs)
  })

  check('driver: decides baskets in order, and the same trip again sells nothing', async (bench) => {
    const { driver, baskets, ordered } = bench
    const names = baskets ? ['one', 'two {x}', 'three'] : ['one']
    for (const name of names) await open(driver, 300, name)
    const buyer = { id: 'ann', limit: 302 }
    const basket = (orderId: string, holdMs?: number) =>
      names.map((name) => request(orderId, { sku: name, buyer, ...(holdMs === undefined ? {} : { holdMs }) }))
    const trips = Array.from({ length: 303 }, (_, i) => basket(`o${i}`, i % 2 ? longMs : undefined))
    trips.push(basket('o0'), basket('o1'))
    const soldOut = { ...refused('sold-out', 0), refusedBy: 0 }
    const last = names.length - 1
    const alone = request('last', { sku: names[last] as string })
    await driver.sell(alone.sku, [alone], trip)
    const told = async () =>
      (await driver.sellTogether(trips, trip)).map((reply) => (reply instanceof Error ? reply.name : reply))
    const first = await told()
    if (!ordered) {
      const taken = (replies: readonly unknown[], reply: SaleResult): number =>
        replies.slice(0, 303).filter((one) => isDeepStrictEqual(one, reply)).length
      assert.equal(taken(first, sold), 299)
      assert.equal(taken(await told(), replayed), 299)
      const [available, held = 0, units = 0, recorded] = await stateOf(driver, alone.sku)
      assert.deepEqual([available, held + units, recorded], [0, 300, 300])
      return
    }
    assert.deepEqual(first.slice(0, 299), Array(299).fill(sold))
    const refusals = Array.from({ length: 4 }, () => ({ ...soldOut, refusedBy: last }))
    assert.deepEqual(first.slice(299), [...refusals, replayed, 'OrderConflictError'])
    const again = await told()
    assert.deepEqual(again, [...Array<SaleResult>(299).fill(replayed), ...first.slice(299)])
    assert.deepEqual(await stateOf(driver, alone.sku), [0, 149, 151, 300])
    if (baskets) assert.deepEqual(await stateOf(driver, 'one'), [1, 149, 150, 299])
  })
}
