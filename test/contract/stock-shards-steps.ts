import assert from 'node:assert/strict'
import { Cluster } from 'ioredis'
import { onTestFinished } from 'vitest'
import { createStock, type Stock, type StockOptions } from '../../src/stock/index.js'
import type { StockDriver } from '../../src/stock/driver.js'
import { createSales, type Sales } from '../../src/stock/redis/sales.js'
import { homeOf, shardName } from '../../src/stock/redis/shard-names.js'
import { createSharded } from '../../src/stock/redis/sharded.js'
import { uniqueName } from '../services/vitest.js'

// What tests of shards have in common that stop between two steps: the commands of one shard can be held, repeated or lost.

export const sku = 'shoe'
export const shards = 4
export const trip = { signal: new AbortController().signal, sending: () => undefined }
export function gate() {
  let resolve: () => void = () => undefined
  const promise = new Promise<void>((open) => (resolve = open))
  return { promise, resolve }
}
export const nameAt = (shard: number, name = 'o'): string => {
  for (let i = 0; ; i++) if (homeOf(`${name}${i}`, shards) === shard) return `${name}${i}`
}
export const order = (orderId: string, more: object = {}) => ({ sku, orderId, ...more })
export const request = (orderId: string, more: object = {}) => ({
  ...{ sku, orderId, quantity: 1, buyer: undefined },
  ...more,
})
export const appliedOf = async (call: Promise<unknown>): Promise<unknown> =>
  call.then(
    (value) => value,
    (error: { applied?: string; message: string }) => `${error.applied}: ${error.message}`,
  )

export const setUp = (server: { readonly nodes: readonly { readonly host: string; readonly port: number }[] }) => {
  const prefix = `${uniqueName('review')}:`
  const redis = new Cluster([...server.nodes])
  onTestFinished(() => redis.disconnect())
  /** The shards of one process; each may be changed by `wrap`. */
  const salesOf = (wrap: (sales: Sales, shard: number) => Partial<Sales> = () => ({})): Sales[] =>
    Array.from({ length: shards }, (_, shard) => {
      const sales = createSales(redis, shards, (name) => shardName(prefix, name, shard, shards))
      return { ...sales, ...wrap(sales, shard) }
    })
  const stockOf = (driver: StockDriver, options: StockOptions = {}): Stock =>
    createStock(driver, { timeoutMs: 10_000, ...options })
  const stock = stockOf(createSharded(salesOf()))
  const key = (shard: number, part: string): string => `${shardName(prefix, sku, shard, shards)}:${part}`
  const loseShard = async (shard: number): Promise<void> => {
    for (const part of ['stock', 'orders', 'buyers', 'holds', 'closed', 'placed', 'restocks'])
      await redis.del(key(shard, part))
  }
  return { redis, prefix, salesOf, stockOf, stock, key, loseShard }
}

/** Shards with ten units on their way from the first to the third, which are received and noted while the shards are read again. */
export async function readingAcrossTransfer(
  salesOf: ReturnType<typeof setUp>['salesOf'],
  stock: Stock,
): Promise<Sales[]> {
  await stock.open(sku, 10)
  const plain = salesOf()
  const epoch = (await plain[0]?.level(sku, undefined, trip))?.epoch ?? ''
  const [number = 0, units = 0] = (await plain[0]?.move(sku, epoch, ['give', 3, 10, '', 0], trip)) ?? []
  assert.equal(units, 10)
  let reads = 0
  const thirdIsRead = gate()
  return salesOf((sales, shard) => ({
    async level(...args) {
      if (shard === 0) {
        // The second time the node of the first shard is slower than that of the third.
        if (++reads === 2) {
          await thirdIsRead.promise
          await plain[2]?.move(sku, epoch, ['receive', 1, number, units], trip)
          await plain[0]?.move(sku, epoch, ['received', 3, number], trip)
        }
        return sales.level(...args)
      }
      const state = await sales.level(...args)
      if (shard === 2 && reads === 2) thirdIsRead.resolve()
      return state
    },
  }))
}
