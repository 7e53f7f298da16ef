import { Redis } from 'ioredis'
import { OrderConflictError } from 'spillway'
import type { RecordedOrder } from 'spillway/stock'
import { afterAll, describe, expect, it } from 'vitest'
import type { Counts } from '../../../examples/seckill/strategies/counts.js'
import { memoryCounts } from '../../../examples/seckill/strategies/memory-counts.js'
import { redisCounts } from '../../../examples/seckill/strategies/redis-counts.js'
import { verdictOn } from '../../../examples/seckill/strategies/seller.js'
import { describeWithServices, uniqueName } from '../../services/vitest.js'

async function listed(counts: Counts): Promise<RecordedOrder[]> {
  const orders = []
  for await (const one of counts.orders('kettle')) orders.push(one)
  return orders
}

const order = { sku: 'kettle', orderId: 'one', quantity: 2, buyer: { id: 'ann: the first', limit: 3 } }

function countsBehave(open: () => Counts): void {
  const opened = async (): Promise<Counts> => {
    const counts = open()
    expect(await counts.open('kettle', 5)).toBe(true)
    return counts
  }

  it('are what was written', async () => {
    const counts = await opened()
    expect(await counts.open('kettle', 9)).toBe(false)
    expect(await counts.read(order, 7n)).toEqual({ left: 5, known: undefined, bought: 0 })
    expect(await counts.write({ order, left: 3, bought: 2 }, 7n)).toBe(true)
    const known = { quantity: 2, buyer: 'ann: the first' }
    expect(await counts.read(order, undefined)).toEqual({ left: 3, known, bought: 2 })
    expect(await counts.level('kettle')).toEqual({ total: 5, available: 3, held: 0, sold: 2 })
    const record = { orderId: 'one', quantity: 2, state: 'sold', buyerId: 'ann: the first' }
    expect(await counts.find('one', 'kettle')).toEqual(record)
    expect(await counts.find('two', 'kettle')).toBeUndefined()
    expect(await listed(counts)).toEqual([record])
  })

  it('take a write that is sent twice once', async () => {
    const counts = await opened()
    await counts.read(order, 1n)
    for (let times = 0; times < 2; times++) expect(await counts.write({ order, left: 3, bought: 2 }, 1n)).toBe(true)
    expect(await counts.level('kettle')).toMatchObject({ available: 3, sold: 2 })
    expect(await listed(counts)).toHaveLength(1)
  })

  it.each([
    ['a smaller token than the last read', 8n, 9n],
    ['a token of fewer digits', 9n, 10n],
    ['a token beyond all floating-point integers', 2n ** 60n, 2n ** 60n + 1n],
  ])('refuse %s', async (_, early, late) => {
    const counts = await opened()
    await counts.read(order, early)
    await counts.read({ ...order, orderId: 'two' }, late)
    // The next holder has only read so far, and shuts the earlier one out already.
    expect(await counts.write({ order, left: 3, bought: 2 }, early)).toBe(false)
    expect(await counts.read(order, early)).toBe('stale')
    expect(await counts.level('kettle')).toMatchObject({ sold: 0 })
    expect(await counts.write({ order, left: 3, bought: 2 }, late)).toBe(true)
  })

  it('check nothing without a token', async () => {
    const counts = await opened()
    await counts.read(order, 9n)
    expect(await counts.write({ order, left: 3, bought: 2 }, undefined)).toBe(true)
  })

  it('are gone after the sale, and a late write does not bring them back', async () => {
    const counts = await opened()
    await counts.read(order, 1n)
    await counts.remove('kettle')
    expect(await counts.write({ order, left: 3, bought: 2 }, 1n)).toBe(false)
    expect(await counts.read(order, 1n)).toBeUndefined()
    expect(await counts.find('one', 'kettle')).toBeUndefined()
    await expect(counts.level('kettle')).rejects.toThrow(RangeError)
    await expect(listed(counts)).rejects.toThrow('"kettle" is not on sale')
  })
}

describe('counts in memory', () => countsBehave(() => memoryCounts()))

describeWithServices('counts in Redis', ['redis'], (servers) => {
  const redis = new Redis(servers.redis.url)
  afterAll(() => redis.disconnect())
  countsBehave(() => redisCounts(redis, `${uniqueName('counts')}:`))

  it('list more orders than one scan brings', async () => {
    const counts = redisCounts(redis, `${uniqueName('counts')}:`)
    await counts.open('kettle', 5_000)
    const ids = Array.from({ length: 2_500 }, (_, n) => `k${n}`)
    const write = (orderId: string) => counts.write({ order: { ...order, orderId }, left: 0, bought: 0 }, undefined)
    for (let from = 0; from < ids.length; from += 100) await Promise.all(ids.slice(from, from + 100).map(write))
    const met = await listed(counts)
    expect(met.map(({ orderId }) => orderId).sort()).toEqual(ids.sort())
  })
})

describe('the verdict on an order', () => {
  const fresh = { left: 5, known: undefined, bought: 0 }
  it.each([
    ['can be sold', fresh, undefined],
    ['of the last units can be sold', { ...fresh, left: 2 }, undefined],
    ['of a SKU that is not on sale', undefined, { ok: false, reason: 'not-open', available: 0 }],
    ['for more than is left', { ...fresh, left: 1 }, { ok: false, reason: 'sold-out', available: 1 }],
    ['up to the limit can be sold', { ...fresh, bought: 1 }, undefined],
    ['beyond the limit', { ...fresh, bought: 2 }, { ok: false, reason: 'buyer-limit', available: 5 }],
    [
      'that sold before, whatever is left',
      { left: 0, bought: 3, known: { quantity: 2, buyer: 'ann: the first' } },
      { ok: true, replayed: true },
    ],
  ])('that %s', (_, seen, verdict) => expect(verdictOn(order, seen)).toEqual(verdict))

  it.each([
    { quantity: 1, buyer: 'ann: the first' },
    { quantity: 2, buyer: 'bob' },
  ])('whose id sold %j is a conflict', (known) => {
    expect(() => verdictOn(order, { ...fresh, known })).toThrow(OrderConflictError)
  })
})
