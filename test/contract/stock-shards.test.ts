import { Cluster, Redis } from 'ioredis'
import { describe, expect, it, onTestFinished } from 'vitest'
import { OrderConflictError } from '../../src/index.js'
import { createStock, type Stock, type StockOptions } from '../../src/stock/index.js'
import { createSales } from '../../src/stock/redis/sales.js'
import { homeOf, shardName } from '../../src/stock/redis/shard-names.js'
import { redisStock } from '../../src/stock/redis/index.js'
import { describeWithServices, uniqueName } from '../services/vitest.js'
import { until } from '../support/until.js'

const sku = 'shoe {1}'
const shards = 4
const trip = { signal: new AbortController().signal, sending: () => undefined }
/** An id, or a buyer, of that shard. */
const nameAt = (shard: number, name = 'o'): string => {
  for (let i = 0; ; i++) if (homeOf(`${name}${i}`, shards) === shard) return `${name}${i}`
}

describe('the options of redisStock', () => {
  const redis = new Redis({ lazyConnect: true })

  it.each([
    [{ shards: 0 }, 'shards must be an integer of at least 1, got 0'],
    [{ shards: 1.5 }, 'shards must be an integer of at least 1, got 1.5'],
    [{ shards: 17 }, 'shards must be 1 to 16, got 17'],
    [{ shards: 2, group: () => 'g' }, 'shards must be 1 where group is given, got 2'],
  ])('refuse %j', (options, message) => {
    expect(() => redisStock(redis, options)).toThrow(new RangeError(message))
  })
})

describeWithServices('a SKU over four shards of a Cluster', ['redis-cluster'], ({ 'redis-cluster': server }) => {
  const setUp = (options: StockOptions = {}) => {
    const prefix = `${uniqueName('shards')}:`
    const redis = new Cluster([...server.nodes])
    onTestFinished(() => redis.disconnect())
    const open = (number = shards): Stock =>
      createStock(redisStock(redis, { prefix, shards: number }), { timeoutMs: 30_000, ...options })
    /** One shard, as the driver of a process that is killed on the way has it. */
    const shardAt = (shard: number) => createSales(redis, shards, (name) => shardName(prefix, name, shard, shards))
    const keysOf = async (part = ''): Promise<string[]> => {
      const found = await Promise.all(redis.nodes('master').map((node) => node.keys(`${prefix}*${part}`)))
      return found.flat().map((key) => key.slice(prefix.length))
    }
    return { redis, prefix, open, stock: open(), shardAt, keysOf }
  }
  const order = (orderId: string, more: object = {}) => ({ sku, orderId, ...more })

  it('has its keys in different slots, and none after its removal', async () => {
    const { stock, keysOf } = setUp()
    await stock.open(sku, 100)
    for (let i = 0; i < 40; i++) await stock.sell(order(`o${i}`, { buyer: { id: `b${i}`, limit: 1 } }))
    expect(await keysOf(':stock')).toHaveLength(shards)
    await stock.remove(sku)
    expect(await keysOf()).toEqual([])
    expect(await stock.open(sku, 1)).toBe(true)
    expect(await stock.sell(order('o1'))).toEqual({ ok: true, replayed: false })
  })

  it('sells the last unit to whoever asks, and an order larger than any shard', async () => {
    const { stock } = setUp()
    await stock.open(sku, 13)
    for (let shard = 0; shard < shards; shard++) expect((await stock.sell(order(nameAt(shard)))).ok).toBe(true)
    expect(await stock.sell(order('ten', { quantity: 10 }))).toEqual({ ok: false, reason: 'sold-out', available: 9 })
    expect(await stock.sell(order('nine', { quantity: 9 }))).toEqual({ ok: true, replayed: false })
    expect(await stock.sell(order('none'))).toEqual({ ok: false, reason: 'sold-out', available: 0 })
    await stock.refund('nine', sku)
    for (let shard = 0; shard < shards; shard++) {
      expect((await stock.sell(order(nameAt(shard, 'again'), { quantity: 2 }))).ok).toBe(true)
    }
    expect(await stock.level(sku)).toEqual({ total: 13, available: 1, held: 0, sold: 12 })
  })

  it('fills one of several large orders that come together', async () => {
    const { open } = setUp()
    const fronts = [open(), open(), open()]
    await fronts[0]?.open(sku, 20)
    const results = await Promise.all(
      fronts.flatMap((stock, f) =>
        [0, 1, 2, 3].map((shard) => stock.sell(order(nameAt(shard, `f${f}-`), { quantity: 15 }))),
      ),
    )
    expect(results.filter(({ ok }) => ok)).toHaveLength(1)
    expect(await fronts[1]?.level(sku)).toEqual({ total: 20, available: 5, held: 0, sold: 15 })
  })

  it('gives an id one outcome, whatever buyer it comes with, and counts each buyer in one place', async () => {
    const { stock } = setUp()
    await stock.open(sku, 100)
    const buyers = [0, 1, 2, 3].map((shard) => ({ id: nameAt(shard, 'ann'), limit: 3 }))
    for (const [i, buyer] of buyers.entries()) {
      const id = nameAt((i + 1) % shards, `of${i}-`)
      const others = buyers.filter((other) => other !== buyer)
      const results = await Promise.allSettled([buyer, ...others].map((by) => stock.sell(order(id, { buyer: by }))))
      expect(results.filter((result) => result.status === 'fulfilled')).toHaveLength(1)
      for (const result of results) {
        if (result.status === 'rejected') expect(result.reason).toBeInstanceOf(OrderConflictError)
      }
      expect(await stock.sell(order(id))).toEqual({ ok: true, replayed: true })
      await expect(stock.sell(order(id, { quantity: 2 }))).rejects.toThrow(OrderConflictError)
      expect(await stock.find(id, sku)).toMatchObject({ quantity: 1, state: 'sold' })
      // Orders without a buyer and with one do not hide each other.
      const plain = nameAt(i, `plain${i}-`)
      await stock.sell(order(plain))
      expect(await stock.sell(order(plain, { buyer: buyers[(i + 1) % shards] }))).toEqual({ ok: true, replayed: true })
    }
    const [buyer] = buyers as [{ id: string; limit: number }]
    const limited = { id: `${buyer.id} junior`, limit: 3 }
    const results = await Promise.all(
      Array.from({ length: 12 }, (_, i) => stock.sell(order(`many ${i}`, { buyer: limited }))),
    )
    expect(results.filter(({ ok }) => ok)).toHaveLength(3)
    expect(await stock.sell(order('one more', { buyer: limited }))).toMatchObject({ reason: 'buyer-limit' })
  })

  it('settles an order wherever its buyer is counted', async () => {
    const { stock } = setUp()
    await stock.open(sku, 50)
    for (let shard = 0; shard < shards; shard++) {
      const orderId = nameAt(shard)
      const buyer = { id: nameAt((shard + 1) % shards, 'ann'), limit: 2 }
      await stock.reserve({ ...order(orderId, { buyer, quantity: 2 }), holdMs: 600_000 })
      expect(await stock.confirm(orderId, sku, { quantity: 1 })).toBe('done')
      expect(await stock.confirm(orderId, sku)).toBe('already')
      expect(await stock.refund(orderId, sku)).toBe('done')
      expect(await stock.sell(order(orderId, { buyer }))).toMatchObject({ reason: 'spent' })
      expect((await stock.sell(order(`${orderId} next`, { buyer, quantity: 2 }))).ok).toBe(true)
    }
    expect(await stock.level(sku)).toEqual({ total: 50, available: 42, held: 0, sold: 8 })
  })

  it('remembers no refusal', async () => {
    const { stock, keysOf } = setUp()
    await stock.open(sku, 1)
    await stock.sell(order('first'))
    const late = Array.from({ length: 50 }, (_, i) => order(`late${i}`, { buyer: { id: `b${i}`, limit: 1 } }))
    for (const result of await Promise.all(late.map((one) => stock.sell(one)))) expect(result.ok).toBe(false)
    expect(await keysOf(':placed')).toEqual([])
    await stock.restock(sku, 50)
    // Another buyer than the one who was refused.
    const again = late.map((one, i) => ({ ...one, buyer: { id: `b${i + 1}`, limit: 1 } }))
    for (const result of await Promise.all(again.map((one) => stock.sell(one)))) expect(result.ok).toBe(true)
  })

  it('takes units away from every shard', async () => {
    const { stock } = setUp()
    await stock.open(sku, 40)
    for (let shard = 0; shard < shards; shard++) await stock.sell(order(nameAt(shard)))
    await expect(stock.restock(sku, -37)).rejects.toThrow('quantity -37 is out of range: shoe {1} has 36 unsold units')
    await stock.restock(sku, -36, { id: 'less' })
    await stock.restock(sku, -36, { id: 'less' })
    expect(await stock.level(sku)).toEqual({ total: 4, available: 0, held: 0, sold: 4 })
  })

  it('finishes what a process began that was killed while it moved units', async () => {
    const { stock, shardAt } = setUp()
    await stock.open(sku, 12)
    await stock.sell(order(nameAt(1)))
    const epoch = (await shardAt(0).level(sku, undefined, trip))?.epoch ?? ''
    // It had the right to collect, and has taken all units out of the first shard.
    expect(await shardAt(0).move(sku, epoch, ['collect', 'killed', 500], trip)).toEqual([1, 0])
    const [number = 0, units] = (await shardAt(0).move(sku, epoch, ['give', 3, 100, '', 0], trip)) ?? []
    expect(units).toBeGreaterThan(0)
    expect(await stock.level(sku)).toEqual({ total: 12, available: 11, held: 0, sold: 1 })
    expect(await stock.sell(order(nameAt(3), { quantity: 11 }))).toEqual({ ok: true, replayed: false })
    expect(await stock.level(sku)).toEqual({ total: 12, available: 0, held: 0, sold: 12 })
    // Its last command arrives late.
    await shardAt(2).move(sku, epoch, ['receive', 1, number, units ?? 0], trip)
    await shardAt(0).move(sku, epoch, ['received', 3, number], trip)
    expect(await stock.level(sku)).toEqual({ total: 12, available: 0, held: 0, sold: 12 })
  })

  it('tells each order of a trip what became of it, although one shard cannot answer', async () => {
    const { stock, redis, prefix } = setUp()
    await stock.open(sku, 60)
    for (let shard = 0; shard < shards; shard++) await stock.sell(order(nameAt(shard)))
    const key = `${prefix}${shardName('', sku, 2, shards)}:stock`
    const kept = await redis.dumpBuffer(key)
    await redis.set(key, 'something else')
    const all = Array.from({ length: 80 }, (_, i) =>
      order(`many${i}`, i % 2 ? { buyer: { id: `b${i}`, limit: 1 } } : {}),
    )
    const results = await Promise.allSettled(all.map((one) => stock.sell(one)))
    for (const result of results) {
      if (result.status === 'rejected') expect(result.reason).toMatchObject({ applied: 'no' })
      else expect(result.value).toEqual({ ok: true, replayed: false })
    }
    await redis.restore(key, 0, kept, 'REPLACE')
    const told = all.filter((_, i) => results[i]?.status === 'fulfilled').map(({ orderId }) => orderId)
    expect(told.length).toBeGreaterThan(0)
    expect(told.length).toBeLessThan(all.length)
    const recorded: string[] = []
    for await (const { orderId } of stock.orders(sku)) if (orderId.startsWith('many')) recorded.push(orderId)
    expect(recorded.sort()).toEqual(told.sort())
    const again = await Promise.all(all.map((one) => stock.sell(one)))
    expect(again.filter(({ ok }) => ok)).toHaveLength(56)
    expect(await stock.level(sku)).toEqual({ total: 60, available: 0, held: 0, sold: 60 })
  })

  it('has one number of shards until it is removed', async () => {
    const { stock, open } = setUp()
    await stock.open(sku, 10)
    const other = open(2)
    const alone = open(1)
    const refusal = (opened: number, given: number) => ({
      ...{ code: 'ERR_STORE_UNAVAILABLE', applied: 'no' },
      message: `stock: "shoe {1}" was opened with shards: ${opened}, and redisStock was given shards: ${given}`,
    })
    const calls = [() => other.sell(order(nameAt(0))), () => other.open(sku, 10), () => other.level(sku)]
    for (const call of calls) await expect(call()).rejects.toMatchObject(refusal(4, 2))
    await expect(alone.sell(order('a'))).rejects.toMatchObject(refusal(4, 1))
    // They would miss what is in the shards that they do not know.
    for (let shard = 0; shard < shards; shard++) {
      await stock.sell(order(nameAt(shard)))
      await expect(other.find(nameAt(shard), sku)).rejects.toMatchObject(refusal(4, 2))
      await expect(alone.find(nameAt(shard), sku)).rejects.toMatchObject(refusal(4, 1))
      await stock.refund(nameAt(shard), sku)
    }
    const firstOf = (one: Stock) => one.orders(sku)[Symbol.asyncIterator]().next()
    await expect(firstOf(other)).rejects.toMatchObject(refusal(4, 2))
    await expect(firstOf(alone)).rejects.toMatchObject(refusal(4, 1))
    expect(await stock.level(sku)).toEqual({ total: 10, available: 10, held: 0, sold: 0 })
    await stock.remove(sku)
    await alone.open(sku, 3)
    await expect(stock.sell(order(nameAt(0)))).rejects.toMatchObject(refusal(1, 4))
  })

  it('has the application called where a basket finds a shard frozen', async () => {
    const called: string[] = []
    const { stock, redis, prefix } = setUp({ onFrozen: (name) => called.push(name) })
    await stock.open(sku, 10)
    await stock.level(sku)
    await redis.hset(`${prefix}${shardName('', sku, 2, shards)}:stock`, 'frozen', 'nobody 0')
    await expect(stock.sellTogether([order(nameAt(2))])).rejects.toThrow('"shoe {1}" is frozen')
    await until(() => called.length > 0)
    expect(called).toEqual([sku])
  })

  it('is in no basket with another', async () => {
    const { stock } = setUp()
    await stock.open(sku, 10)
    await stock.open('hat', 10)
    const message = 'skus "shoe {1}" and "hat" do not share a slot of the Cluster: give redisStock no shards'
    const apart = stock.sellTogether([order('a'), { sku: 'hat', orderId: 'a' }])
    await expect(apart).rejects.toThrow(new RangeError(message))
    expect(await stock.sellTogether([order('a', { quantity: 2 })])).toEqual({ ok: true, replayed: false })
    expect(await stock.sellTogether([order('b', { quantity: 20 })])).toEqual({
      ...{ ok: false, refusedBy: 0, reason: 'sold-out', available: 8 },
    })
    expect((await stock.level('hat')).sold).toBe(0)
  })

  it.each([
    ['one shard', 2],
    ['the first shard', 0],
  ])('sells nothing again when %s falls back to an older state', async (_name, shard) => {
    const { stock, redis, keysOf, prefix } = setUp()
    await stock.open(sku, 400)
    const sold: { orderId: string }[] = []
    const sellSome = async (name: string): Promise<void> => {
      const ids = Array.from({ length: 100 }, (_, i) => `${name}${i}`)
      for (const { ok } of await Promise.all(ids.map((id) => stock.sell(order(id))))) expect(ok).toBe(true)
      sold.push(...ids.map((orderId) => ({ orderId })))
    }
    await sellSome('before')
    const name = shardName('', sku, shard, shards)
    const old = new Map<string, Buffer>()
    for (const key of await keysOf()) {
      if (key.startsWith(`${name}:`)) old.set(key, await redis.dumpBuffer(prefix + key))
    }
    expect(old.size).toBeGreaterThan(1)
    await sellSome('lost')
    for (const [key, state] of old) await redis.restore(prefix + key, 0, state, 'REPLACE')
    await expect(stock.sell(order(nameAt(shard, 'late')))).rejects.toThrow('"shoe {1}" is frozen')
    const found = await stock.reconcile(sku, sold)
    expect(found).toMatchObject({ unsold: [], unknown: [] })
    expect(found.recorded).toBeGreaterThan(0)
    expect(await stock.level(sku)).toEqual({ total: 400, available: 200, held: 0, sold: 200 })
    expect(await stock.sell(order('lost7'))).toEqual({ ok: true, replayed: true })
    await sellSome('after')
    await sellSome('last')
    expect(await stock.sell(order('none'))).toMatchObject({ reason: 'sold-out', available: 0 })
  })

  it.each([
    ['one shard', 2],
    ['the first shard', 0],
  ])('sells nothing again when %s is lost, and is whole after it was reconciled', async (_name, shard) => {
    const reconciled: unknown[] = []
    const sold = Array.from({ length: 100 }, (_, i) => ({ orderId: `o${i}` }))
    const { stock, redis, keysOf, prefix } = setUp({
      onFrozen: async (_sku, reconcile) => reconciled.push(await reconcile(sold)),
    })
    await stock.open(sku, 150)
    await Promise.all(sold.map(({ orderId }) => stock.sell(order(orderId))))
    const name = shardName('', sku, shard, shards)
    for (const key of await keysOf()) if (key.startsWith(`${name}:`)) await redis.del(prefix + key)
    const late = stock.sell(order(nameAt(shard, 'late')))
    if (shard === 0) {
      expect(await late).toMatchObject({ reason: 'not-open' })
      expect(await stock.reconcile(sku, sold, { total: 150 })).toMatchObject({ unsold: [], unknown: [] })
    } else {
      await expect(late).rejects.toThrow('"shoe {1}" is frozen')
      await until(() => reconciled.length > 0)
      expect(reconciled[0]).toMatchObject({ unsold: [], unknown: [] })
    }
    expect(await stock.level(sku)).toEqual({ total: 150, available: 50, held: 0, sold: 100 })
    for (const { orderId } of sold) expect(await stock.sell(order(orderId))).toEqual({ ok: true, replayed: true })
    expect(await stock.sell(order('all', { quantity: 50 }))).toEqual({ ok: true, replayed: false })
  })
})
