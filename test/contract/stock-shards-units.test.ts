import { expect, it } from 'vitest'
import { NothingApplied } from '../../src/core/group-commit.js'
import { homeOf } from '../../src/stock/redis/shard-names.js'
import { createSharded } from '../../src/stock/redis/sharded.js'
import { createShards } from '../../src/stock/redis/shards.js'
import { describeWithServices } from '../services/vitest.js'
import {
  appliedOf,
  nameAt,
  order,
  readingAcrossTransfer,
  request,
  setUp,
  shards,
  sku,
  trip,
} from './stock-shards-steps.js'

/** Reconciles with a client that sends each correction twice. */
async function reconcileResending(salesOf: ReturnType<typeof setUp>['salesOf']): Promise<void> {
  const resending = createSharded(
    salesOf((sales) => ({
      async move(...args) {
        const reply = await sales.move(...args)
        if (args[2][0] === 'correct') await sales.move(...args)
        return reply
      },
    })),
  )
  await resending.adjust(sku, [{ kind: 'freeze', token: 'one', quantity: 0, forMs: 10_000 }], trip)
  await resending.adjust(sku, [{ kind: 'thaw', token: 'one' }], trip)
}

describeWithServices('units and ids of a SKU over four shards', ['redis-cluster'], ({ 'redis-cluster': server }) => {
  it('counts a transfer that was received and noted while it read', async () => {
    const { salesOf, stock } = setUp(server)
    const slow = await readingAcrossTransfer(salesOf, stock)
    const state = await createShards(slow).readExactly(sku, undefined, trip)
    expect(state).toMatchObject({ exact: true, left: 10 })
  })

  it('says nothing is sold out while a transfer comes in between', async () => {
    const { salesOf, stock, stockOf } = setUp(server)
    const slow = await readingAcrossTransfer(salesOf, stock)
    const gated = stockOf(createSharded(slow), { local: { mode: 'gate', units: 20 } })
    expect(await gated.level(sku)).toEqual({ total: 10, available: 10, held: 0, sold: 0 })
  })

  it('an order that sold is not told applied no because another in its trip found no units', async () => {
    const { redis, stock, key } = setUp(server)
    await stock.open(sku, 100)
    const first = nameAt(0, 'small')
    // One shard cannot be read.
    await redis.set(key(2, 'stock'), 'foreign')
    const [small, large] = await Promise.all([
      appliedOf(stock.sell(order(first))),
      appliedOf(stock.sell(order(nameAt(0, 'large'), { quantity: 1_000 }))),
    ])
    expect(large).toMatch(/^no: /)
    const recorded = await redis.hget(key(0, 'orders'), first)
    expect(recorded).toBe('s1')
    expect(String(small)).not.toMatch(/^no: /)
  })

  it('a restock that was applied is not told applied no because another in its trip found no units', async () => {
    const { redis, stock, key } = setUp(server)
    await stock.open(sku, 10)
    await redis.del(key(2, 'stock'))
    await redis.set(key(2, 'stock'), 'foreign')
    const [more, less] = await Promise.all([appliedOf(stock.restock(sku, 5)), appliedOf(stock.restock(sku, -1_000))])
    expect(String(less)).toMatch(/^(no|unknown): /)
    expect(await redis.hget(key(0, 'stock'), 'total')).toBe('15')
    expect(String(more)).not.toMatch(/^no: /)
  })

  it('a freeze that failed at one shard leaves no lease at the others', async () => {
    const { redis, salesOf, stock, key } = setUp(server)
    await stock.open(sku, 10)
    const plain = salesOf()
    const driver = createSharded(salesOf())
    const freeze = async (token: string, forMs: number) =>
      (await driver.adjust(sku, [{ kind: 'freeze', token, quantity: 0, forMs }], trip))[0]?.outcome
    // A process that was killed while it renewed its leases: that of one shard ends later.
    await plain[2]?.adjust(sku, [{ kind: 'freeze', token: 'killed', quantity: 0, forMs: 60_000 }], trip)
    expect(await freeze('second', 60_000)).toBe('refused')
    await redis.hset(key(2, 'stock'), 'frozen', 'killed 1 60000')
    // Nobody holds any lease that matters now: the killed one's has ended, the second has given up.
    expect(await freeze('third', 60_000)).toBe('done')
  })

  it('a freeze that one shard refuses is told applied unknown, and leaves no lease at the others', async () => {
    const { salesOf, stock } = setUp(server)
    await stock.open(sku, 10)
    await stock.level(sku)
    const readOnly = createSharded(
      salesOf((sales, shard) => ({
        async adjust(...args) {
          if (shard === 3) throw new NothingApplied(new Error('READONLY'))
          return sales.adjust(...args)
        },
      })),
    )
    const freeze = (token: string) => ({ kind: 'freeze', token, quantity: 0, forMs: 60_000 }) as const
    await expect(readOnly.adjust(sku, [freeze('one')], trip)).rejects.toMatchObject({ applied: 'unknown' })
    expect(await createSharded(salesOf()).adjust(sku, [freeze('two')], trip)).toMatchObject([{ outcome: 'done' }])
  })

  it('two freezes of a trip are not told applied no because the second was refused', async () => {
    const { salesOf, stock } = setUp(server)
    await stock.open(sku, 10)
    await stock.level(sku)
    let freezes = 0
    const readOnly = createSharded(
      salesOf((sales, shard) => ({
        async adjust(...args) {
          if (shard === 0 && ++freezes > 1) throw new NothingApplied(new Error('READONLY'))
          return sales.adjust(...args)
        },
      })),
    )
    const freeze = (token: string) => ({ kind: 'freeze', token, quantity: 0, forMs: 60_000 }) as const
    const frozen = readOnly.adjust(sku, [freeze('one'), freeze('two')], trip)
    await expect(frozen).rejects.toMatchObject({ applied: 'unknown' })
  })

  it('a shard that was lost stays on sale once a process that had seen none of it has reconciled it', async () => {
    const { salesOf, stock, stockOf, loseShard } = setUp(server)
    await stock.open(sku, 400)
    await stock.reconcile(sku, [])
    const sold = Array.from({ length: 120 }, (_, i) => ({ orderId: `x${i}` }))
    await Promise.all(sold.map(({ orderId }) => stock.sell(order(orderId))))
    await loseShard(2)
    const reconciling = stockOf(createSharded(salesOf()))
    async function* orders() {
      // What others have seen of the shard does not stop the reconciliation.
      expect(await appliedOf(stock.sell(order(nameAt(2, 'late'))))).toMatch(/^no: .* is frozen/)
      yield* sold
    }
    expect(await reconciling.reconcile(sku, orders())).toMatchObject({ unsold: [], unknown: [] })
    expect(await stock.sell(order(nameAt(2, 'late')))).toEqual({ ok: true, replayed: false })
    expect(await stock.level(sku)).toEqual({ total: 400, available: 279, held: 0, sold: 121 })
  })

  it('a correction applies once', async () => {
    const { salesOf, stock, loseShard } = setUp(server)
    await stock.open(sku, 100)
    await stock.sell(order(nameAt(2)))
    await loseShard(2)
    await reconcileResending(salesOf)
    expect((await stock.level(sku)).total).toBe(100)
  })

  it('units that came twice are taken away once', async () => {
    const { salesOf, stock, redis, key } = setUp(server)
    await stock.open(sku, 100)
    await stock.level(sku)
    const old = await redis.dumpBuffer(key(0, 'stock'))
    await stock.sell(order(nameAt(3)))
    // The first shard falls back to before it gave units to the last.
    await redis.restore(key(0, 'stock'), 0, old, 'REPLACE')
    await reconcileResending(salesOf)
    expect(await stock.level(sku)).toEqual({ total: 100, available: 99, held: 0, sold: 1 })
  })

  it('a removal that was interrupted can be repeated', async () => {
    const { salesOf, stock, redis, prefix } = setUp(server)
    await stock.open(sku, 10)
    const sales = salesOf()
    const epoch = (await sales[0]?.level(sku, undefined, trip))?.epoch ?? ''
    // Killed after the others were removed, before the first.
    for (const shard of [1, 2, 3]) await sales[shard]?.adjust(sku, [{ kind: 'remove', epoch }], trip)
    expect(await appliedOf(stock.remove(sku))).toBeUndefined()
    const found = await Promise.all(redis.nodes('master').map((node) => node.keys(`${prefix}*`)))
    expect(found.flat()).toEqual([])
  })

  it('an id that was placed in a sale is not sold in the next one', async () => {
    const { salesOf, stock } = setUp(server)
    await stock.open(sku, 10)
    const id = nameAt(1)
    const buyer = { id: nameAt(2, 'ann'), limit: 1 }
    let between: (() => Promise<void>) | undefined = async () => {
      between = undefined
      await stock.remove(sku)
      await stock.open(sku, 10)
    }
    const slow = createSharded(
      salesOf((sales, shard) => ({
        async sell(...args) {
          if (shard === 2) await between?.()
          return sales.sell(...args)
        },
      })),
    )
    const [one] = await slow.sell(sku, [request(id, { buyer })], trip)
    const again = await stock.sell(order(id))
    // Sold once, by either.
    expect([one, again]).toEqual([
      { ok: false, reason: 'not-open', available: 0 },
      { ok: true, replayed: false },
    ])
  })

  it('reconcile records no order again whose place was lost', async () => {
    const { redis, salesOf, stock, key } = setUp(server)
    await stock.open(sku, 400)
    // Shard 1 falls back to before the places of 'x'.
    await stock.sell(order(nameAt(1, 'warm')))
    const old = new Map<string, Buffer>()
    for (const part of ['stock', 'orders', 'placed', 'buyers']) {
      const state = await redis.dumpBuffer(key(1, part))
      if (state) old.set(key(1, part), state)
    }
    const sold = Array.from({ length: 40 }, (_, i) => ({ orderId: `x${i}` }))
    for (const [i, { orderId }] of sold.entries()) {
      expect((await stock.sell(order(orderId, { buyer: { id: `b${i}`, limit: 1 } }))).ok).toBe(true)
    }
    const before = await stock.level(sku)
    await redis.del(key(1, 'placed'), key(1, 'orders'))
    for (const [name, state] of old) await redis.restore(name, 0, state, 'REPLACE')
    const lostHere = sold.filter(({ orderId }, i) => homeOf(orderId, shards) === 1 && homeOf(`b${i}`, shards) !== 1)
    const lostRecords = sold.filter(({ orderId }, i) => homeOf(orderId, shards) === 1 && homeOf(`b${i}`, shards) === 1)
    const lostOthers = sold.filter(({ orderId }, i) => homeOf(orderId, shards) !== 1 && homeOf(`b${i}`, shards) === 1)
    await expect(stock.sell(order(nameAt(1, 'late')))).rejects.toThrow('is frozen')
    // Their rows name no buyer, as in the guide.
    const found = await stock.reconcile(sku, [...sold, { orderId: nameAt(1, 'warm') }])
    const after = await stock.level(sku)
    const ids: string[] = []
    for (const shard of salesOf()) {
      const page = await shard.orders(sku, undefined, trip)
      ids.push(...(page?.orders.map(({ orderId }) => orderId) ?? []))
    }
    expect(lostHere.length).toBeGreaterThan(0)
    expect(ids.filter((id, i) => ids.indexOf(id) !== i)).toEqual([])
    expect(after).toEqual(before)
    expect(found).toMatchObject({ recorded: lostRecords.length + lostOthers.length, unsold: [] })
  })

  it('an order of a buyer whose place was lost can be settled after reconcile', async () => {
    const { redis, stock, key } = setUp(server)
    await stock.open(sku, 400)
    await stock.sell(order(nameAt(1, 'warm')))
    const old = await redis.dumpBuffer(key(1, 'stock'))
    const id = nameAt(1, 'held')
    await stock.reserve({ ...order(id, { buyer: { id: nameAt(2, 'ann'), limit: 1 } }), holdMs: 600_000 })
    await redis.del(key(1, 'placed'))
    await redis.restore(key(1, 'stock'), 0, old, 'REPLACE')
    await expect(stock.sell(order(nameAt(1, 'late')))).rejects.toThrow('is frozen')
    const { unknown } = await stock.reconcile(sku, [{ orderId: nameAt(1, 'warm') }])
    expect(unknown).toMatchObject([{ orderId: id, state: 'held' }])
    expect(await stock.confirm(id, sku)).toBe('done')
  })
})
