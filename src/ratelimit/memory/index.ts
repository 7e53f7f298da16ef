import { positiveInteger } from '../../core/check.js'
import { systemClock, type Clock } from '../../core/clock.js'
import { grant, levelAt, rememberUs, untilUs, type Level, type Limit, type StoredLevel } from '../bucket.js'
import type { RateLimitDriver } from '../driver.js'

interface Bucket {
  readonly levels: readonly StoredLevel[]
  /** From then on the bucket is as good as unused. */
  readonly forgetAtUs: number
}

/**
 * Buckets in the memory of this process: for one process, for tests, and as the fallback of a shared limiter. A bucket
 * that has been full and idle is forgotten. At `maxKeys` (a positive integer) the one idle for longest goes, full or
 * not, so that a flood of keys cannot exhaust the memory; some 300 bytes each are needed.
 *
 * Every call makes its own, empty set of buckets. Give limiters with different quotas different ones.
 */
export function memoryTokenBucket(
  options: {
    /** @defaultValue 1_000_000 */
    readonly maxKeys?: number
    /** @defaultValue systemClock */
    readonly clock?: Clock
  } = {},
): RateLimitDriver {
  const { clock = systemClock } = options
  const maxKeys = positiveInteger('maxKeys', options.maxKeys ?? 1_000_000)
  // In the order of their last use: a bucket that is used moves to the end.
  const buckets = new Map<string, Bucket>()
  const nowUs = (): number => Math.round(clock.nowMs() * 1_000)

  function find(limits: readonly Limit[], key: string, atUs: number): Bucket | undefined {
    const bucket = buckets.get(key)
    return bucket && bucket.levels.length === limits.length && bucket.forgetAtUs > atUs ? bucket : undefined
  }

  const levelsOf = (limits: readonly Limit[], bucket: Bucket | undefined, atUs: number): Level[] =>
    limits.map((limit, i) => levelAt(limit, bucket?.levels[i], atUs))

  /** Whether what is stored is true to the limits, and may stay when nothing is taken. */
  const isCurrent = (limits: readonly Limit[], bucket: Bucket): boolean =>
    limits.every(({ tokensPerUs }, i) => bucket.levels[i]?.tokensPerUs === tokensPerUs)

  function moveToEnd(key: string, bucket: Bucket): void {
    buckets.delete(key)
    buckets.set(key, bucket)
  }

  function write(limits: readonly Limit[], key: string, levels: readonly Level[], spent: number, atUs: number): void {
    let forgetAtUs = atUs
    const stored: StoredLevel[] = []
    for (let i = 0; i < limits.length; i++) {
      const limit = limits[i] as Limit
      const { tokens: before, sinceUs } = levels[i] as Level
      const tokens = Math.min(limit.capacity, before - spent)
      const fullAtUs = atUs + untilUs(limit, { tokens, sinceUs }, limit.capacity)
      forgetAtUs = Math.max(forgetAtUs, limit.initial < limit.capacity ? fullAtUs + rememberUs : fullAtUs)
      stored.push({ tokens, atUs: atUs - sinceUs, tokensPerUs: limit.tokensPerUs })
    }
    if (forgetAtUs > atUs) moveToEnd(key, { levels: stored, forgetAtUs })
    else buckets.delete(key)
    forgetIdle(atUs)
  }

  /** Two at most, so that no call pays for many; more than are added, so that they do not pile up. */
  function forgetIdle(atUs: number): void {
    let looks = 2
    for (const [key, bucket] of buckets) {
      if (looks-- === 0 || (bucket.forgetAtUs > atUs && buckets.size <= maxKeys)) return
      buckets.delete(key)
    }
  }

  return {
    async take(limits, runs, trip) {
      trip.sending()
      const atUs = nowUs()
      return runs.map((run) => {
        const bucket = find(limits, run.key, atUs)
        const levels = levelsOf(limits, bucket, atUs)
        if (run.cost === 0) return { taken: 0, levels }
        const taken = grant(limits, levels, run)
        if (taken === 0 && bucket && isCurrent(limits, bucket)) moveToEnd(run.key, bucket)
        else write(limits, run.key, levels, taken, atUs)
        return { taken, levels }
      })
    },
    async refund(limits, refunds, trip) {
      trip.sending()
      const atUs = nowUs()
      for (const { key, tokens } of refunds) {
        write(limits, key, levelsOf(limits, find(limits, key, atUs), atUs), -tokens, atUs)
      }
    },
    async reset(keys, trip) {
      trip.sending()
      for (const key of keys) buckets.delete(key)
    },
  }
}
