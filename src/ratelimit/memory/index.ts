import { positiveInteger } from '../../core/check.js'
import { systemClock, type Clock } from '../../core/clock.js'
import { knownOptions } from '../../core/options.js'
import {
  chargeOther,
  grant,
  mostCharged,
  putBack,
  rememberUs,
  staysRefused,
  untilUs,
  viewOf,
  type Level,
  type Limit,
  type StoredLevel,
} from '../bucket.js'
import type { BucketStore, RateLimitDriver } from '../driver.js'

interface Bucket {
  readonly levels: readonly StoredLevel[]
  /** From then on the bucket is as good as unused. */
  readonly forgetAtUs: number
}

/** How buckets are kept in memory. */
export interface MemoryTokenBucketOptions {
  /** Of each name. A positive integer. @defaultValue 1_000_000 */
  readonly maxKeys?: number | undefined
  /** @defaultValue systemClock */
  readonly clock?: Clock | undefined
}

/**
 * Buckets in the memory of this process: for one process, for tests, and as the fallback of a shared limiter. A bucket
 * that has been full and idle is forgotten. At `maxKeys` the one of its name that was idle for longest goes, full or not,
 * so that a flood of keys cannot exhaust the memory; some 300 bytes each are needed, and the key's own.
 *
 * Every call makes its own, empty set of buckets. A limiter with changed quotas goes on with the tokens that are there.
 */
export function memoryTokenBucket(options?: MemoryTokenBucketOptions): RateLimitDriver {
  const known = { maxKeys: true, clock: true } as const
  const { maxKeys = 1_000_000, clock = systemClock } = knownOptions<MemoryTokenBucketOptions>(
    'memoryTokenBucket',
    options,
    known,
  )
  positiveInteger('maxKeys', maxKeys)
  const stores = new Map<string, BucketStore>()
  return {
    open(name) {
      let store = stores.get(name)
      if (!store) stores.set(name, (store = bucketsOf(maxKeys, clock)))
      return store
    },
  }
}

function bucketsOf(maxKeys: number, clock: Clock): BucketStore {
  // In the order of their last use: a bucket that is used moves to the end.
  const buckets = new Map<string, Bucket>()
  const nowUs = (): number => Math.round(clock.nowMs() * 1_000)

  function find(key: string, atUs: number): Bucket | undefined {
    const bucket = buckets.get(key)
    return bucket && bucket.forgetAtUs > atUs ? bucket : undefined
  }

  function moveToEnd(key: string, bucket: Bucket): void {
    buckets.delete(key)
    buckets.set(key, bucket)
  }

  function write(
    limits: readonly Limit[],
    key: string,
    bucket: Bucket | undefined,
    levels: readonly Level[],
    others: readonly StoredLevel[],
    taken: number,
    atUs: number,
  ): void {
    let forgetAtUs = others.length > 0 && bucket ? bucket.forgetAtUs : atUs
    const stored: StoredLevel[] = []
    for (let i = 0; i < limits.length; i++) {
      const limit = limits[i] as Limit
      const { tokens: before, sinceUs } = levels[i] as Level
      const tokens = before - taken
      const fullAtUs = atUs + untilUs(limit, { tokens, sinceUs }, limit.capacity)
      forgetAtUs = Math.max(forgetAtUs, limit.initial < limit.capacity ? fullAtUs + rememberUs : fullAtUs)
      stored.push({ tokens, atUs: atUs - sinceUs, tokensPerUs: limit.tokensPerUs })
    }
    for (const other of others) stored.push(chargeOther(other, taken, atUs))
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
        const { key, cost } = run
        const bucket = find(key, atUs)
        const view = viewOf(limits, bucket?.levels, atUs)
        const { levels } = view
        if (cost === 0) return { taken: 0, levels, atUs }
        const taken = grant(limits, levels, run)
        if (taken === 0 && bucket && staysRefused(limits, view, run)) moveToEnd(key, bucket)
        else write(limits, key, bucket, levels, view.others, taken, atUs)
        return { taken, levels, atUs }
      })
    },
    async adjust(limits, adjustments, trip) {
      trip.sending()
      const atUs = nowUs()
      for (const { key, tokens, fullAtUs } of adjustments) {
        const bucket = find(key, atUs)
        if (fullAtUs && (!bucket || fullAtUs.every((us) => us <= atUs))) continue
        const { levels, others } = viewOf(limits, bucket?.levels, atUs)
        const away = Math.max(0, -tokens)
        const after = levels.map((level, i) => {
          const limit = limits[i] as Limit
          if (away === 0) return putBack(limit, level, tokens, (fullAtUs?.[i] ?? Infinity) - atUs)
          // `write` takes all of it away, so what is beyond the most is added before.
          return { ...level, tokens: level.tokens + Math.max(0, away - mostCharged(limit, level)) }
        })
        write(limits, key, bucket, after, others, away, atUs)
      }
    },
    async reset(keys, trip) {
      trip.sending()
      for (const key of keys) buckets.delete(key)
    },
  }
}
