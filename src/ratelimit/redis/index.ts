import { checkRedisClient, redisLane, tagSafe, type RedisClient } from '../../core/redis-client.js'
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
 * small key with a TTL, gone once the bucket is full (a day later where `initial` is below capacity); `refund` and
 * `reset` leave a marker for 20 seconds, so that they count once though the client sends them twice. On a Cluster calls
 * share trips by slot. A changed quota takes over the tokens that are in the buckets.
 *
 * `prefix` goes in front of every key. Limiters with other quotas use other prefixes. The client stays the caller's.
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
  // Redis takes no hash tag from a key that begins with an empty one.
  if (prefix.includes('{}')) throw new RangeError(`prefix must not contain '{}', got ${JSON.stringify(prefix)}`)
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
