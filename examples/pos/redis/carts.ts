import { createHash } from 'node:crypto'
import type { Cluster, Redis } from 'ioredis'
import { lifetimes, limits, type Cart, type Carts, type Changed } from '../carts.js'
import changeSource from './change.lua'
import { inTime } from './in-time.js'
import sellSource from './sell.lua'

/** Runs a script by its name, and by its text where the server does not know it yet. */
function script(source: string) {
  const sha = createHash('sha1').update(source).digest('hex')
  return async (redis: Redis | Cluster, keys: readonly string[], args: readonly (string | number)[]) => {
    try {
      return await redis.evalsha(sha, keys.length, ...keys, ...args)
    } catch (error) {
      if (!(error instanceof Error) || !error.message.startsWith('NOSCRIPT')) throw error
      return redis.eval(source, keys.length, ...keys, ...args)
    }
  }
}

const changeScript = script(changeSource)
const sellScript = script(sellSource)

/**
 * Carts in Redis. The keys of a session share a slot, so that a change is one script on one server, and it is safe to
 * send twice: a client that reconnects repeats what it had no answer to.
 */
export function redisCarts(redis: Redis | Cluster, name: string): Carts {
  const cartKey = (id: string): string => `${name}:cart:{${id}}`
  const changesKey = (id: string): string => `${name}:changes:{${id}}`
  const receiptsKey = (id: string): string => `${name}:receipts:{${id}}`
  return {
    async change(id, change) {
      const { kind, key } = change
      const [productId, quantity] = kind === 'clear' ? ['', 0] : [change.productId, change.quantity]
      const bounds = [limits.ofOneProduct, limits.lines, limits.changes, lifetimes.cartMs]
      const reply = await inTime(redis, () =>
        changeScript(redis, [cartKey(id), changesKey(id)], [key, kind, productId, quantity, ...bounds]),
      )
      const [outcome, ...fields] = reply as [Changed['outcome'], ...string[]]
      return { outcome, cart: cartOf(fields) }
    },
    async read(id) {
      const fields = await inTime(redis, () => redis.hgetall(cartKey(id)))
      return cartOf(Object.entries(fields).flat())
    },
    async sell(id, { key, version, receipt }) {
      const { repetitionMs, cartMs, receiptMs } = lifetimes
      const keys = [cartKey(id), changesKey(id), receiptsKey(id)]
      const reply = await inTime(redis, () =>
        sellScript(redis, keys, [key, version, receipt, repetitionMs, cartMs, receiptMs]),
      )
      const [outcome, known] = reply as ['sold' | 'replayed', string] | ['changed', undefined]
      return outcome === 'changed' ? { outcome } : { outcome, receipt: known }
    },
    async receipt(id, key) {
      return (await inTime(redis, () => redis.hget(receiptsKey(id), key))) ?? undefined
    },
    async forget(id) {
      await inTime(redis, () => redis.del(cartKey(id), changesKey(id)))
    },
  }
}

/** From the fields of its hash and their values, in turn. */
function cartOf(fields: readonly string[]): Cart {
  let version = 0
  const placed: { place: number; productId: string; quantity: number }[] = []
  for (let at = 0; at < fields.length; at += 2) {
    const [field = '', value = ''] = [fields[at], fields[at + 1]]
    if (field === 'v') {
      version = Number(value)
    } else {
      const [place = 0, quantity = 0] = value.split(' ').map(Number)
      placed.push({ place, productId: field.slice(1), quantity })
    }
  }
  placed.sort((a, b) => a.place - b.place)
  return { version, lines: placed.map(({ productId, quantity }) => ({ productId, quantity })) }
}
