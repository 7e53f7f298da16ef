import { once } from 'node:events'
import { Redis } from 'ioredis'
import { afterEach, expect, it } from 'vitest'
import { createStock, type Stock, type StockOptions } from '../../src/stock/index.js'
import { redisStock } from '../../src/stock/redis/index.js'
import { sleep } from '../services/net.js'
import { describeWithServices, uniqueName } from '../services/vitest.js'
import { whileScriptsAreFlushed } from '../support/flush-scripts.js'
import { startProxy, type FaultProxy } from '../support/proxy.js'
import { until } from '../support/until.js'
import { audit, newRush, ordersOf, rush, soldIds, watch, type Rush } from './stock-rush.js'

const sku = 'shoe'

/** Every answer agrees with what is recorded, and nothing else is. */
async function agree(stock: Stock, result: Rush): Promise<void> {
  expect(new Set(soldIds(result))).toEqual(await audit(stock, sku))
}

describeWithServices('stock behind a bad network', ['redis'], ({ redis: server }) => {
  const cleanups: (() => unknown)[] = []
  afterEach(async () => {
    for (const cleanup of cleanups.splice(0).reverse()) await cleanup()
  })

  /** A front behind the proxy, with a client as ioredis makes it by default, and one that sees the truth. */
  const setUp = async (
    options: StockOptions = {},
  ): Promise<{ proxy: FaultProxy; stock: Stock; truth: Stock; client: Redis }> => {
    const prefix = `${uniqueName('faults')}:`
    const proxy = await startProxy(server)
    const client = new Redis(proxy.port)
    client.on('error', () => undefined)
    const direct = new Redis(server.url)
    const stock = createStock(redisStock(client, { prefix }), { timeoutMs: 1_500, ...options })
    const truth = createStock(redisStock(direct, { prefix }), { timeoutMs: 30_000 })
    cleanups.push(
      () => proxy.stop(),
      () => direct.disconnect(),
      () => client.disconnect(),
      () => Promise.all([stock.close(), truth.close()]),
    )
    return { proxy, stock, truth, client }
  }
  const modes: [string, StockOptions][] = [
    ['without a gate', {}],
    ['with a gate', { local: { mode: 'gate', units: 500 } }],
  ]

  it.each(modes)('sells exactly while connections are cut, %s', async (_name, options) => {
    const { proxy, stock, truth, client } = await setUp(options)
    await truth.open(sku, 1_000)
    const watching = watch(truth, sku)
    let over = false
    const cutting = (async () => {
      for (let turn = 0; !over; turn++) {
        // At another moment of a trip each time; but a connection that is never made proves nothing.
        await sleep(10 + (turn % 20))
        if (client.status === 'ready') proxy.cut()
      }
    })()
    const result = await rush(stock, ordersOf(sku, 'order', 3_000), { callers: 32 })
    while (proxy.counters.cuts < 3) await rush(stock, ordersOf(sku, `more-${proxy.counters.cuts}`, 100), { result })
    over = true
    await cutting
    expect(await watching.stop()).toBeGreaterThan(0)
    expect(soldIds(result)).toHaveLength(1_000)
    expect(await truth.level(sku)).toMatchObject({ available: 0, sold: 1_000 })
    await agree(truth, result)
  })

  it('is never wrong about an order that sold elsewhere, while units come back', async () => {
    const { stock: gated, truth } = await setUp({ timeoutMs: 30_000, local: { mode: 'gate', units: 10 } })
    await truth.open(sku, 1)
    const rounds = 12
    let refused = 0
    for (let round = 0; round < rounds; round++) {
      await rush(gated, ordersOf(sku, `fill-${round}`, 5))
      const restocking = truth.restock(sku, 3)
      let sold = 0
      for (let i = 0; sold < 3 || i < 6; i++) {
        const order = { sku, orderId: `${round}-${i}` }
        const there = await truth.sell(order)
        const here = await gated.sell(order)
        if (there.ok) expect(here).toEqual({ ok: true, replayed: true })
        else refused++
        // The units may come back between the two.
        if (here.ok) sold++
      }
      await restocking
    }
    expect(refused, 'not before the gate could know').toBeGreaterThan(rounds)
    expect(await truth.level(sku)).toMatchObject({ available: 0, sold: 1 + 3 * rounds })
    await audit(truth, sku)
  })

  it('settles an order whose reply was lost when it is asked again with the same id', async () => {
    const { proxy, stock, truth } = await setUp()
    await truth.open(sku, 500)
    await stock.level(sku)
    const watching = watch(truth, sku)
    proxy.dropReplies(true)
    const result = newRush()
    const rushing = rush(stock, ordersOf(sku, 'order', 200), { callers: 200, result })
    while ((await truth.level(sku)).sold < 200) await sleep(5)
    // Time-outs leave outcomes unknown.
    while (result.failed.unknown === 0) await sleep(5)
    proxy.dropReplies(false)
    await rushing
    expect(await watching.stop()).toBeGreaterThan(0)
    expect(proxy.counters.droppedReplies).toBeGreaterThan(0)
    expect(result.replayed, 'asking again settled them').toBe(200)
    expect(await truth.level(sku)).toMatchObject({ available: 300, sold: 200 })
    await agree(truth, result)
  })

  it('sells once although the client sends a script again because its reply was lost', async () => {
    const { proxy, stock, truth } = await setUp({ timeoutMs: 30_000 })
    await truth.open(sku, 1_000)
    await stock.level(sku)
    const result = await rush(stock, ordersOf(sku, 'warm', 10))
    for (let turn = 1; turn <= 5; turn++) {
      const dropped = proxy.counters.droppedReplies
      proxy.dropReplies(1)
      await rush(stock, ordersOf(sku, `order-${turn}`, 20), { result, callers: 20 })
      expect(proxy.counters.droppedReplies).toBe(dropped + 1)
    }
    expect(result.failed).toEqual({ no: 0, unknown: 0 })
    expect(result.replayed, 'the second run of the script found the first').toBeGreaterThan(0)
    expect(await truth.level(sku)).toMatchObject({ available: 890, sold: 110 })
    await agree(truth, result)
  })

  it('opens, restocks and removes once although the script is sent again', async () => {
    const { proxy, stock, truth } = await setUp({ timeoutMs: 30_000 })
    await stock.find('warm', sku)
    const losingReplies = async <T>(work: () => Promise<T>): Promise<T> => {
      const dropped = proxy.counters.droppedReplies
      proxy.dropReplies(1)
      const result = await work()
      expect(proxy.counters.droppedReplies).toBe(dropped + 1)
      return result
    }
    expect(await losingReplies(() => stock.open(sku, 10)), 'it was this call that opened it').toBe(true)
    await losingReplies(() => stock.restock(sku, 5))
    await losingReplies(() => stock.restock(sku, -3))
    expect(await truth.level(sku)).toMatchObject({ total: 12, available: 12 })
    await losingReplies(() => stock.remove(sku))
    await expect(truth.level(sku)).rejects.toThrow(RangeError)
  })

  it('fails in time while nobody listens, and sends nothing later', async () => {
    const { proxy, stock, truth, client } = await setUp()
    await truth.open(sku, 10)
    await stock.level(sku)
    const closed = once(client, 'close')
    await proxy.refuse()
    proxy.cut()
    await closed
    const startedMs = performance.now()
    const outcomes = await Promise.allSettled([
      stock.sell({ sku, orderId: 'a' }),
      stock.restock(sku, 1),
      stock.level(sku),
      stock.remove(sku),
    ])
    expect(performance.now() - startedMs).toBeGreaterThanOrEqual(1_499)
    expect(performance.now() - startedMs).toBeLessThan(20_000)
    for (const outcome of outcomes) expect(outcome).toMatchObject({ status: 'rejected', reason: { applied: 'no' } })
    await proxy.accept()
    await until(() => client.status === 'ready')
    expect(await client.ping()).toBe('PONG')
    expect(await truth.level(sku)).toMatchObject({ total: 10, available: 10, sold: 0 })
    expect(await stock.sell({ sku, orderId: 'a' })).toEqual({ ok: true, replayed: false })
  })

  it('fails in time in front of a server that has fallen silent', async () => {
    const { proxy, stock, truth } = await setUp()
    await truth.open(sku, 10)
    await stock.level(sku)
    proxy.freeze()
    const startedMs = performance.now()
    await expect(stock.sell({ sku, orderId: 'a' })).rejects.toMatchObject({ applied: 'unknown' })
    expect(performance.now() - startedMs).toBeLessThan(20_000)
    proxy.thaw()
    const result = await rush(stock, [{ sku, orderId: 'a' }])
    expect(soldIds(result)).toEqual(['a'])
    expect(await truth.level(sku)).toMatchObject({ available: 9, sold: 1 })
  })
})

describeWithServices(
  'stock in a Redis of its own',
  ['redis'],
  ({ redis: server }) => {
    it('goes on when the server forgets its scripts', async () => {
      const redis = new Redis(server.url)
      const stock = createStock(redisStock(redis), { timeoutMs: 30_000 })
      await stock.open(sku, 1_000)
      const { result, flushes } = await whileScriptsAreFlushed(redis, 2, () =>
        rush(stock, ordersOf(sku, 'order', 3_000), { callers: 8 }),
      )
      expect(flushes).toBeGreaterThan(1)
      expect(result.failed).toEqual({ no: 0, unknown: 0 })
      expect(await stock.level(sku)).toMatchObject({ available: 0, sold: 1_000 })
      await agree(stock, result)
      await stock.close()
      redis.disconnect()
    })

    it('has every sale that was answered, when Redis writes each to disk', async () => {
      const redis = new Redis(server.url, { retryStrategy: () => 20 })
      redis.on('error', () => undefined)
      let lost = 0
      redis.on('close', () => lost++)
      const prefix = `${uniqueName('killed')}:`
      const truth = createStock(redisStock(redis, { prefix }), { timeoutMs: 30_000 })
      const stock = createStock(redisStock(redis, { prefix }), { timeoutMs: 500 })
      const gated = createStock(redisStock(redis, { prefix }), {
        timeoutMs: 500,
        local: { mode: 'gate', units: 200 },
      })
      await truth.open(sku, 3_000)
      const watching = watch(truth, sku)
      let over = false
      const rushing = Promise.all([
        rush(stock, ordersOf(sku, 'plain', 6_000), { callers: 8 }),
        rush(gated, ordersOf(sku, 'gated', 6_000), { callers: 8 }),
      ]).finally(() => (over = true))
      let kills = 0
      while (!over && kills < 3) {
        await server.kill()
        kills++
        await sleep(30)
        await server.restart()
        await sleep(50)
      }
      const results = await rushing
      expect(kills).toBeGreaterThan(0)
      expect(lost, 'the rush lost its connection').toBeGreaterThan(0)
      expect(await watching.stop()).toBeGreaterThan(0)
      expect(await truth.level(sku)).toMatchObject({ total: 3_000, available: 0, sold: 3_000 })
      expect(new Set(results.flatMap(soldIds))).toEqual(await audit(truth, sku))
      await Promise.all([truth, stock, gated].map((one) => one.close()))
      redis.disconnect()
    })
  },
  { private: true, durable: true },
)
