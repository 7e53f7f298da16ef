import type { RedisClient } from '../../core/redis-client.js'
import type { RateLimitDriver } from '../driver.js'
import { redisBuckets, type RedisTokenBucketOptions } from './driver.js'

export type { RedisTokenBucketOptions }

/**
 * Buckets in Redis 6.2 or later, or Valkey, shared by all processes and decided by the server's clock. A bucket is one
 * small key with a TTL, gone once the bucket is full (a day later where `initial` is below capacity). A call that the
 * client sends again, because its connection broke before the answer, has its effect once: for that each limiter keeps one
 * small key, for 20 seconds after its last use (on a Cluster one for each slot). On a Cluster calls share trips by slot.
 *
 * Changing a limiter's quotas (their rates, capacities, number or order) keeps the tokens as far as they can be, also while
 * old and new processes run side by side: then what is admitted lies between the two. What cannot be read counts as empty.
 *
 * A bucket's key in Redis is `<prefix><name>:{<key>}`. The client stays the caller's. What is no client is a TypeError,
 * and a prefix that contains `{}` a RangeError.
 */
export function redisTokenBucket(redis: RedisClient, options?: RedisTokenBucketOptions): RateLimitDriver {
  return redisBuckets(redis, options, () => '')
}
