import { Redis } from 'ioredis'
import { expect, expectTypeOf, it } from 'vitest'
import {
  createStock,
  memoryStock,
  type BasketResult,
  type HoldOrder,
  type Order,
  type RecordedOrder,
  type SaleResult,
  type SettleResult,
  type Stock,
  type StockDriver,
  type StockOptions,
} from '../../src/stock/index.js'
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
  expect(Object.keys(stock).sort()).toEqual(
    [
      ...['cancel', 'close', 'confirm', 'find', 'level', 'open', 'orders', 'refund', 'remove', 'reserve'],
      ...['reconcile', 'restock', 'sell', 'sellTogether'],
    ].sort(),
  )
})

it('types holds, settlements and baskets', () => {
  type Taken = { readonly ok: true; readonly replayed: boolean }
  type Reason = 'sold-out' | 'buyer-limit' | 'not-open' | 'spent'
  type Refused = { readonly ok: false; readonly reason: Reason; readonly available: number }
  type Settled = 'done' | 'already' | 'expired' | 'cancelled' | 'confirmed' | 'unknown'
  type Level = Record<'total' | 'available' | 'held' | 'sold', number>

  expectTypeOf<HoldOrder>().toExtend<Order & { readonly holdMs: number }>()
  expectTypeOf<Order & { readonly holdMs: number }>().toExtend<HoldOrder>()
  expectTypeOf<Stock['reserve']>().parameters.toEqualTypeOf<[order: HoldOrder]>()
  expectTypeOf<Stock['reserve']>().returns.resolves.toEqualTypeOf<Taken | Refused>()
  expectTypeOf<Stock['sell']>().returns.resolves.toEqualTypeOf<Taken | Refused>()
  expectTypeOf<SettleResult>().toEqualTypeOf<Settled>()
  expectTypeOf<Stock['cancel']>().toEqualTypeOf<(orderId: string, sku: string) => Promise<Settled>>()
  expectTypeOf<Stock['refund']>().toEqualTypeOf<(orderId: string, sku: string) => Promise<Settled>>()
  expectTypeOf<Stock['confirm']>().parameter(2).toEqualTypeOf<{ readonly quantity?: number | undefined } | undefined>()
  expectTypeOf<Stock['confirm']>().returns.resolves.toEqualTypeOf<Settled>()
  expectTypeOf<Stock['sellTogether']>().parameter(0).toEqualTypeOf<readonly Order[]>()
  expectTypeOf<Stock['sellTogether']>()
    .parameter(1)
    .toEqualTypeOf<{ readonly holdMs?: number | undefined } | undefined>()
  expectTypeOf<Stock['sellTogether']>().returns.resolves.toExtend<Taken | (Refused & { readonly refusedBy: number })>()
  expectTypeOf<Taken | (Refused & { readonly refusedBy: number })>().toExtend<BasketResult>()
  expectTypeOf<Stock['level']>().returns.resolves.toExtend<Readonly<Level>>()
  expectTypeOf<RecordedOrder['state']>().toEqualTypeOf<'held' | 'sold'>()

  const told = (result: BasketResult): string => (result.ok ? `${result.replayed}` : `${result.refusedBy}`)
  expect(told({ ok: false, refusedBy: 2, reason: 'spent', available: 0 })).toBe('2')
})

it('refuses calls that the types do not have', () => {
  const never = (stock: Stock): void => {
    // @ts-expect-error -- a hold has a length
    void stock.reserve({ sku: 'a', orderId: 'b' })
    // @ts-expect-error -- a sale has none
    void stock.sell({ sku: 'a', orderId: 'b', holdMs: 5 })
    // @ts-expect-error -- the orders of a basket share one
    void stock.sellTogether([{ sku: 'a', orderId: 'b', holdMs: 5 }])
    // @ts-expect-error -- the id comes first, and the SKU is not to be left out
    void stock.cancel('b')
    // @ts-expect-error -- only a confirmation may be for a part
    void stock.refund('b', 'a', { quantity: 1 })
  }
  expectTypeOf(never).toBeFunction()
  const redis = new Redis(offline)
  expectTypeOf(redisStock(redis, { group: (sku) => sku.slice(0, 1) })).toExtend<StockDriver>()
  redisStock(redis, { group: undefined })
  // @ts-expect-error -- a group is a function
  expect(() => redisStock(redis, { group: 'all' })).toThrow('group must be a function, got "all"')
  redis.disconnect()
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
