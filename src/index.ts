export { constantBackoff, exponentialBackoff, type Backoff } from './core/backoff.js'
export { systemClock, type Clock } from './core/clock.js'
export { jsonCodec, type Codec } from './core/codec.js'
export { channels, type LockHoldEvent, type QueueMessageEvent, type TripEvent } from './core/diagnostics.js'
export {
  ClosedError,
  LockLostError,
  OrderConflictError,
  SpillwayError,
  StoreUnavailableError,
  WaitTimeoutError,
} from './core/errors.js'
export type { RedisClient } from './core/redis-client.js'
