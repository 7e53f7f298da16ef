import { durationMs, keyString, objectWith, positiveInteger, shown } from '../core/check.js'
import { systemClock } from '../core/clock.js'
import { knownOptions, requiredOptions, type Known } from '../core/options.js'
import { toLimit, type Quota } from './bucket.js'
import type { BucketStore, RateLimitDriver } from './driver.js'
import type { RateLimiter, RateLimiterOptions, ReserveOptions, TakeOptions, WaitOptions } from './types.js'

export const known = {
  limiter: { name: true, quotas: true, timeoutMs: true, whenStoreFails: true, lease: true, clock: true },
  lease: { tokens: true, leaseMs: true },
  take: { cost: true, atMost: true },
  reserve: { cost: true, maxWaitMs: true },
  wait: { cost: true, maxWaitMs: true, signal: true },
} satisfies {
  limiter: Known<RateLimiterOptions>
  lease: Known<NonNullable<RateLimiterOptions['lease']>>
  take: Known<TakeOptions>
  reserve: Known<ReserveOptions>
  wait: Known<WaitOptions>
}

const isLimiter = (value: unknown): boolean =>
  typeof (value as RateLimiter | null)?.take === 'function' && typeof (value as RateLimiter).wait === 'function'

/** Refuses what is no driver; a limiter has been taken for one. */
export function checkDriver(driver: unknown): void {
  const wanted = 'a driver of buckets, as redisTokenBucket(redis) makes one'
  if (isLimiter(driver)) throw new TypeError(`driver must be ${wanted}, got a limiter`)
  objectWith('driver', driver, ['open'], wanted)
}

/** Drivers of other modules open something else. */
export const opened = (driver: RateLimitDriver, name: string): BucketStore =>
  objectWith('what driver opens', driver.open(name), ['take', 'adjust', 'reset'], 'the buckets of a limiter')

/** Options with their defaults, checked. */
export function checkedOptions(options: RateLimiterOptions) {
  const {
    name,
    quotas,
    timeoutMs = 1_000,
    whenStoreFails = 'throw',
    lease,
    clock = systemClock,
  } = requiredOptions<RateLimiterOptions>('createRateLimiter', options, known.limiter)
  keyString('name', name)
  if (!Array.isArray(quotas)) throw new TypeError(`quotas must be an array, got ${shown(quotas)}`)
  if (quotas.length === 0) throw new RangeError('quotas must not be empty')
  if (!['throw', 'allow', 'refuse'].includes(whenStoreFails as string) && !isLimiter(whenStoreFails)) {
    throw new TypeError(`whenStoreFails must be 'throw', 'allow', 'refuse' or a limiter, got ${shown(whenStoreFails)}`)
  }
  return {
    name: name as string,
    limits: (quotas as readonly Quota[]).map((quota, i) => toLimit(`quotas[${i}]`, quota)),
    timeoutMs: durationMs('timeoutMs', timeoutMs, 1),
    whenStoreFails,
    leaseOptions: lease === undefined ? undefined : checkedLease(lease),
    clock,
  }
}

function checkedLease(options: NonNullable<RateLimiterOptions['lease']>) {
  const { tokens, leaseMs } = knownOptions<typeof options>('lease', options, known.lease)
  return { tokens: positiveInteger('lease.tokens', tokens), leaseMs: durationMs('lease.leaseMs', leaseMs, 1) }
}
