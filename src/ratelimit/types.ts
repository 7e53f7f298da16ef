import type { Clock } from '../core/clock.js'
import type { Quota } from './bucket.js'
import type { Decision } from './runs.js'

/** How much a `take` takes. */
export interface TakeOptions {
  /** Tokens: a positive integer. @defaultValue 1 */
  readonly cost?: number | undefined
  /** Takes what is there, up to `cost`, instead of all or nothing. @defaultValue false */
  readonly atMost?: boolean | undefined
}

/** How much a `reserve` takes, and how long it may be until that is due. */
export interface ReserveOptions {
  /** Tokens: a positive integer. @defaultValue 1 */
  readonly cost?: number | undefined
  /** From the store's answer on. @defaultValue Infinity */
  readonly maxWaitMs?: number | undefined
}

/** As for `reserve`, and what ends the wait. */
export interface WaitOptions extends ReserveOptions {
  readonly signal?: AbortSignal | undefined
}

/** Tokens that `reserve` has taken. */
export interface ReservedTokens {
  /** In so many milliseconds from the answer on they may be used. */
  readonly dueInMs: number
  /**
   * Gives them back, once, before or after they were due; so much of them as would still be there had they never been taken.
   * They may not be used once it was called. Rejects with StoreUnavailableError if the store fails (where `applied` is
   * `'no'`, call it again), and with ClosedError after `close`.
   */
  cancel(): Promise<void>
}

/**
 * Token buckets by key, one set of quotas for all of them. Ask `take` whether something may happen now and turn it away
 * if not; let `wait` hold it until it may. Concurrent calls share trips to the store, so one hot key costs no more than
 * many cold ones.
 *
 * Arguments are checked before anything else: a TypeError or RangeError rejects the call and nothing has changed.
 */
export interface RateLimiter extends AsyncDisposable {
  /**
   * Takes `cost` tokens (a positive integer, by default 1) now, or none: what is refused consumes nothing. With `atMost`
   * it takes as many as there are, up to `cost`. A refusal says when the same call would be allowed: not earlier, and
   * not a microsecond later.
   *
   * A cost above the capacity of a quota could never be allowed and is a RangeError. What happens when the store cannot
   * be asked is `whenStoreFails`; by default StoreUnavailableError. A call that timed out and yet took tokens gives them
   * back when its reply comes; so much of them as would still be there had they never been taken.
   */
  take(key: string, options?: TakeOptions): Promise<Decision>
  /**
   * Takes `cost` tokens that may be due later, and sleeps until they are: `reserve` and a sleep. Calls of one key in one
   * process are served in the order in which they came. Throws WaitTimeoutError at once, and takes nothing, if the tokens
   * cannot be due within `maxWaitMs` of the store's answer. When `signal` aborts, the call rejects with its reason, the
   * tokens go back, and those who wait behind move up.
   *
   * When the store cannot be asked, `whenStoreFails: 'allow'` resolves, `'throw'` and `'refuse'` throw
   * StoreUnavailableError, and another limiter waits in its place. `close` sends sleepers away with ClosedError.
   */
  wait(key: string, options?: WaitOptions): Promise<void>
  /**
   * Takes tokens that may be due later and answers at once in how long they are: for a waiting room, or for work that is
   * scheduled. `undefined`, and nothing is taken, if they cannot be due within `maxWaitMs`. When the store cannot be asked
   * it ends as `wait` does; what `'allow'` gives is due at once.
   */
  reserve(key: string, options?: ReserveOptions): Promise<ReservedTokens | undefined>
  /** What `take` of one token would decide. Takes nothing (`granted` is 0), and does not count as a use. */
  peek(key: string): Promise<Decision>
  /**
   * Puts a positive number of tokens back, never above capacity: for work that was admitted and then not done. Throws
   * StoreUnavailableError when the store fails, whatever `whenStoreFails` says.
   */
  refund(key: string, tokens: number): Promise<void>
  /**
   * Takes a positive number of tokens whether or not they are there: the bucket may fall below zero, and refuses until it
   * has recovered. For what is known only afterwards, such as bytes or the tokens of a language model: take an estimate,
   * then charge or refund the difference. Each quota falls to `-capacity` at the lowest; what is beyond that is forgotten.
   * Throws as `refund` does.
   */
  charge(key: string, tokens: number): Promise<void>
  /** Makes the key's bucket an unused one again. Throws as `refund` does. */
  reset(key: string): Promise<void>
  /** Gives leased tokens back, sends sleepers away, and turns later calls away with ClosedError. */
  close(): Promise<void>
}

/** How a limiter decides. */
export interface RateLimiterOptions {
  /**
   * Sets this limiter's buckets apart from those of every other name on the same driver, and names it in events. Limiters
   * of the same name share buckets, in all processes. Text of 1 to 8,192 bytes of UTF-8.
   */
  readonly name: string
  /** All of them must allow, or nothing is taken from any, in one atomic step. At least one. */
  readonly quotas: readonly Quota[]
  /** How long a call may take to ask the store, queueing included; the sleep of `wait` is not. @defaultValue 1_000 */
  readonly timeoutMs?: number | undefined
  /**
   * What holds when the store fails or is silent; errors of the program are thrown in any case. `'throw'`:
   * StoreUnavailableError. `'allow'`: a decision that grants all, with 0 remaining. `'refuse'`: one that grants nothing
   * and says to retry after a second. A limiter: it decides. It stays the caller's to close.
   * @defaultValue 'throw'
   */
  readonly whenStoreFails?: 'throw' | 'allow' | 'refuse' | RateLimiter | undefined
  /**
   * Takes blocks of `tokens` ahead and spends them in the process, most calls without a trip. Exact in one direction:
   * all processes together never admit more than the quotas. A process may refuse while others hold tokens. A block is
   * given up `leaseMs` after it was asked for (the clock is looked at every 64 takes, and by a timer): the rest goes
   * back then and on `close`, and comes back by refill after a crash. Decisions tell what the process last saw.
   * @defaultValue no lease
   */
  readonly lease?: { readonly tokens: number; readonly leaseMs: number } | undefined
  /** For sleeps, time-outs and leases; buckets go by their store's clock. @defaultValue systemClock */
  readonly clock?: Clock | undefined
}
