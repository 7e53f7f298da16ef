import { Cluster } from 'ioredis'
import { expect, it, onTestFinished } from 'vitest'
import { StoreUnavailableError } from '../../src/index.js'
import { createStock, type Stock } from '../../src/stock/index.js'
import { createSales, type Sales } from '../../src/stock/redis/sales.js'
import { shardName } from '../../src/stock/redis/shard-names.js'
import { createSharded } from '../../src/stock/redis/sharded.js'
import { sleep } from '../services/net.js'
import { describeWithServices, uniqueName } from '../services/vitest.js'
import { chanceOf } from '../support/chance.js'

const sku = 'shoe'
const shards = 4
const units = 60
const limit = 40
const runMs = 2_500
const trip = { signal: new AbortController().signal, sending: () => undefined }
const seed = process.env['SEED'] === undefined ? Date.now() % 2 ** 31 : Number(process.env['SEED'])

type Call = (...args: unknown[]) => Promise<unknown>
const verbs = ['sell', 'move', 'level', 'settle', 'adjust', 'find'] as const

/** Commands come late, and, where `lossy`, are lost on the way, or their replies are, or a second copy arrives later. */
function disturbed(sales: Sales, chance: () => number, lossy: boolean): Sales {
  const wrap =
    (verb: (typeof verbs)[number]): Call =>
    async (...args) => {
      const call = (): Promise<unknown> => (sales[verb] as Call)(...args)
      await sleep(verb === 'level' && chance() < 0.2 ? chance() * 25 : chance() * 2)
      if (lossy && chance() < 0.01) {
        if (chance() < 0.5)
          void sleep(chance() * 60)
            .then(call)
            .catch(() => undefined)
        throw new Error('lost')
      }
      const reply = await call()
      if (lossy && chance() < 0.01) throw new Error('lost its reply')
      return reply
    }
  return { ...sales, ...(Object.fromEntries(verbs.map((verb) => [verb, wrap(verb)])) as unknown as Partial<Sales>) }
}

describeWithServices('a SKU over shards, under random delays', ['redis-cluster'], ({ 'redis-cluster': server }) => {
  it.each([
    ['nothing is lost', false, undefined],
    ['commands and replies are lost', true, undefined],
    ['nothing is lost, with gates', false, { mode: 'gate', units: 100 } as const],
    ['commands and replies are lost, with gates', true, { mode: 'gate', units: 100 } as const],
  ])(`has each id once, and every unit somewhere: %s (SEED=${seed} repeats it)`, async (_name, lossy, local) => {
    const chance = chanceOf(seed)
    const prefix = `${uniqueName('random')}:`
    const redis = new Cluster([...server.nodes])
    onTestFinished(() => redis.disconnect())
    const sales = Array.from({ length: shards }, (_, shard) =>
      createSales(redis, shards, (name) => shardName(prefix, name, shard, shards)),
    )
    const front = (): Stock =>
      createStock(createSharded(sales.map((one) => disturbed(one, chance, lossy))), { timeoutMs: 5_000, local })
    const fronts = [front(), front(), front()]
    await using truth = createStock(createSharded(sales), { timeoutMs: 30_000 })
    await truth.open(sku, units)

    const pick = <T>(list: readonly T[]): T => list[Math.floor(chance() * list.length)] as T
    const endsAtMs = performance.now() + runMs
    async function caller(): Promise<void> {
      while (performance.now() < endsAtMs) {
        const stock = pick(fronts)
        const number = Math.floor(chance() * 60)
        // Ids are used for a while, and then others are.
        const orderId = `o${number}-${Math.floor((endsAtMs - performance.now()) / 400)}`
        const buyer = number % 3 === 0 ? undefined : { id: `b${number % 7}`, limit }
        const dice = chance()
        try {
          if (dice < 0.4) await stock.sell({ sku, orderId, quantity: 1 + (number % 5) * 4, buyer })
          else if (dice < 0.8) await stock.refund(orderId, sku)
          else if (dice < 0.95) {
            const level = await stock.level(sku)
            expect(level.total).toBe(level.available + level.held + level.sold)
            if (!lossy) expect(level.total).toBe(units)
          } else await stock.find(orderId, sku)
        } catch (error) {
          if (!(error instanceof StoreUnavailableError)) throw error
        }
      }
    }
    await Promise.all(Array.from({ length: 24 }, caller))
    await Promise.all(fronts.map((stock) => stock.close()))
    // Until the last second copies are there.
    await sleep(200)

    const ids: string[] = []
    const bought = new Map<string, number>()
    let sold = 0
    for (const shard of sales) {
      let cursor: string | undefined
      do {
        const page = await shard.orders(sku, cursor, trip)
        for (const order of page?.orders ?? []) {
          ids.push(order.orderId)
          if (order.state !== 'sold') continue
          sold += order.quantity
          if (order.buyerId) bought.set(order.buyerId, (bought.get(order.buyerId) ?? 0) + order.quantity)
        }
        cursor = page?.next
      } while (cursor !== undefined)
    }
    expect(ids.length).toBe(new Set(ids).size)
    expect(Math.max(0, ...bought.values())).toBeLessThanOrEqual(limit)
    const level = await truth.level(sku)
    expect(level).toEqual({ total: units, available: units - sold, held: 0, sold })
    if (level.available > 0) {
      expect(await truth.sell({ sku, orderId: 'rest', quantity: level.available })).toMatchObject({ ok: true })
    }
  })
})
