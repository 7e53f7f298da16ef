import type { Trip } from '../core/group-commit.js'
import type { Limit, Outcome, Run } from './bucket.js'

/** Where buckets are kept. A limiter opens those of its name. */
export interface RateLimitDriver {
  /** The buckets of a name, apart from those of every other. Does no I/O. */
  open(name: string): BucketStore
}

/**
 * What a store does with the buckets of one name. Each verb takes a batch, makes one attempt and answers in order; retries,
 * time-outs and waiting are the limiter's business. Everything a verb does to one bucket is one atomic step, by the store's
 * own clock. `rateLimitContract` of `spillway/ratelimit/contract` is what a driver must pass.
 */
export interface BucketStore {
  /** Keys of different lanes never come in one batch. Absent: all keys may. */
  readonly lane?: ((key: string) => string | number) | undefined
  /**
   * Decides runs in order; a key may come more than once. A bucket that is refused stays as it is, but for an unused one
   * whose refill starts now, and one that limits with other rates wrote. Takes effect once even if a client sends it twice.
   */
  take(limits: readonly Limit[], runs: readonly Run[], trip: Trip): Promise<readonly Outcome[]>
  /**
   * Puts tokens back or takes them away, in order; a key may come more than once. Takes effect once even if a client sends
   * it twice.
   */
  adjust(limits: readonly Limit[], adjustments: readonly Adjustment[], trip: Trip): Promise<void>
  /** Forgets buckets, so that they are unused again; takes effect once even if a client sends it twice. */
  reset(keys: readonly string[], trip: Trip): Promise<void>
}

/** A change of a bucket that is not refused. */
export interface Adjustment {
  readonly key: string
  /**
   * Above 0 they are put back, never above capacity. Below 0 they are taken away, whether or not they are there: of each
   * quota down to `-capacity`.
   */
  readonly tokens: number
  /**
   * For tokens that a take gave to nobody: when each quota's bucket would have been full again after that take, by the
   * store's clock. By then they would have been gained in any case, so they are worth only what is gained from now until
   * then, and nothing in a bucket that has been forgotten. Absent: they are worth what they are.
   */
  readonly fullAtUs?: readonly number[] | undefined
}
