import { randomUUID } from 'node:crypto'
import { redisLane, tagSafe, type RedisClient } from '../../core/redis-client.js'
import { redisScript, runScript } from '../../core/redis-script.js'
import type { Level, Limit, Outcome, Run } from '../bucket.js'
import type { RateLimitDriver } from '../driver.js'
import refundSource from './refund.lua'
import resetSource from './reset.lua'
import takeSource from './take.lua'

const takeScript = redisScript(takeSource)
const refundScript = redisScript(refundSource)
const resetScript = redisScript(resetSource)

/** ioredis, as it comes, gives a command up after 20 reconnects, which take some ten seconds. */
const markerMs = 20_000

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
  if (typeof prefix !== 'string') throw new TypeError(`prefix must be a string, got ${String(prefix)}`)
  const bucketOf = (key: string): string => `${prefix}{${tagSafe(key)}}`
  const withMarker = (keys: readonly string[]): string[] => {
    const buckets = keys.map(bucketOf)
    return [`${buckets[0]}:once:${randomUUID()}`, ...buckets]
  }

  return {
    ...(redis.isCluster === true ? { lane: (key: string) => redisLane(redis, bucketOf(key)) } : {}),
    async take(limits, runs, trip) {
      const keys = runs.map((run) => bucketOf(run.key))
      const args = [nowUs(), ...quotaArgs(limits), ...runArgs(runs)]
      const reply = (await runScript(redis, takeScript, keys, args, trip)) as readonly number[]
      const width = 1 + 2 * limits.length
      return runs.map((_, i) => toOutcome(reply, i * width, limits.length))
    },
    async refund(limits, refunds, trip) {
      const keys = withMarker(refunds.map(({ key }) => key))
      const args = [nowUs(), markerMs, ...quotaArgs(limits), ...refunds.map(({ tokens }) => tokens)]
      await runScript(redis, refundScript, keys, args, trip)
    },
    async reset(keys, trip) {
      await runScript(redis, resetScript, withMarker(keys), [markerMs], trip)
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

function toOutcome(reply: readonly number[], from: number, quotas: number): Outcome {
  const levels: Level[] = []
  for (let q = 0; q < quotas; q++) {
    levels.push({ tokens: reply[from + 1 + 2 * q] as number, sinceUs: reply[from + 2 + 2 * q] as number })
  }
  return { taken: reply[from] as number, levels }
}
