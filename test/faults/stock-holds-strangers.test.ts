import { Redis } from 'ioredis'
import { afterAll, expect, it, onTestFinished } from 'vitest'
import { StoreUnavailableError } from '../../src/core/errors.js'
import { createStock, type Stock } from '../../src/stock/index.js'
import { redisStock } from '../../src/stock/redis/index.js'
import { describeWithServices, uniqueName } from '../services/vitest.js'
import { until } from '../support/until.js'
import { stockCommands } from './stock-rights.js'

const sku = 'ticket'
const timeoutMs = 30_000
const hourMs = 3_600_000
const parts = ['stock', 'orders', 'buyers', 'holds', 'restocks']

describeWithServices("strangers' data where holds are", ['redis'], ({ redis: server }) => {
  const redis = new Redis(server.url)
  afterAll(() => redis.disconnect())

  const setUp = async () => {
    const prefix = `${uniqueName('strangers')}:`
    const stock = createStock(redisStock(redis, { prefix }), { timeoutMs })
    const key = (part: string): string => `${prefix}{${sku}}:${part}`
    const stored = () => Promise.all(parts.map((part) => redis.dumpBuffer(key(part))))
    await stock.open(sku, 10)
    await stock.sell({ sku, orderId: 'sold' })
    await stock.reserve({ sku, orderId: 'held', holdMs: hourMs, buyer: { id: 'ann', limit: 3 } })
    return { prefix, stock, key, stored }
  }

  const verbs: [string, (stock: Stock) => Promise<unknown>][] = [
    ['sell', (stock) => stock.sell({ sku, orderId: 'new' })],
    ['reserve', (stock) => stock.reserve({ sku, orderId: 'new', holdMs: hourMs })],
    ['confirm', (stock) => stock.confirm('held', sku)],
    ['cancel', (stock) => stock.cancel('held', sku)],
    ['refund', (stock) => stock.refund('sold', sku)],
    ['sellTogether', (stock) => stock.sellTogether([{ sku, orderId: 'new' }])],
    ['restock', (stock) => stock.restock(sku, 1)],
    ['level', (stock) => stock.level(sku)],
  ]
  const damages: [string, (key: string) => Promise<unknown>][] = [
    ['a text', (key) => redis.set(key, 'text of a stranger')],
    ['a list', (key) => redis.lpush(key, 'a', 'b')],
    ['a set with members of a stranger that lie in the past', (key) => redis.zadd(key, 1, 'stranger', 2, 'other')],
    ['nothing, as after an eviction', async () => undefined],
  ]
  it.each(damages)('fails clearly what needs them, and changes nothing: %s', async (_what, damage) => {
    for (const [name, call] of verbs) {
      const { stock, key, stored } = await setUp()
      await redis.del(key('holds'))
      await damage(key('holds'))
      const before = await stored()
      const outcome: unknown = await call(stock).catch((error: unknown) => error)
      expect(outcome, name).toBeInstanceOf(StoreUnavailableError)
      expect(outcome, name).toMatchObject({ applied: 'no', message: expect.stringContaining(`"${sku}"`) as unknown })
      expect(await stored(), name).toEqual(before)
    }
  })

  it('removes a sale whose holds are damaged no more than it reads it', async () => {
    const { stock, key } = await setUp()
    await redis.del(key('holds'))
    await expect(stock.remove(sku)).rejects.toMatchObject({ applied: 'no' })
    expect(await redis.exists(key('stock'))).toBe(1)
  })

  it.each(['zadd', 'zremrangebyscore', 'hdel', 'sadd', 'zrangebyscore'])(
    'writes nothing of a step for which the user lacks the right to %s',
    async (lacking) => {
      const { prefix, stock, stored } = await setUp()
      const username = uniqueName('user')
      const rights = stockCommands.filter((command) => command !== lacking)
      await redis.call('ACL', 'SETUSER', username, 'on', '>secret', '~*', ...rights.map((right) => `+${right}`))
      const client = new Redis({ host: server.host, port: server.port, username, password: 'secret' })
      onTestFinished(async () => {
        client.disconnect()
        await redis.call('ACL', 'DELUSER', username)
      })
      const poor = createStock(redisStock(client, { prefix }), { timeoutMs })
      await stock.reserve({ sku, orderId: 'lapses', holdMs: 1 })
      await until(async () => (await stock.level(sku)).held === 1)
      let failed = 0
      const calls: [string, (stock: Stock) => Promise<unknown>][] = [
        ...verbs,
        ['cancel a buyer', (one) => one.cancel('held', sku)],
        [
          'reserve for a buyer',
          (one) => one.reserve({ sku, orderId: 'b', holdMs: hourMs, buyer: { id: 'bob', limit: 1 } }),
        ],
      ]
      // The ones that may work come last.
      for (const [name, call] of calls.toReversed()) {
        const before = await stored()
        const outcome: unknown = await call(poor).catch((error: unknown) => error)
        if (!(outcome instanceof StoreUnavailableError)) continue
        failed++
        expect(await stored(), name).toEqual(before)
      }
      expect(failed).toBeGreaterThan(0)
      const { total, available, held, sold } = await stock.level(sku)
      expect(total).toBe(available + held + sold)
    },
  )
})
