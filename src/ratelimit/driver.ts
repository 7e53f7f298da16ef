import type { Trip } from '../core/group-commit.js'
import type { Limit, Outcome, Run } from './bucket.js'

/**
 * What a store of buckets does. Each verb takes a batch, makes one attempt and answers in order; retries, time-outs and
 * waiting are the limiter's business. Everything a verb does to one bucket is one atomic step, by the store's own clock.
 * `rateLimitContract` of `spillway/ratelimit/contract` is what a driver must pass.
 */
export interface RateLimitDriver {
  /** Keys of different lanes never come in one batch. Absent: all keys may. */
  readonly lane?: (key: string) => string | number
  /**
   * Decides runs in order; a key may come more than once. A bucket that is refused stays as it is, but for an unused one
   * whose refill starts now, and one that limits with other rates wrote. Takes effect once even if a client sends it twice.
   */
  take(limits: readonly Limit[], runs: readonly Run[], trip: Trip): Promise<readonly Outcome[]>
  /**
   * Puts tokens back in order, never above capacity; a key may come more than once. Takes effect once even if a client
   * sends it twice.
   */
  refund(limits: readonly Limit[], refunds: readonly Refund[], trip: Trip): Promise<void>
  /** Forgets buckets, so that they are unused again; takes effect once even if a client sends it twice. */
  reset(keys: readonly string[], trip: Trip): Promise<void>
}

/** Tokens to put back into a bucket. */
export interface Refund {
  readonly key: string
  readonly tokens: number
  /**
   * For tokens that a take gave to nobody: when each quota's bucket would have been full again after that take, by the
   * store's clock. By then they would have been gained in any case, so they are worth only what is gained from now until
   * then, and nothing in a bucket that has been forgotten. Absent: they are worth what they are.
   */
  readonly fullAtUs?: readonly number[] | undefined
}
