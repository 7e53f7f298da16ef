import { Redis } from 'ioredis'
import { expect, expectTypeOf, it } from 'vitest'
import { createStock, memoryStock, type SaleResult, type StockOptions } from '../../src/stock/index.js'
import { redisStock } from '../../src/stock/redis/index.js'
import { offline, offlineClients } from '../support/redis-clients.js'

it('takes the clients of ioredis 5 and 6 and of iovalkey', () => {
  const clients = offlineClients()
  const drivers = [
    redisStock(clients[0]),
    redisStock(clients[1], { prefix: 'a:' }),
    redisStock(clients[2]),
    redisStock(clients[3]),
    redisStock(clients[4]),
    redisStock(clients[5]),
  ]
  expect(drivers).toHaveLength(6)
  clients.forEach((client) => client.disconnect())
})

it('refuses a prefix that would take the hash tag away', () => {
  const redis = new Redis(offline)
  expect(() => redisStock(redis, { prefix: 'shop{}:' })).toThrow(RangeError)
  // @ts-expect-error -- a prefix is a string
  expect(() => redisStock(redis, { prefix: 7 })).toThrow(TypeError)
  redis.disconnect()
})

it('types answers so that a refusal has its reason and a sale has none', () => {
  const told = (result: SaleResult): string =>
    result.ok ? `${result.replayed}` : `${result.reason} ${result.available}`
  expect(told({ ok: false, reason: 'sold-out', available: 0 })).toBe('sold-out 0')
  expectTypeOf<Extract<SaleResult, { ok: false }>['reason']>().toEqualTypeOf<
    'sold-out' | 'buyer-limit' | 'not-open' | 'spent'
  >()
})

it('offers only what exists', () => {
  const stock = createStock(memoryStock(), { local: { mode: 'gate', units: 1 } })
  expectTypeOf<NonNullable<StockOptions['local']>['mode']>().toEqualTypeOf<'gate'>()
  expectTypeOf(stock).toExtend<AsyncDisposable>()
  expect(Object.keys(stock).sort()).toEqual(['close', 'find', 'level', 'open', 'orders', 'remove', 'restock', 'sell'])
})

it('takes what is undefined as absent', async () => {
  const maybe = undefined as number | undefined
  const stock = createStock(memoryStock({ clock: undefined }), {
    name: undefined,
    timeoutMs: maybe,
    local: undefined,
    onBackgroundError: undefined,
  })
  await stock.open('a', 3)
  await stock.restock('a', 1, { id: undefined })
  expect(await stock.sell({ sku: 'a', orderId: 'b', quantity: maybe, buyer: undefined })).toMatchObject({ ok: true })
  redisStock(new Redis({ ...offline, lazyConnect: true }), { prefix: undefined })
  const never = (): void => {
    // @ts-expect-error -- quantity
    void stock.sell({ sku: 'a', orderId: 'b', qty: 3 })
  }
  expectTypeOf(never).toBeFunction()
})
