import { Redis } from 'ioredis'
import { afterAll, expect, it } from 'vitest'
import { createStock } from '../../src/stock/index.js'
import { redisStock } from '../../src/stock/redis/index.js'
import { createSales } from '../../src/stock/redis/sales.js'
import { describeWithServices, uniqueName } from '../services/vitest.js'
import { setRedisTime, timedClient } from '../support/redis-time.js'

const sku = 'shoe'
const trip = { signal: new AbortController().signal, sending: () => undefined }
const startMs = 1_700_000_000_000

describeWithServices('a clock of the server that is set back', ['redis'], (services) => {
  const redis = new Redis(services.redis.url)
  afterAll(() => redis.disconnect())

  /** A sale of 3 units and a hold of 2 that has ended, at which something was written, and then the clock is set back. */
  const setUp = async (write: (stock: ReturnType<typeof createStock>) => Promise<unknown>) => {
    const nowKey = uniqueName('now')
    const at = (ms: number) => setRedisTime(redis, nowKey, startMs + ms)
    const client = timedClient(redis, nowKey)
    const driver = redisStock(client, { prefix: `${nowKey}:` })
    const stock = createStock(driver, { timeoutMs: 30_000 })
    await at(0)
    await stock.open(sku, 3)
    await stock.open('hat', 3)
    await stock.reserve({ sku, orderId: 'held', quantity: 2, buyer: { id: 'ann', limit: 3 }, holdMs: 1_000 })
    await at(1_000)
    await write(stock)
    await at(950)
    return { client, driver, stock, at }
  }
  const order = { sku, orderId: 'other' }
  const writes: [what: string, write: (stock: ReturnType<typeof createStock>) => Promise<unknown>, sold: number][] = [
    ['a sale', (stock) => stock.sell({ ...order, quantity: 3 }), 3],
    ['a basket', (stock) => stock.sellTogether([order, { sku: 'hat', orderId: 'other' }]), 1],
    ['a restock', (stock) => stock.restock(sku, -1), 0],
    ['a settlement', (stock) => stock.sell(order).then(() => stock.confirm('other', sku)), 1],
  ]

  const tellings: [what: string, tell: (stock: ReturnType<typeof createStock>) => Promise<unknown>, told: unknown][] = [
    ['a confirm', (stock) => stock.confirm('held', sku), 'expired'],
    ['a cancel', (stock) => stock.cancel('held', sku), 'expired'],
    ['a sale', (stock) => stock.sell({ sku, orderId: 'held' }), { reason: 'spent' }],
    [
      'a basket',
      (stock) =>
        stock.sellTogether([
          { sku: 'hat', orderId: 'x' },
          { sku, orderId: 'held' },
        ]),
      { reason: 'spent' },
    ],
  ]

  it.each(tellings)('does not bring a hold back of which %s was told that it has ended', async (_what, tell, told) => {
    const { stock } = await setUp(async (early) => {
      const answer = await tell(early)
      if (typeof told === 'string') expect(answer).toBe(told)
      else expect(answer).toMatchObject(told as object)
    })
    expect(await stock.confirm('held', sku)).toBe('expired')
    expect(await stock.find('held', sku)).toBeUndefined()
    expect(await stock.level(sku)).toEqual({ total: 3, available: 3, held: 0, sold: 0 })
  })

  it('keeps units that come back from nobody for longer than a gate may say sold out', async () => {
    const { driver, stock, at } = await setUp((early) => early.sell({ ...order, quantity: 3 }))
    expect((await driver.level(sku, { below: 1, forMs: 250 }, trip))?.closedForMs).toBe(250)
    // An hour earlier, some process may say sold out for as long as it was granted.
    await at(-3_600_000)
    expect(await driver.adjust(sku, [{ kind: 'restock', id: 'r', quantity: 2 }], trip)).toMatchObject([
      { outcome: 'done', onSaleInMs: 250 },
    ])
    expect(await stock.sell({ sku, orderId: 'early' })).toMatchObject({ reason: 'sold-out', available: 0 })
    await at(-3_600_000 + 251)
    expect(await stock.sell({ sku, orderId: 'later' })).toMatchObject({ ok: true })
  })

  it('keeps nobody from reconciling a SKU that a dead process has frozen', async () => {
    const { driver, at } = await setUp((early) => early.sell(order))
    const freeze = async (token: string) =>
      (await driver.adjust(sku, [{ kind: 'freeze', token, quantity: 0, forMs: 10_000 }], trip))[0]?.outcome
    expect(await freeze('dead')).toBe('done')
    expect(await freeze('other')).toBe('refused')
    await at(-3_600_000)
    expect(await freeze('other')).toBe('done')
    await at(-3_600_000 + 9_000)
    expect(await freeze('third')).toBe('refused')
    await at(-3_600_000 + 10_001)
    expect(await freeze('third')).toBe('done')
  })

  it('keeps nobody from collecting the units of other shards', async () => {
    const { client, at } = await setUp((early) => early.sell(order))
    const name = uniqueName(sku)
    const shard = createSales(client, 2, () => name)
    await shard.adjust(sku, [{ kind: 'open', epoch: 'e', quantity: 5 }], trip)
    const collect = async (token: string) => (await shard.move(sku, 'e', ['collect', token, 500], trip))?.[0]
    expect(await collect('dead')).toBe(1)
    expect(await collect('other')).toBe(0)
    await at(-3_600_000)
    expect(await collect('other')).toBe(1)
  })

  it('of one SKU of a basket moves no time of another', async () => {
    const { stock, at } = await setUp(async (early) => {
      await early.reserve({ sku: 'hat', orderId: 'short', holdMs: 1 })
    })
    await at(1_500)
    await stock.sell({ sku: 'hat', orderId: 'x' })
    // The hat has seen 1,500 ms, the shoe only 1,000.
    await at(1_100)
    const buyer = { id: 'bob', limit: 2 }
    await stock.reserve({ sku, orderId: 'bobs', quantity: 2, buyer, holdMs: 100 })
    const basket = [
      { sku: 'hat', orderId: 'y' },
      { sku, orderId: 'y', buyer },
    ]
    expect(await stock.sellTogether(basket)).toMatchObject({ refusedBy: 1, reason: 'buyer-limit' })
    expect(
      await stock.sellTogether(
        [
          { sku: 'hat', orderId: 'z' },
          { sku, orderId: 'bobs', quantity: 2 },
        ],
        { holdMs: 50 },
      ),
    ).toMatchObject({ ok: true })
    expect(await stock.confirm('bobs', sku)).toBe('done')
    // A hold of the basket lasts as long as it was asked for, by the time of its own SKU.
    await stock.sellTogether(
      [
        { sku: 'hat', orderId: 'w' },
        { sku, orderId: 'w' },
      ],
      { holdMs: 50 },
    )
    expect(await stock.find('w', sku)).toMatchObject({ expiresInMs: 50 })
  })

  it.each(writes)('does not bring a hold back whose units %s found on sale', async (_what, write, sold) => {
    const { stock, at } = await setUp(write)
    const before = await stock.level(sku)
    expect(before).toMatchObject({ held: 0, sold })
    expect(await stock.confirm('held', sku)).toBe('expired')
    expect(await stock.cancel('held', sku)).toBe('expired')
    const again = { sku, orderId: 'held', quantity: 2 }
    expect(await stock.reserve({ ...again, holdMs: 1_000 })).toMatchObject({ reason: 'spent' })
    expect(await stock.sellTogether([again])).toMatchObject({ reason: 'spent' })
    expect(await stock.level(sku)).toEqual(before)
    const listed = []
    for await (const { orderId } of stock.orders(sku)) listed.push(orderId)
    expect(listed).toEqual(sold > 0 ? ['other'] : [])
    if (before.available > 0) {
      const buyer = { id: 'ann', limit: before.available }
      expect(await stock.reserve({ sku, orderId: 'new', quantity: before.available, buyer, holdMs: 20 })).toMatchObject(
        { ok: true },
      )
      await at(1_100)
      expect(await stock.level(sku)).toEqual(before)
    }
  })
})
