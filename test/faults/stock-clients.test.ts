import { once } from 'node:events'
import type { Cluster, Redis } from 'ioredis'
import { describe, expect, it, onTestFinished } from 'vitest'
import { OrderConflictError, StoreUnavailableError } from '../../src/core/errors.js'
import { createStock, type RecordedOrder, type SaleResult } from '../../src/stock/index.js'
import { redisStock } from '../../src/stock/redis/index.js'
import { describeWithServices, uniqueName } from '../services/vitest.js'
import {
  clientLibraries,
  clusterClient,
  clusterSettings,
  serverClient,
  serverSettings,
} from './redis-client-settings.js'

const sku = 'shoe {42}'
const timeoutMs = 30_000
const local = { mode: 'gate', units: 4 } as const
const buyer = { id: 'ann', limit: 3 }

/** A sale from its opening to its end, with and without a gate, every answer compared. */
async function wholeSale(client: Redis | Cluster, prefix: string): Promise<void> {
  await using plain = createStock(redisStock(client, { prefix }), { timeoutMs })
  await using gated = createStock(redisStock(client, { prefix }), { timeoutMs, local })
  expect(await plain.open(sku, 8)).toBe(true)
  expect(await gated.open(sku, 8)).toBe(false)
  await plain.restock(sku, 3, { id: 'delivery' })
  await gated.restock(sku, 3, { id: 'delivery' })
  await plain.restock(sku, -1)
  await expect(plain.restock(sku, -100)).rejects.toThrow(RangeError)

  const sold = { ok: true, replayed: false }
  const both = [
    { sku, orderId: 'a', quantity: 2, buyer },
    { sku, orderId: 'b' },
    { sku, orderId: 'c', quantity: 2, buyer },
    { sku, orderId: 'd', quantity: 11 },
  ]
  const answers: SaleResult[] = [
    { ok: true, replayed: false },
    { ok: true, replayed: false },
    { ok: false, reason: 'buyer-limit', available: 7 },
    { ok: false, reason: 'sold-out', available: 7 },
  ]
  expect(await Promise.all(both.map((order) => plain.sell(order)))).toEqual(answers)
  expect(await gated.sell({ sku, orderId: 'a', quantity: 2 })).toEqual({ ok: true, replayed: true })
  await expect(gated.sell({ sku, orderId: 'b', quantity: 2 })).rejects.toThrow(OrderConflictError)
  expect(await gated.sell({ sku, orderId: 'e', quantity: 7 })).toEqual(sold)
  const soldOut = { ok: false, reason: 'sold-out', available: 0 }
  for (let i = 0; i < 5; i++) {
    const late = Array.from({ length: 20 }, (_, n) => gated.sell({ sku, orderId: `late-${i}-${n}` }))
    expect(await Promise.all(late)).toEqual(Array(20).fill(soldOut))
  }

  expect(await plain.level(sku)).toEqual({ total: 10, available: 0, held: 0, sold: 10 })
  const recorded: RecordedOrder[] = []
  for await (const order of gated.orders(sku)) recorded.push(order)
  expect(recorded.toSorted((a, b) => (a.orderId < b.orderId ? -1 : 1))).toEqual([
    { orderId: 'a', quantity: 2, state: 'sold', buyerId: 'ann' },
    { orderId: 'b', quantity: 1, state: 'sold' },
    { orderId: 'e', quantity: 7, state: 'sold' },
  ])
  expect(await Promise.all(['b', 'c'].map((orderId) => plain.find(orderId, sku)))).toEqual([
    { orderId: 'b', quantity: 1, state: 'sold' },
    undefined,
  ])
  await gated.remove(sku)
  await expect(plain.level(sku)).rejects.toThrow(RangeError)
  expect(await gated.sell({ sku, orderId: 'a' })).toEqual({ ok: false, reason: 'not-open', available: 0 })
}

describe.each(clientLibraries)('stock with a client of %s', (library) => {
  describeWithServices('one server', ['redis'], ({ redis }) => {
    it.each(serverSettings)('sells with $title', async ({ options }) => {
      const client = serverClient(redis, options, library)
      onTestFinished(() => client.disconnect())
      await wholeSale(client, `${uniqueName('clients')}:`)
    })
  })

  describeWithServices('a Cluster', ['redis-cluster'], (services) => {
    it.each(clusterSettings)('sells with $title', async ({ options }) => {
      const client = clusterClient(services['redis-cluster'].nodes, options, library)
      onTestFinished(() => client.disconnect())
      await wholeSale(client, `${uniqueName('clients')}:`)
    })
  })
})

describeWithServices('many stocks over one client', ['redis'], ({ redis: server }) => {
  it('wait for it without a warning, and leave no listener', async () => {
    const client = serverClient(server, { lazyConnect: true })
    onTestFinished(() => client.disconnect())
    const warnings: string[] = []
    const note = ({ message }: Error): void => void warnings.push(message)
    process.on('warning', note)
    onTestFinished(() => void process.off('warning', note))
    const stocks = Array.from({ length: 50 }, (_, i) =>
      createStock(redisStock(client, { prefix: `${uniqueName('many')}:` }), { timeoutMs, ...(i % 2 ? { local } : {}) }),
    )
    const opened = stocks.flatMap((stock) => [stock.open('a', 5), stock.open('b', 5)])
    expect(await Promise.all(opened)).toEqual(Array(100).fill(true))
    const sold = stocks.map((stock) => stock.sell({ sku: 'a', orderId: 'o' }))
    for (const result of await Promise.all(sold)) expect(result.ok).toBe(true)
    await Promise.all(stocks.map((stock) => stock.close()))
    await new Promise((resolve) => setImmediate(resolve))
    expect(warnings).toEqual([])
  })
})

describeWithServices('a client inside a MULTI that is not pipelined', ['redis'], ({ redis: server }) => {
  it.each([undefined, local])('is told so, and nothing is said of its orders (gate: %o)', async (gate) => {
    const prefix = `${uniqueName('multi')}:`
    const client = serverClient(server, {})
    const truth = serverClient(server, {})
    onTestFinished(() => void [client, truth].map((one) => one.disconnect()))
    if (client.status !== 'ready') await once(client, 'ready')
    const options = gate ? { timeoutMs, local: gate } : { timeoutMs }
    await using stock = createStock(redisStock(client, { prefix }), options)
    await using seen = createStock(redisStock(truth, { prefix }), { timeoutMs })
    await stock.open(sku, 5)
    await stock.restock(sku, 5)
    await stock.sell({ sku, orderId: 'first' })
    const calls = [
      () => stock.sell({ sku, orderId: 'a' }),
      () => stock.find('a', sku),
      () => stock.level(sku),
      () => stock.restock(sku, 1),
      () => stock.open('other', 1),
      () => stock.orders(sku)[Symbol.asyncIterator]().next(),
    ]
    await client.multi({ pipeline: false })
    for (const call of calls) {
      const error: unknown = await call().catch((failure: unknown) => failure)
      expect(error).toBeInstanceOf(StoreUnavailableError)
      expect(error).toMatchObject({ applied: 'unknown' })
      expect(String((error as Error).cause)).toContain('MULTI')
    }
    await client.exec()
    expect(await seen.level(sku)).toMatchObject({ sold: 2, total: 11 })
    expect(await stock.sell({ sku, orderId: 'a' })).toEqual({ ok: true, replayed: true })
  })
})
