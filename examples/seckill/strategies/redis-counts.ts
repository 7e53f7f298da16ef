import type { Cluster, Redis } from 'ioredis'
import { inTime } from '../../shared/database.js'
import { levelOf, recordOf, tokenText, type Counts } from './counts.js'
import readSource from './read.lua'
import { notOnSale } from './seller.js'
import writeSource from './write.lua'

type Script = (...keysAndArguments: (string | number)[]) => Promise<unknown>

const page = 1_000

function split(order: string): { readonly quantity: number; readonly buyer: string } {
  const colon = order.indexOf(':')
  return { quantity: Number(order.slice(0, colon)), buyer: order.slice(colon + 1) }
}

/** Counts in Redis. Those of different prefixes know nothing of each other. */
export function redisCounts(redis: Redis | Cluster, prefix: string): Counts {
  const script = (name: string, lua: string): Script => {
    redis.defineCommand(name, { lua, numberOfKeys: 3 })
    const command = (redis as unknown as Record<string, Script>)[name] as Script
    return (...given) => inTime(command.apply(redis, given))
  }
  const read = script('seckillRead', readSource)
  const write = script('seckillWrite', writeSource)
  const keysOf = (sku: string) =>
    [`${prefix}{${sku}}:numbers`, `${prefix}{${sku}}:orders`, `${prefix}{${sku}}:buyers`] as const

  return {
    async open(sku, quantity) {
      const [numbers] = keysOf(sku)
      const opening = redis.multi().hsetnx(numbers, 'total', quantity).hsetnx(numbers, 'left', quantity)
      const replies = await inTime(opening.hsetnx(numbers, 'fence', tokenText(0n)).exec())
      return replies?.[0]?.[1] === 1
    },
    async read({ sku, orderId, buyer }, token) {
      const reply = await read(...keysOf(sku), tokenText(token), orderId, buyer?.id ?? '')
      const [left, known, bought] = reply as string[]
      if (left === undefined || left === 'stale') return left
      return { left: Number(left), known: known ? split(known) : undefined, bought: Number(bought) }
    },
    async write({ order, left, bought }, token) {
      const { sku, orderId, quantity = 1, buyer: { id: buyer } = { id: '' } } = order
      const args = [tokenText(token), left, orderId, `${quantity}:${buyer}`, buyer, bought]
      return (await write(...keysOf(sku), ...args)) === 1
    },
    async level(sku) {
      const [total, left] = await inTime(redis.hmget(keysOf(sku)[0], 'total', 'left'))
      if (!total) throw notOnSale(sku)
      return levelOf(Number(total), Number(left))
    },
    async *orders(sku) {
      const [numbers, orders] = keysOf(sku)
      if ((await inTime(redis.exists(numbers))) === 0) throw notOnSale(sku)
      // A scan may meet an order twice.
      const met = new Set<string>()
      let cursor = '0'
      do {
        const [next, entries] = await inTime(redis.hscan(orders, cursor, 'COUNT', page))
        for (let at = 0; at < entries.length; at += 2) {
          const [orderId = '', order = ''] = entries.slice(at, at + 2)
          const { quantity, buyer } = split(order)
          if (!met.has(orderId)) yield recordOf(orderId, quantity, buyer)
          met.add(orderId)
        }
        cursor = next
      } while (cursor !== '0')
    },
    async find(orderId, sku) {
      const order = await inTime(redis.hget(keysOf(sku)[1], orderId))
      if (order === null) return undefined
      const { quantity, buyer } = split(order)
      return recordOf(orderId, quantity, buyer)
    },
    async remove(sku) {
      await inTime(redis.del(...keysOf(sku)))
    },
  }
}
