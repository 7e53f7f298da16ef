import { Redis } from 'ioredis'
import { afterAll, expect, it, onTestFinished } from 'vitest'
import { createStock, type SaleResult, type StockOptions } from '../../src/stock/index.js'
import { redisStock } from '../../src/stock/redis/index.js'
import { sleep } from '../services/net.js'
import { describeWithServices, uniqueName } from '../services/vitest.js'
import { startProxy } from '../support/proxy.js'
import { until } from '../support/until.js'
import { stockCommands } from './stock-rights.js'

const sku = 'shoe'
const soldOut: SaleResult = { ok: false, reason: 'sold-out', available: 0 }
const modes: [string, StockOptions][] = [
  ['without a gate', {}],
  ['with a gate', { local: { mode: 'gate', units: 20 } }],
]

describeWithServices(
  'stock in a Redis that takes no writes',
  ['redis'],
  ({ redis: server }) => {
    const redis = new Redis(server.url)
    afterAll(() => redis.disconnect())
    const setUp = (options: StockOptions) =>
      createStock(redisStock(redis, { prefix: `${uniqueName('server')}:` }), { timeoutMs: 30_000, ...options })

    // What stops writes, and what lets them go on again.
    const stops: [string, () => Promise<unknown>, () => Promise<unknown>][] = [
      [
        'it is full (maxmemory, noeviction)',
        () => redis.config('SET', 'maxmemory', '1'),
        () => redis.config('SET', 'maxmemory', '0'),
      ],
      [
        'it is a replica (READONLY)',
        () => redis.call('REPLICAOF', '127.0.0.1', '1'),
        () => redis.call('REPLICAOF', 'NO', 'ONE'),
      ],
      [
        'it has too few replicas (NOREPLICAS)',
        () => redis.config('SET', 'min-replicas-to-write', '1'),
        () => redis.config('SET', 'min-replicas-to-write', '0'),
      ],
    ]
    const cases = stops.flatMap(([why, stop, start]) =>
      modes.map(([mode, options]) => [why, mode, options, stop, start] as const),
    )

    it.each(cases)('answers what needs no write, and says that nothing was applied: %s, %s', async (...given) => {
      const [, , options, stop, start] = given
      const [stock, open] = [setUp(options), setUp(options)]
      await stock.open(sku, 3)
      await open.open(sku, 3)
      await Promise.all([1, 2, 3, 4, 5].map((n) => stock.sell({ sku, orderId: `o${n}` })))
      await open.sell({ sku, orderId: 'known' })
      await stop()
      try {
        // Longer than a right to say sold out lasts, so that a gate asks.
        const late: SaleResult[] = []
        for (let i = 0; i < 8; i++) {
          late.push(await stock.sell({ sku, orderId: `late ${i}` }))
          await sleep(50)
        }
        expect(late).toEqual(Array(8).fill(soldOut))
        expect(await stock.sell({ sku, orderId: 'o1' })).toEqual({ ok: true, replayed: true })
        expect(await open.sell({ sku, orderId: 'known' })).toEqual({ ok: true, replayed: true })
        expect(await stock.level(sku)).toMatchObject({ available: 0, sold: 3 })
        expect(await stock.find('o1', sku)).toMatchObject({ orderId: 'o1' })
        const refused = { code: 'ERR_STORE_UNAVAILABLE', applied: 'no' }
        await expect(open.sell({ sku, orderId: 'new' })).rejects.toMatchObject(refused)
        await expect(open.restock(sku, 5)).rejects.toMatchObject(refused)
        await expect(open.open('another', 5)).rejects.toMatchObject(refused)
      } finally {
        await start()
      }
      expect(await open.level(sku)).toMatchObject({ total: 3, sold: 1 })
      await open.restock(sku, 5)
      expect(await open.sell({ sku, orderId: 'new' })).toEqual({ ok: true, replayed: false })
    })
  },
  { private: true },
)

describeWithServices(
  "the rights of the client's user",
  ['redis'],
  ({ redis: server }) => {
    const admin = new Redis(server.url)
    afterAll(() => admin.disconnect())

    const connect = async (...rules: string[]): Promise<Redis> => {
      const username = uniqueName('user')
      await admin.call('ACL', 'SETUSER', username, 'on', '>secret', ...rules)
      const redis = new Redis({ host: server.host, port: server.port, username, password: 'secret' })
      onTestFinished(() => redis.disconnect())
      return redis
    }
    const needed = stockCommands.map((command) => `+${command}`)

    it('needs those that the guide names, and no channel', async () => {
      const redis = await connect('~spillway:stock:*', ...needed)
      await using stock = createStock(redisStock(redis), { timeoutMs: 30_000, local: { mode: 'gate', units: 5 } })
      const name = uniqueName('rights')
      await stock.open(name, 2)
      await stock.restock(name, 1)
      const buyer = { id: 'ann', limit: 2 }
      for (let i = 0; i < 6; i++) await stock.sell({ sku: name, orderId: `o${i}`, buyer })
      expect(await stock.level(name)).toMatchObject({ sold: 2 })
      expect(await stock.find('o0', name)).toMatchObject({ buyerId: 'ann' })
      await stock.reserve({ sku: name, orderId: 'held', holdMs: 60_000, buyer: { id: 'bob', limit: 1 } })
      expect(await stock.cancel('held', name)).toBe('done')
      expect(await stock.sellTogether([{ sku: name, orderId: 'basket' }], { holdMs: 1 })).toMatchObject({ ok: true })
      for (const orderId of ['o0', 'o1']) expect(await stock.refund(orderId, name)).toBe('done')
      await stock.sell({ sku: name, orderId: 'last', buyer })
      for await (const order of stock.orders(name)) expect(order.buyerId).toBe('ann')
      await stock.remove(name)
    })

    it('fails only what the user may not do, and changes nothing', async () => {
      const prefix = `${uniqueName('rights')}:`
      const redis = await connect('~*', ...needed.filter((right) => right !== '+unlink' && right !== '+sadd'))
      await using stock = createStock(redisStock(redis, { prefix }), { timeoutMs: 30_000 })
      await stock.open(sku, 5)
      const [removed, restocked, sold] = await Promise.allSettled([
        stock.remove(sku),
        stock.restock(sku, 5),
        stock.sell({ sku, orderId: 'a' }),
      ])
      expect([removed.status, restocked.status]).toEqual(['rejected', 'rejected'])
      expect(sold).toEqual({ status: 'fulfilled', value: { ok: true, replayed: false } })
      expect(await stock.level(sku)).toMatchObject({ total: 5, sold: 1 })
    })

    it('sells no part of a basket whose last SKU needs a right that the user lacks', async () => {
      const prefix = `${uniqueName('rights')}:`
      const redis = await connect('~*', ...needed.filter((right) => right !== '+zremrangebyscore'))
      await using stock = createStock(redisStock(redis, { prefix }), { timeoutMs: 30_000 })
      const all = createStock(redisStock(admin, { prefix }), { timeoutMs: 30_000 })
      for (const name of ['hat', sku]) await all.open(name, 5)
      await all.reserve({ sku, orderId: 'ends', holdMs: 1 })
      await until(async () => (await all.level(sku)).held === 0)
      const basket = ['hat', sku].map((name) => ({ sku: name, orderId: 'a' }))
      await expect(stock.sellTogether(basket)).rejects.toMatchObject({ code: 'ERR_STORE_UNAVAILABLE' })
      for (const name of ['hat', sku]) expect(await all.level(name)).toMatchObject({ sold: 0 })
    })

    it('decides the baskets of other SKUs in one more round trip', async () => {
      const prefix = `${uniqueName('rights')}:`
      const redis = await connect('~*', ...needed)
      await using stock = createStock(redisStock(redis, { prefix }), { timeoutMs: 30_000 })
      for (const name of ['hat', sku]) await stock.open(name, 200)
      await stock.sellTogether([{ sku: 'hat', orderId: 'first' }])
      await admin.hset(`${prefix}{${sku}}:stock`, 'frozen', 'nobody 0')
      let scripts = 0
      const evalsha = redis.evalsha.bind(redis) as (...args: unknown[]) => Promise<unknown>
      Object.assign(redis, { evalsha: (...args: unknown[]) => (scripts++, evalsha(...args)) })
      const baskets = Array.from({ length: 200 }, (_, i) =>
        stock.sellTogether([{ sku: i % 2 === 0 ? 'hat' : sku, orderId: `o${i}` }]),
      )
      for (const [i, answer] of (await Promise.allSettled(baskets)).entries()) {
        if (i % 2 === 0) expect(answer).toEqual({ status: 'fulfilled', value: { ok: true, replayed: false } })
        else
          expect(answer).toMatchObject({
            reason: { name: 'StockFrozenError', message: expect.stringContaining(`"${sku}"`) as unknown },
          })
      }
      expect(scripts).toBe(2)
    })

    it('tells each basket of a round trip what became of it, although the last was refused', async () => {
      const prefix = `${uniqueName('rights')}:`
      const redis = await connect('~*', ...needed)
      const username = redis.options.username as string
      await using stock = createStock(redisStock(redis, { prefix }), { timeoutMs: 30_000 })
      for (const name of ['hat', sku]) await stock.open(name, 5)
      await stock.sellTogether([{ sku: 'hat', orderId: 'first' }])
      await admin.hset(`${prefix}{${sku}}:stock`, 'frozen', 'nobody 0')
      // The two are asked for together, and since one SKU is frozen the other alone.
      let scripts = 0
      const evalsha = redis.evalsha.bind(redis) as (...args: unknown[]) => Promise<unknown>
      Object.assign(redis, {
        evalsha: async (...args: unknown[]) => {
          if (++scripts === 2) await admin.call('ACL', 'SETUSER', username, '-evalsha')
          return evalsha(...args)
        },
      })
      const baskets = ['hat', sku].map((name) => stock.sellTogether([{ sku: name, orderId: 'a' }]))
      const [refused, frozen] = await Promise.allSettled(baskets)
      expect(scripts).toBe(2)
      expect(refused).toMatchObject({ status: 'rejected', reason: { name: 'StoreUnavailableError', applied: 'no' } })
      expect(frozen).toMatchObject({ status: 'rejected', reason: { name: 'StockFrozenError' } })
    })

    it.each(modes)('says that nothing was applied where the user may run no script, %s', async (_name, options) => {
      const redis = await connect('~*', '+info')
      await using stock = createStock(redisStock(redis), { timeoutMs: 30_000, ...options })
      const refused = { code: 'ERR_STORE_UNAVAILABLE', applied: 'no' }
      await expect(stock.sell({ sku, orderId: 'a' })).rejects.toMatchObject(refused)
      await expect(stock.open(sku, 1)).rejects.toMatchObject(refused)
      await expect(stock.remove(sku)).rejects.toMatchObject(refused)
    })
  },
  { private: true },
)

describeWithServices('stock behind a connection that died without a word', ['redis'], ({ redis: server }) => {
  it.each(modes)(
    'answers in time, says what is certain, and sells when the connection is new, %s',
    async (...given) => {
      const [, options] = given
      const prefix = `${uniqueName('half-open')}:`
      const proxy = await startProxy(server)
      const direct = new Redis(server.url)
      // What tells ioredis that a connection is dead is its `socketTimeout`; the guide recommends it.
      const client = new Redis(proxy.port, { socketTimeout: 300, retryStrategy: () => 20 })
      client.on('error', () => undefined)
      onTestFinished(async () => {
        client.disconnect()
        direct.disconnect()
        await proxy.stop()
      })
      await using stock = createStock(redisStock(client, { prefix }), { timeoutMs: 400, ...options })
      await using truth = createStock(redisStock(direct, { prefix }), { timeoutMs: 30_000 })
      await truth.open(sku, 10)
      await until(() => stock.level(sku))
      proxy.freeze()
      const calls = [
        stock.sell({ sku, orderId: 'a' }),
        stock.level(sku),
        stock.find('a', sku),
        stock.restock(sku, 1, { id: 'r' }),
        stock.remove('other'),
      ]
      for (const outcome of await Promise.allSettled(calls)) {
        expect(outcome).toMatchObject({ status: 'rejected', reason: { code: 'ERR_STORE_UNAVAILABLE' } })
      }
      const frozen = proxy.counters.connections
      await until(() => proxy.counters.connections > frozen, 'a new connection')
      proxy.thaw()
      await until(async () => (await stock.sell({ sku, orderId: 'a' })).ok, 'a sale')
      await until(() => stock.restock(sku, 1, { id: 'r' }).then(() => true), 'a restock')
      expect(await truth.level(sku)).toMatchObject({ total: 11, sold: 1 })
    },
  )
})

describeWithServices('stock whose settings change while it sells', ['redis'], ({ redis: server }) => {
  it('sells exactly from processes with other gates, and with none', async () => {
    const prefix = `${uniqueName('rolling')}:`
    const versions: StockOptions[] = [
      { local: { mode: 'gate', units: 120 } },
      { local: { mode: 'gate', units: 60 } },
      {},
      { local: { mode: 'gate', units: 1 } },
    ]
    const clients = versions.map(() => new Redis(server.url))
    onTestFinished(() => clients.forEach((client) => client.disconnect()))
    const stocks = versions.map((options, i) =>
      createStock(redisStock(clients[i] as Redis, { prefix }), { timeoutMs: 30_000, ...options }),
    )
    const [first, ...others] = stocks as [(typeof stocks)[0], ...typeof stocks]
    await first.open(sku, 900)
    const results = new Map<string, SaleResult[]>()
    const sellAll = async (round: number): Promise<void> => {
      const asked = Array.from({ length: 1_000 }, (_, i) =>
        stocks.map((stock) => ({ stock, orderId: `${round}-${i}` })),
      )
      await Promise.all(
        asked.flat().map(async ({ stock, orderId }) => {
          const answer = await stock.sell({ sku, orderId })
          results.set(orderId, [...(results.get(orderId) ?? []), answer])
        }),
      )
    }
    await sellAll(1)
    for (const stock of others) await stock.restock(sku, 50)
    await sellAll(2)
    expect(await first.level(sku)).toEqual({ total: 1_050, available: 0, held: 0, sold: 1_050 })
    const sold = [...results].filter(([, answers]) => answers.some((one) => one.ok))
    expect(sold).toHaveLength(1_050)
    for (const [orderId, answers] of sold) {
      expect(
        answers.filter((one) => one.ok && !one.replayed),
        orderId,
      ).toHaveLength(1)
    }
    for (const [orderId] of sold.slice(0, 100)) {
      for (const stock of stocks) expect(await stock.sell({ sku, orderId })).toEqual({ ok: true, replayed: true })
    }
    // Under another prefix is another stock.
    const elsewhere = createStock(redisStock(clients[0] as Redis, { prefix: `${prefix}v2:` }))
    expect(await elsewhere.sell({ sku, orderId: '1-0' })).toEqual({ ok: false, reason: 'not-open', available: 0 })
  })
})
