import { randomUUID } from 'node:crypto'
import { knownOptions } from '../../core/options.js'
import { checkRedisClient, tagSafe, type RedisClient } from '../../core/redis-client.js'
import { checkedPrefix } from '../../core/redis-prefix.js'
import { integerReply, integersReply, listReply, textReply } from '../../core/redis-reply.js'
import { redisScript, runScript } from '../../core/redis-script.js'
import type { Claim, WriteBehindDriver, WriteBehindStore } from '../write-behind-driver.js'
import claimSource from './claim.lua'
import settleSource from './settle.lua'
import touchSource from './touch.lua'

const touchScript = redisScript(touchSource)
const claimScript = redisScript(claimSource)
const settleScript = redisScript(settleSource)

/** How touched keys are kept in Redis. */
export interface RedisWriteBehindOptions {
  /** What all keys begin with. @defaultValue 'spillway:write-behind:' */
  readonly prefix?: string | undefined
}

/**
 * Write-behind whose touched keys are in Redis 6.2 or newer, Valkey, or a Redis Cluster (there those of one name in one
 * slot), until some process that runs with the same prefix and name has flushed them. `redis` stays yours to configure and
 * to close.
 *
 * Redis replicates asynchronously: a failover may forget the touches of the last moment.
 *
 * @throws TypeError for what is no client of ioredis, and TypeError or RangeError for options that make no sense.
 */
export function redisWriteBehind(redis: RedisClient, options?: RedisWriteBehindOptions): WriteBehindDriver {
  checkRedisClient('redis', redis)
  const known = { prefix: true } as const
  const { prefix = 'spillway:write-behind:' } = knownOptions<RedisWriteBehindOptions>(
    'redisWriteBehind',
    options,
    known,
  )
  checkedPrefix(redis, prefix)
  return { open: (name) => openStore(redis, `${prefix}{${tagSafe(name)}}:`) }
}

function openStore(redis: RedisClient, prefix: string): WriteBehindStore {
  const name = (part: string): string => prefix + part
  const [due, states, touches] = [name('due'), name('states'), name('touches')]
  const id = randomUUID()
  let claimed = 0
  return {
    async touch(keys, delayMs, trip) {
      const reply = await runScript(redis, touchScript, [due, states, touches], [delayMs, ...keys], trip)
      const [dueMs, touch] = listReply(reply, 2)
      return { dueMs: integerReply(dueMs), touch: textReply(touch) }
    },
    async claim({ owner, delayMs, leaseMs, limit, keys = [] }, trip) {
      const args = [owner, `${id}:${++claimed}`, delayMs, leaseMs, limit]
      for (const { key, touch } of keys) args.push(key, touch)
      const scriptKeys = [due, states, touches, name(`claim:${owner}`)]
      const [next, ...flat] = listReply(await runScript(redis, claimScript, scriptKeys, args, trip))
      const nextMs = integerReply(next)
      const claims = Array.from({ length: flat.length / 2 }, (_, i): Claim => {
        return { key: keyReply(flat[2 * i]), touch: textReply(flat[2 * i + 1]) }
      })
      return { claims, nextMs: nextMs < 0 ? undefined : nextMs }
    },
    async settle(owner, claims, how, delayMs, trip) {
      const ms = how.verb === 'done' ? how.tookMs : how.verb === 'failed' ? how.retryMs : how.leaseMs
      const args = [owner, how.verb, ms, delayMs, ...claims.flatMap(({ key, touch }) => [key, touch])]
      const reply = await runScript(redis, settleScript, [due, states], args, trip)
      return integersReply(reply, claims.length).map((ours) => ours === 1)
    },
  }
}

/** A key may be any text, also what a client inside MULTI would answer. */
const keyReply = (reply: unknown): string => (typeof reply === 'string' ? reply : textReply(reply))
