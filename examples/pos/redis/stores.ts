import { Cluster, type Redis } from 'ioredis'
import type { CacheTier } from 'spillway/cache'
import { redisTier } from 'spillway/cache/redis'
import type { RateLimitDriver } from 'spillway/ratelimit'
import { redisTokenBucket } from 'spillway/ratelimit/redis'
import { connectRedis } from '../../shared/redis.js'
import { lifetimes } from '../carts.js'
import type { SessionStores } from '../stores.js'
import { redisCarts } from './carts.js'
import { inTime } from './in-time.js'

/** A Redis, or a Redis Cluster, that all servers share. */
export interface SharedRedis {
  readonly sessionStores: SessionStores
  readonly bucket: RateLimitDriver
  readonly tier: CacheTier
  /** Whether the service can go on. Of a Cluster one node that answers is enough: the others' sessions are not lost. */
  answers(): Promise<boolean>
  close(): Promise<void>
}

export async function openRedis(urls: readonly string[], name: string): Promise<SharedRedis> {
  const redis = connectRedis(urls)
  const sessionKey = (id: string): string => `${name}:session:{${id}}`
  const secretKey = `${name}:secret`
  const sessionStores: SessionStores = {
    kind: 'redis',
    sessions: {
      async get(id) {
        return (await inTime(redis, () => redis.getex(sessionKey(id), 'PX', lifetimes.sessionMs))) ?? undefined
      },
      async set(id, record) {
        await inTime(redis, () => redis.set(sessionKey(id), record, 'PX', lifetimes.sessionMs))
      },
      async destroy(id) {
        await inTime(redis, () => redis.del(sessionKey(id)))
      },
    },
    carts: redisCarts(redis, name),
    async secret(wish) {
      await inTime(redis, () => redis.set(secretKey, wish, 'NX'), 10_000)
      return (await inTime(redis, () => redis.get(secretKey))) ?? wish
    },
    statements: () => 0,
    answers: () => someNodeAnswers(redis),
    close: async () => undefined,
  }
  return {
    sessionStores,
    bucket: redisTokenBucket(redis, { prefix: `${name}:` }),
    tier: redisTier(redis, { prefix: `${name}:` }),
    answers: () => someNodeAnswers(redis),
    close: async () => redis.disconnect(),
  }
}

async function someNodeAnswers(redis: Redis | Cluster): Promise<boolean> {
  if (redis.status !== 'ready') return false
  const nodes = redis instanceof Cluster ? redis.nodes('master') : [redis]
  const pings = nodes.map((node) => inTime(node, () => node.ping(), 1_000))
  return Promise.any(pings).then(
    () => true,
    () => false,
  )
}
