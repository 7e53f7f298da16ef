// Sells one order under a lock, and waits in the middle of it, with its write ready to go, for a line on its input.
import { once } from 'node:events'
import { Redis } from 'ioredis'
import { createLock } from 'spillway/lock'
import { redisLock } from 'spillway/lock/redis'
import type { Counts } from '../../../examples/seckill/strategies/counts.js'
import { lockedSeller } from '../../../examples/seckill/strategies/locked.js'
import { redisCounts } from '../../../examples/seckill/strategies/redis-counts.js'
import { lockedNames } from '../../../examples/seckill/strategies/servers.js'

const [url = '', prefix = '', sku = '', orderId = '', ttlMs = '', fencing = ''] = process.argv.slice(2)
const redis = new Redis(url)
const lock = createLock(redisLock(redis), { ttlMs: Number(ttlMs), timeoutMs: 30_000 })
const names = lockedNames('redis-lock', prefix)
const counts = redisCounts(redis, names.counts)

const say = (event: string): void => void process.stdout.write(`${event}\n`)
const tokenFor = (token: bigint | undefined): bigint | undefined => (fencing === 'fenced' ? token : undefined)
const slow: Counts = {
  ...counts,
  read: (order, token) => counts.read(order, tokenFor(token)),
  async write(decrement, token) {
    say('writing')
    await once(process.stdin, 'data')
    return counts.write(decrement, tokenFor(token))
  },
}
await once(redis, 'ready')
const verdict = await lockedSeller(lock, slow, names.lockKey).sell({ orderId, sku, buyer: { id: orderId, limit: 1 } })
say(verdict.ok ? 'sold' : verdict.reason)
await lock.close()
redis.disconnect()
process.stdin.destroy()
