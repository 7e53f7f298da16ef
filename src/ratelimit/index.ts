export type { Trip } from '../core/group-commit.js'
export type { Level, Limit, Outcome, Quota, Run } from './bucket.js'
export type { Adjustment, BucketStore, RateLimitDriver } from './driver.js'
export { createRateLimiter } from './ratelimit.js'
export type { Decision } from './runs.js'
export { memoryTokenBucket, type MemoryTokenBucketOptions } from './memory/index.js'
export type {
  RateLimiter,
  RateLimiterOptions,
  ReservedTokens,
  ReserveOptions,
  TakeOptions,
  WaitOptions,
} from './types.js'
