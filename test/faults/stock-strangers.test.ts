import { Redis } from 'ioredis'
import { afterAll, describe, expect, it } from 'vitest'
import { StoreUnavailableError } from '../../src/core/errors.js'
import { createStock, type Stock, type StockOptions } from '../../src/stock/index.js'
import { redisStock } from '../../src/stock/redis/index.js'
import { describeWithServices, uniqueName } from '../services/vitest.js'

const sku = 'shoe'
const timeoutMs = 30_000

/** What a verb may do with a SKU that is damaged: answer, or reject with an error that says so. Nothing else. */
type Verb = readonly [name: string, call: (stock: Stock) => Promise<unknown>]
const listed = async (stock: Stock): Promise<unknown[]> => {
  const orders: unknown[] = []
  for await (const order of stock.orders(sku)) orders.push(order)
  return orders
}
const verbs: readonly Verb[] = [
  ['open', (stock) => stock.open(sku, 5)],
  ['restock', (stock) => stock.restock(sku, 5)],
  ['sell', (stock) => stock.sell({ sku, orderId: 'new' })],
  ['sell to a buyer', (stock) => stock.sell({ sku, orderId: 'new', buyer: { id: 'ann', limit: 2 } })],
  ['level', (stock) => stock.level(sku)],
  ['orders', listed],
  ['find', (stock) => stock.find('new', sku)],
  ['remove', (stock) => stock.remove(sku)],
]

describeWithServices("strangers' data at a SKU's keys", ['redis'], ({ redis: server }) => {
  const redis = new Redis(server.url)
  afterAll(() => redis.disconnect())

  const setUp = (options: StockOptions = {}) => {
    const prefix = `${uniqueName('strangers')}:`
    const stock = createStock(redisStock(redis, { prefix }), { timeoutMs, ...options })
    return { stock, prefix, key: (part: string) => `${prefix}{${sku}}:${part}` }
  }
  /** All that is stored at the SKU's keys. */
  const stored = async (key: (part: string) => string) =>
    Promise.all(['stock', 'orders', 'buyers', 'restocks'].map((part) => redis.dumpBuffer(key(part))))

  type Damage = readonly [
    what: string,
    part: string,
    make: (key: string) => Promise<unknown>,
    spared: readonly string[],
  ]
  const text = (key: string) => redis.set(key, 'text of a stranger')
  const list = (key: string) => redis.lpush(key, 'a', 'b')
  const damages: readonly Damage[] = [
    ['a text for the sale', 'stock', text, []],
    ['a list for the sale', 'stock', list, []],
    ['a hash of a stranger for the sale', 'stock', (key) => redis.hset(key, 'colour', 'red'), ['find']],
    ['a hash with one of our fields', 'stock', (key) => redis.hset(key, 'available', '7'), ['find']],
    ['a text for the orders', 'orders', text, ['restock', 'remove']],
    ['a list for the orders', 'orders', list, ['restock', 'remove']],
    ['a text for the buyers', 'buyers', text, ['restock', 'sell', 'level', 'orders', 'find', 'remove']],
    ['a text for the restocks', 'restocks', text, ['sell', 'sell to a buyer', 'level', 'orders', 'find', 'remove']],
  ]

  describe.each(damages)('%s', (_what, part, make, spared) => {
    it.each([false, true])('fails clearly what needs it, and changes nothing (a sale is there: %s)', async (isOpen) => {
      for (const [name, call] of verbs) {
        const { stock, key } = setUp()
        if (isOpen) await stock.open(sku, 10)
        await redis.del(key(part))
        await make(key(part))
        const before = await stored(key)
        const outcome: unknown = await call(stock).catch((error: unknown) => error)
        if (!(outcome instanceof StoreUnavailableError)) {
          // Without a sale there is nothing to read, and nobody looks.
          const isNotOnSale = !isOpen && part !== 'stock' && name !== 'open'
          const isOpened = isOpen && part !== 'stock' && name === 'open' && outcome === false
          expect(spared.includes(name) || isNotOnSale || isOpened, `${name}: ${String(outcome)}`).toBe(true)
          continue
        }
        expect(outcome.applied, name).toBe('no')
        expect(outcome.message, name).toContain(JSON.stringify(sku))
        expect(await stored(key), name).toEqual(before)
      }
    })

    it('leaves other SKUs alone', async () => {
      const { stock, key } = setUp()
      await make(key(part))
      await stock.open('other', 5)
      const calls = [stock.sell({ sku, orderId: 'a' }), stock.sell({ sku: 'other', orderId: 'a' })]
      expect((await Promise.allSettled(calls))[1]).toEqual({
        status: 'fulfilled',
        value: { ok: true, replayed: false },
      })
    })
  })

  const counts = ['total', 'available', 'sold', 'late', 'held', 'epoch']
  const wrong = ['many', '', '-3', '1.5', '1e3', 'nan', 'inf', '0x10', ' 1']
  it.each(counts)('sells nothing while the field %s is missing or no count', async (field) => {
    for (const value of field === 'epoch' ? [undefined] : [undefined, ...wrong]) {
      for (const gate of [undefined, { mode: 'gate', units: 20 } as const]) {
        const { stock, key } = setUp(gate ? { local: gate } : {})
        await stock.open(sku, 10)
        if (value === undefined) await redis.hdel(key('stock'), field)
        else await redis.hset(key('stock'), field, value)
        await expect(stock.level(sku)).rejects.toMatchObject({
          applied: 'no',
          message: expect.stringContaining(sku) as unknown,
        })
        if (field === 'held') continue
        const before = await stored(key)
        if (field !== 'total') {
          await expect(stock.sell({ sku, orderId: 'a', buyer: { id: 'ann', limit: 2 } })).rejects.toThrow('not a sale')
        }
        await expect(stock.restock(sku, 1)).rejects.toThrow('not a sale')
        if (field !== 'total') expect(await stored(key), `${field}: ${value}`).toEqual(before)
      }
    }
  })

  it('ignores other fields of the sale', async () => {
    const { stock, key } = setUp()
    await stock.open(sku, 10)
    await redis.hset(key('stock'), 'colour', 'red')
    expect(await stock.sell({ sku, orderId: 'a' })).toEqual({ ok: true, replayed: false })
    expect(await stock.level(sku)).toMatchObject({ total: 10, sold: 1 })
  })

  it.each(['', 's', '1', 's1x', 's1 ', 'h1', 's-1', 'text of a stranger', 'S1 ann'])(
    'fails the order whose record is %j, and no other',
    async (record) => {
      const { stock, key } = setUp()
      await stock.open(sku, 10)
      await stock.sell({ sku, orderId: 'good' })
      await redis.hset(key('orders'), 'bad', record)
      const [bad, good, other] = await Promise.allSettled([
        stock.sell({ sku, orderId: 'bad' }),
        stock.sell({ sku, orderId: 'good' }),
        stock.sell({ sku, orderId: 'other' }),
      ])
      const named = { applied: 'no', message: expect.stringMatching(/"bad" of "shoe"/) as unknown }
      expect(bad).toMatchObject({ status: 'rejected', reason: named })
      expect([good, other].map(({ status }) => status)).toEqual(['fulfilled', 'fulfilled'])
      const finds = await Promise.allSettled([stock.find('bad', sku), stock.find('good', sku)])
      expect(finds[0]).toMatchObject({ status: 'rejected', reason: named })
      expect(finds[1]).toMatchObject({ status: 'fulfilled', value: { orderId: 'good' } })
      await expect(listed(stock)).rejects.toMatchObject(named)
      expect(await stock.level(sku)).toMatchObject({ available: 8, sold: 2 })
    },
  )

  it('fails the buyer of whom something else is stored, and no other', async () => {
    const { stock, key } = setUp()
    await stock.open(sku, 10)
    await redis.hset(key('buyers'), 'ann', 'a stranger')
    const of = (id: string) => stock.sell({ sku, orderId: `of ${id}`, buyer: { id, limit: 2 } })
    const [ann, bob] = await Promise.allSettled([of('ann'), of('bob')])
    expect(ann).toMatchObject({ status: 'rejected', reason: { applied: 'no' } })
    expect(bob).toMatchObject({ status: 'fulfilled', value: { ok: true } })
    expect(await stock.level(sku)).toMatchObject({ available: 9, sold: 1 })
  })

  it('gives back no unit of a buyer whose count was evicted', async () => {
    const { stock, key } = setUp()
    await stock.open(sku, 10)
    const sell = (orderId: string) => stock.sell({ sku, orderId, buyer: { id: 'ann', limit: 3 } })
    for (const orderId of ['a', 'b']) await sell(orderId)
    await redis.del(key('buyers'))
    await sell('c')
    expect(await stock.refund('a', sku)).toBe('done')
    await expect(stock.refund('b', sku)).rejects.toMatchObject({ applied: 'no' })
    expect(await sell('d')).toEqual({ ok: true, replayed: false })
    expect(await stock.level(sku)).toEqual({ total: 10, available: 7, held: 0, sold: 3 })
  })

  it('goes on behind a gate that cannot read the ids, and does not read them again and again', async () => {
    const { stock, key } = setUp({ local: { mode: 'gate', units: 20 } })
    await stock.open(sku, 2)
    await redis.hset(key('orders'), 'bad', 'a stranger')
    await Promise.all([1, 2, 3].map((n) => stock.sell({ sku, orderId: `o${n}` })))
    const soldOut = { ok: false, reason: 'sold-out', available: 0 }
    for (let i = 0; i < 200; i++) expect(await stock.sell({ sku, orderId: `late ${i}` })).toEqual(soldOut)
    expect(await stock.sell({ sku, orderId: 'o1' })).toEqual({ ok: true, replayed: true })
  })

  it.each(['FROZEN', 'SHARDS 2', 'NOTASALE', 'WRONGTYPE'])(
    'are not taken for another fault by the SKU %s',
    async (name) => {
      const { stock, prefix } = setUp()
      const key = `${prefix}{${name}}:stock`
      await redis.hset(key, 'colour', 'red')
      await expect(stock.level(name)).rejects.toThrow(/ is not a sale, or only a part of one$/)
      await redis.del(key)
      await stock.open(name, 1)
      await redis.hset(key, 'frozen', 'nobody 0')
      await expect(stock.sell({ sku: name, orderId: 'a' })).rejects.toThrow(/ is frozen: /)
    },
  )

  it('does not open a sale over what is left of one whose counts are gone', async () => {
    const { stock, key } = setUp()
    await stock.open(sku, 10)
    await stock.sell({ sku, orderId: 'a' })
    // As an eviction does.
    await redis.del(key('stock'))
    expect(await stock.sell({ sku, orderId: 'b' })).toEqual({ ok: false, reason: 'not-open', available: 0 })
    await expect(stock.open(sku, 10)).rejects.toMatchObject({
      applied: 'no',
      message: expect.stringContaining('a part') as unknown,
    })
    await redis.del(key('orders'))
    expect(await stock.open(sku, 10)).toBe(true)
  })
})
