export type { BackgroundListener } from './core/background.js'
export { constantBackoff, exponentialBackoff, type Backoff, type ExponentialBackoffOptions } from './core/backoff.js'
export { systemClock, type Clock } from './core/clock.js'
export { jsonCodec, type Codec, type CodecFor, type JsonSafe } from './core/codec.js'
export {
  channels,
  type BackgroundErrorEvent,
  type CacheFlushEvent,
  type CacheGetEvent,
  type CacheLoadEvent,
  type EventChannel,
  type LockHoldEvent,
  type QueueMessageEvent,
  type RateLimitDecisionEvent,
  type StockOrderEvent,
  type TripEvent,
} from './core/diagnostics.js'
export {
  ClosedError,
  LockLostError,
  OrderConflictError,
  SpillwayError,
  StockFrozenError,
  StoreUnavailableError,
  WaitTimeoutError,
} from './core/errors.js'
export type { RedisClient } from './core/redis-client.js'
