import { knownOptions } from '../../core/options.js'
import { checkRedisClient, namedPrefix, redisLane, tagSafe, type RedisClient } from '../../core/redis-client.js'
import { checkedPrefix } from '../../core/redis-prefix.js'
import { integersReply } from '../../core/redis-reply.js'
import { redisScript } from '../../core/redis-script.js'
import type { Level, Limit, Outcome, Run } from '../bucket.js'
import type { Adjustment, BucketStore, RateLimitDriver } from '../driver.js'
import bucketsSource from './buckets.lua'
import { createOnce } from './once.js'
import resetSource from './reset.lua'

const bucketsScript = redisScript(bucketsSource)
const resetScript = redisScript(resetSource)

/** How buckets are kept in Redis. */
export interface RedisTokenBucketOptions {
  /** In front of every key. @defaultValue 'spillway:ratelimit:' */
  readonly prefix?: string | undefined
}

/** The driver, by a clock of microseconds: `''` is the server's own, and the model tests set the time. */
export function redisBuckets(
  redis: RedisClient,
  options: RedisTokenBucketOptions | undefined,
  nowUs: () => number | '',
): RateLimitDriver {
  checkRedisClient('redis', redis)
  const { prefix = 'spillway:ratelimit:' } = knownOptions<RedisTokenBucketOptions>('redisTokenBucket', options, {
    prefix: true,
  })
  checkedPrefix(redis, prefix)
  return { open: (name) => bucketsIn(redis, namedPrefix(prefix, name), nowUs) }
}

function bucketsIn(redis: RedisClient, front: string, nowUs: () => number | ''): BucketStore {
  const bucketOf = (key: string): string => `${front}{${tagSafe(key)}}`
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
    async adjust(limits, adjustments, trip) {
      const keys = adjustments.map(({ key }) => bucketOf(key))
      const args = [nowUs(), ...quotaArgs(limits), ...adjustArgs(limits, adjustments)]
      integersReply(await send(bucketsScript, keys, args, trip), 1 + (1 + 2 * limits.length) * adjustments.length)
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

/** One section of adjustments. */
const adjustArgs = (limits: readonly Limit[], adjustments: readonly Adjustment[]): number[] => [
  ...[-1, 0, 0, adjustments.length],
  ...adjustments.flatMap(({ tokens, fullAtUs }) => [tokens, ...(fullAtUs ?? limits.map(() => Infinity))]),
]

function toOutcome(reply: readonly number[], from: number, quotas: number): Outcome {
  const levels: Level[] = []
  for (let q = 0; q < quotas; q++) {
    levels.push({ tokens: reply[from + 1 + 2 * q] as number, sinceUs: reply[from + 2 + 2 * q] as number })
  }
  return { taken: reply[from] as number, levels, atUs: reply[0] as number }
}
