import { Redis } from 'ioredis'
import { expect, it, onTestFinished } from 'vitest'
import { createStock, type SoldOrder, type Stock } from '../../src/stock/index.js'
import { redisStock } from '../../src/stock/redis/index.js'
import { describeWithServices, uniqueName } from '../services/vitest.js'

const sku = 'shoe'
const trip = { signal: new AbortController().signal, sending: () => undefined }
const named = (name: string, count: number): SoldOrder[] =>
  Array.from({ length: count }, (_, i) => ({ orderId: `${name}-${i}` }))

// A failover to a replica that lacks the newest changes, as the keys of the SKU see it.
describeWithServices('a sale that falls back to an older state', ['redis'], ({ redis: server }) => {
  const setUp = () => {
    const prefix = `${uniqueName('fallback')}:`
    const redis = new Redis(server.url)
    onTestFinished(() => redis.disconnect())
    const driver = redisStock(redis, { prefix })
    /** The stock of one process, which has seen nothing yet. */
    const open = (): Stock => createStock(redisStock(redis, { prefix }), { timeoutMs: 30_000 })
    async function loseState(): Promise<void> {
      for (const key of await redis.keys(`${prefix}*`)) await redis.del(key)
    }
    /** Keeps the present state; the function that it answers goes back to it. */
    async function keepState(): Promise<() => Promise<void>> {
      const keys = await redis.keys(`${prefix}*`)
      const kept = await Promise.all(keys.map(async (key) => [key, await redis.dumpBuffer(key)] as const))
      return async () => {
        await loseState()
        for (const [key, state] of kept) await redis.restore(key, 0, state)
      }
    }
    const sell = async (stock: Stock, orders: readonly SoldOrder[]): Promise<void> => {
      for (const { ok } of await Promise.all(orders.map(({ orderId }) => stock.sell({ sku, orderId })))) {
        expect(ok).toBe(true)
      }
    }
    return { driver, open, loseState, keepState, sell }
  }
  const frozen = { name: 'StockFrozenError' }

  it('while it is reconciled is frozen again, and sells nothing that was recorded before', async () => {
    const { open, keepState } = setUp()
    const [stock, other] = [open(), open()]
    const own = named('own', 1_001)
    await stock.open(sku, 2_000)
    async function* orders(fallBack: boolean) {
      const goBack = await keepState()
      // A thousand are recorded together.
      yield* own.slice(0, 1_000)
      if (fallBack) await goBack()
      yield own[1_000] as SoldOrder
    }
    await expect(stock.reconcile(sku, orders(true))).rejects.toMatchObject(frozen)
    expect(await other.level(sku)).toMatchObject({ sold: 0 })
    await expect(other.sell({ sku, orderId: 'own-0' })).rejects.toMatchObject(frozen)
    expect(await stock.reconcile(sku, orders(false))).toEqual({ recorded: 1_001, unsold: [], unknown: [] })
    expect(await other.sell({ sku, orderId: 'own-0' })).toEqual({ ok: true, replayed: true })
  })

  it('after its last order was reconciled is not put on sale', async () => {
    const { open, keepState } = setUp()
    const stock = open()
    await stock.open(sku, 2_000)
    async function* orders() {
      const goBack = await keepState()
      yield* named('own', 1_000)
      await goBack()
    }
    await expect(stock.reconcile(sku, orders())).rejects.toMatchObject(frozen)
    await expect(open().sell({ sku, orderId: 'own-0' })).rejects.toMatchObject(frozen)
  })

  it('is reconciled by a process that has seen nothing of it, while others have seen more', async () => {
    const { open, keepState, sell } = setUp()
    const [stock, reconciling] = [open(), open()]
    const own = named('own', 50)
    await stock.open(sku, 100)
    const goBack = await keepState()
    await sell(stock, own)
    await goBack()
    async function* orders() {
      for (const order of own) {
        await expect(stock.sell({ sku, orderId: 'late' })).rejects.toMatchObject(frozen)
        yield order
      }
    }
    expect(await reconciling.reconcile(sku, orders())).toEqual({ recorded: 50, unsold: [], unknown: [] })
    expect(await stock.sell({ sku, orderId: 'late' })).toEqual({ ok: true, replayed: false })
    expect(await stock.sell({ sku, orderId: 'own-1' })).toEqual({ ok: true, replayed: true })
  })

  it('is frozen also for who has met it gone in between', async () => {
    const { open, loseState, keepState, sell } = setUp()
    const stock = open()
    await stock.open(sku, 5)
    const goBack = await keepState()
    await sell(stock, named('own', 5))
    // As it is between a master that lost everything and the replica that takes over.
    await loseState()
    expect(await stock.sell({ sku, orderId: 'b' })).toMatchObject({ reason: 'not-open' })
    await goBack()
    await expect(stock.sell({ sku, orderId: 'own-0' })).rejects.toMatchObject(frozen)
  })

  it('is reconciled as often as need be', async () => {
    const { open, driver } = setUp()
    const stock = open()
    await stock.open(sku, 10)
    const changes = Array.from({ length: 8_200 }, (_, i) => [
      driver.adjust(sku, [{ kind: 'freeze', token: `t${i}`, quantity: 0, forMs: 60_000 }], trip),
      driver.adjust(sku, [{ kind: 'thaw', token: `t${i}` }], trip),
    ])
    for (const [changed] of await Promise.all(changes.flat())) expect(changed?.outcome).toBe('done')
    expect(await stock.sell({ sku, orderId: 'a' })).toEqual({ ok: true, replayed: false })
    expect(await stock.level(sku)).toEqual({ total: 10, available: 9, held: 0, sold: 1 })
  })
})
