import { checkRedisClient, keyPrefixOf, redisLane, tagSafe, type RedisClient } from '../../core/redis-client.js'
import { integersReply } from '../../core/redis-reply.js'
import { redisScript } from '../../core/redis-script.js'
import type { Level, Limit, Outcome, Run } from '../bucket.js'
import type { RateLimitDriver, Refund } from '../driver.js'
import bucketsSource from './buckets.lua'
import { createOnce } from './once.js'
import resetSource from './reset.lua'

const bucketsScript = redisScript(bucketsSource)
const resetScript = redisScript(resetSource)

/**
 * Buckets in Redis 6.2 or later, or Valkey, shared by all processes and decided by the server's clock. A bucket is one
 * small key with a TTL, gone once the bucket is full (a day later where `initial` is below capacity). A call that the
 * client sends again, because its connection broke before the answer, has its effect once: for that each driver keeps one
 * small key, for 20 seconds after its last use (on a Cluster one for each slot). On a Cluster calls share trips by slot.
 *
 * Changing a limiter's quotas (their rates, capacities, number or order) keeps the tokens as far as they can be, also while
 * old and new processes run side by side: then what is admitted lies between the two. What cannot be read counts as empty.
 *
 * `prefix` goes in front of every key. Limiters of other things use other prefixes. The client stays the caller's. What is
 * no client is a TypeError, and a prefix that contains `{}` a RangeError.
 */
export function redisTokenBucket(
  redis: RedisClient,
  options: {
    /** @defaultValue 'spillway:ratelimit:' */
    readonly prefix?: string
  } = {},
): RateLimitDriver {
  return redisTokenBucketAt(redis, options, () => '')
}

/** @internal The same with a clock of its own, in microseconds: the model tests set the time. */
export function redisTokenBucketAt(
  redis: RedisClient,
  { prefix = 'spillway:ratelimit:' }: { readonly prefix?: string },
  nowUs: () => number | '',
): RateLimitDriver {
  checkRedisClient('redis', redis)
  if (typeof prefix !== 'string') throw new TypeError(`prefix must be a string, got ${String(prefix)}`)
  // An empty hash tag is none: each key would be in a slot of its own, those of one call in several.
  if (prefix.includes('{}')) throw new RangeError(`prefix must not contain '{}', got ${JSON.stringify(prefix)}`)
  const inFront = `${keyPrefixOf(redis)}${prefix}`
  if (redis.isCluster === true && inFront.includes('{}')) {
    throw new RangeError(`the client's keyPrefix and prefix must not contain '{}', got ${JSON.stringify(inFront)}`)
  }
  const bucketOf = (key: string): string => `${prefix}{${tagSafe(key)}}`
  const send = createOnce(redis, bucketOf)

  return {
    ...(redis.isCluster === true ? { lane: (key: string) => redisLane(redis, bucketOf(key)) } : {}),
    async take(limits, runs, trip) {
      const keys = runs.map((run) => bucketOf(run.key))
      const width = 1 + 2 * limits.length
      const reply = await send(bucketsScript, keys, [nowUs(), ...quotaArgs(limits), ...runArgs(runs)], trip)
      const numbers = integersReply(reply, 1 + width * runs.length)
      return runs.map((_, i) => toOutcome(numbers, 1 + i * width, limits.length))
    },
    async refund(limits, refunds, trip) {
      const keys = refunds.map(({ key }) => bucketOf(key))
      const args = [nowUs(), ...quotaArgs(limits), ...refundArgs(limits, refunds)]
      integersReply(await send(bucketsScript, keys, args, trip), 1 + (1 + 2 * limits.length) * refunds.length)
    },
    async reset(keys, trip) {
      integersReply(await send(resetScript, keys.map(bucketOf), [], trip), 1)
    },
  }
}

const quotaArgs = (limits: readonly Limit[]): number[] => [
  limits.length,
  ...limits.flatMap(({ capacity, tokensPerUs, initial }) => [capacity, tokensPerUs, initial]),
]

/** Runs of one kind that follow each other are told once what they are. */
function runArgs(runs: readonly Run[]): number[] {
  const args: number[] = []
  let kind: Run | undefined
  let countAt = 0
  for (const run of runs) {
    if (!kind || kind.cost !== run.cost || kind.atMost !== run.atMost || kind.withinUs !== run.withinUs) {
      kind = run
      countAt = args.push(run.cost, run.atMost ? 1 : 0, run.withinUs, 0) - 1
    }
    args[countAt] = (args[countAt] as number) + 1
    args.push(run.count)
  }
  return args
}

/** One section of runs that put back. */
const refundArgs = (limits: readonly Limit[], refunds: readonly Refund[]): number[] => [
  ...[-1, 0, 0, refunds.length],
  ...refunds.flatMap(({ tokens, fullAtUs }) => [tokens, ...(fullAtUs ?? limits.map(() => Infinity))]),
]

function toOutcome(reply: readonly number[], from: number, quotas: number): Outcome {
  const levels: Level[] = []
  for (let q = 0; q < quotas; q++) {
    levels.push({ tokens: reply[from + 1 + 2 * q] as number, sinceUs: reply[from + 2 + 2 * q] as number })
  }
  return { taken: reply[from] as number, levels, atUs: reply[0] as number }
}
