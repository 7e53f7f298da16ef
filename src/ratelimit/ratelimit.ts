import { inspect } from 'node:util'
import { durationMs, keyString, objectWith, positiveInteger } from '../core/check.js'
import { systemClock, type Clock } from '../core/clock.js'
import { ClosedError, StoreUnavailableError, WaitTimeoutError } from '../core/errors.js'
import { createGroupCommit } from '../core/group-commit.js'
import { toLimit, type Quota } from './bucket.js'
import type { RateLimitDriver } from './driver.js'
import { createLease } from './lease.js'
import {
  takeInRuns,
  toRefunds,
  toRequest,
  untilMs,
  type Decision,
  type GiveBack,
  type Reservation,
  type TakeRequest,
} from './runs.js'
import { createWaitingLine } from './waiting-line.js'

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
  take(key: string, options?: { readonly cost?: number; readonly atMost?: boolean }): Promise<Decision>
  /**
   * Takes `cost` tokens that may be due later, and sleeps until they are. Calls of one key in one process are served in
   * the order in which they came. Throws WaitTimeoutError at once, and takes nothing, if the tokens cannot be due within
   * `maxWaitMs` of the store's answer (by default there is no bound). When `signal` aborts, the call rejects with its
   * reason, the tokens go back, and those who wait behind move up.
   *
   * When the store cannot be asked, `whenStoreFails: 'allow'` resolves, `'throw'` and `'refuse'` throw
   * StoreUnavailableError, and another limiter waits in its place. `close` sends sleepers away with ClosedError.
   */
  wait(
    key: string,
    options?: { readonly cost?: number; readonly maxWaitMs?: number; readonly signal?: AbortSignal },
  ): Promise<void>
  /** What `take` of one token would decide. Takes nothing (`granted` is 0), and does not count as a use. */
  peek(key: string): Promise<Decision>
  /**
   * Puts a positive number of tokens back, never above capacity: for work that was admitted and then not done. Throws
   * StoreUnavailableError when the store fails, whatever `whenStoreFails` says.
   */
  refund(key: string, tokens: number): Promise<void>
  /** Makes the key's bucket an unused one again. Throws as `refund` does. */
  reset(key: string): Promise<void>
  /** Gives leased tokens back, sends sleepers away, and turns later calls away with ClosedError. */
  close(): Promise<void>
}

/** How a limiter decides. */
export interface RateLimiterOptions {
  /** All of them must allow, or nothing is taken from any, in one atomic step. */
  readonly quotas: readonly [Quota, ...Quota[]]
  /** How long a call may take to ask the store, queueing included; the sleep of `wait` is not. @defaultValue 1_000 */
  readonly timeoutMs?: number
  /**
   * What holds when the store fails or is silent. `'throw'`: StoreUnavailableError. `'allow'`: a decision that grants
   * all, with 0 remaining. `'refuse'`: one that grants nothing and says to retry after a second. A limiter: it decides.
   * It stays the caller's to close.
   * @defaultValue 'throw'
   */
  readonly whenStoreFails?: 'throw' | 'allow' | 'refuse' | RateLimiter
  /**
   * Takes blocks of `tokens` ahead and spends them in the process, most calls without a trip. Exact in one direction:
   * all processes together never admit more than the quotas. A process may refuse while others hold tokens. A block is
   * given up `leaseMs` after it was asked for (the clock is looked at every 64 takes, and by a timer): the rest goes
   * back then and on `close`, and comes back by refill after a crash. Decisions tell what the process last saw.
   * @defaultValue no lease
   */
  readonly lease?: { readonly tokens: number; readonly leaseMs: number }
  /** For sleeps, time-outs and leases; buckets go by their store's clock. @defaultValue systemClock */
  readonly clock?: Clock
}

/** Said after a refusal for want of a store: nothing is known, and a second is soon enough to ask again. */
const retryWithoutStoreMs = 1_000

/** Makes a limiter over a driver's buckets. Does no I/O; a wrong option is a TypeError or RangeError. */
export function createRateLimiter(driver: RateLimitDriver, options: RateLimiterOptions): RateLimiter {
  checkDriver(driver)
  const { limits, timeoutMs, whenStoreFails, leaseOptions, clock } = checked(options)
  const largestCost = Math.min(...limits.map((limit) => limit.capacity))
  let closing: Promise<void> | undefined

  const shared = { module: 'ratelimit', timeoutMs, clock }
  const byKey = { ...shared, lane: driver.lane && (({ key }: { readonly key: string }) => driver.lane?.(key) ?? 0) }
  const takes = createGroupCommit<TakeRequest, Decision | Reservation>({
    ...byKey,
    verb: 'take',
    run: (requests, trip) => takeInRuns(driver, limits, requests, trip),
    onUnwanted({ key, signal, outcome, spent }, { granted }) {
      if (granted > 0 && !letThrough(signal)) giveBack({ key, tokens: granted, outcome, spent })
    },
  })
  const refunds = createGroupCommit<GiveBack, void>({
    ...byKey,
    verb: 'refund',
    async run(requests, trip) {
      await driver.refund(limits, toRefunds(limits, requests), trip)
      return requests.map(() => undefined)
    },
  })
  const resets = createGroupCommit<{ readonly key: string }, void>({
    ...byKey,
    verb: 'reset',
    async run(requests, trip) {
      await driver.reset([...new Set(requests.map(({ key }) => key))], trip)
      return requests.map(() => undefined)
    },
  })
  const lease = leaseOptions && createLease({ ...leaseOptions, driver, limits, clock, giveBack })
  const leases =
    lease &&
    createGroupCommit<TakeRequest, Decision>({
      ...byKey,
      verb: 'lease',
      run: (requests, trip) => lease.serve(requests, trip),
      onUnwanted(request, { granted }) {
        if (granted > 0 && !letThrough(undefined)) lease.putBack(request, granted)
      },
    })
  const line = createWaitingLine({ limits, clock, giveBack })

  /** A call that was let through when it timed out has used what its late reply says it took. */
  function letThrough(signal: AbortSignal | undefined): boolean {
    return whenStoreFails === 'allow' && signal?.aborted !== true
  }

  /** Nobody waits for it, and if it fails, refill makes up for it. */
  function giveBack(unused: GiveBack): void {
    refunds.call(unused).catch(() => undefined)
  }

  function checkCost(cost: unknown): number {
    const tokens = positiveInteger('cost', cost)
    if (tokens <= largestCost) return tokens
    throw new RangeError(`cost must be at most ${largestCost}, the capacity, got ${tokens}`)
  }

  /** What holds for a decision if the store fails. */
  function orElse(
    decision: Promise<Decision>,
    cost: number,
    other: (limiter: RateLimiter) => Promise<Decision>,
  ): Promise<Decision> {
    if (whenStoreFails === 'throw') return decision
    return decision.catch((error: unknown) => {
      if (!(error instanceof StoreUnavailableError)) throw error
      if (whenStoreFails === 'allow') return { allowed: true, granted: cost, remaining: 0, fullInMs: 0 }
      if (whenStoreFails !== 'refuse') return other(whenStoreFails)
      return { allowed: false, granted: 0, remaining: 0, retryAfterMs: retryWithoutStoreMs, fullInMs: 0 }
    })
  }

  function close(): Promise<void> {
    closing ??= (async () => {
      line.dismiss(new ClosedError('ratelimit: closed while waiting'))
      const decided = Promise.all([takes.close(), resets.close(), leases?.close()])
      lease?.close()
      await decided
      await refunds.close()
    })()
    return closing
  }

  return {
    take(key, options) {
      try {
        keyString('key', key)
        const cost = options?.cost === undefined ? 1 : checkCost(options.cost)
        const atMost = options?.atMost ?? false
        if (typeof atMost !== 'boolean') throw new TypeError(`atMost must be a boolean, got ${String(atMost)}`)
        const spent = lease?.spend(key, cost)
        if (spent) return Promise.resolve(spent)
        const request = toRequest(key, cost, { atMost })
        const decision = leases ? leases.call(request) : (takes.call(request) as Promise<Decision>)
        return orElse(decision, cost, (limiter) => limiter.take(key, options))
      } catch (error) {
        return failed(error)
      }
    },
    async wait(key, options = {}) {
      const { signal, maxWaitMs = Infinity } = options
      keyString('key', key)
      const cost = checkCost(options.cost ?? 1)
      const withinUs = Math.floor(durationMs('maxWaitMs', maxWaitMs) * 1_000)
      signal?.throwIfAborted()
      if (!line.has(key) && lease?.spend(key, cost)) return
      let reservation
      try {
        const request = toRequest(key, cost, { withinUs, reserve: true, signal })
        reservation = (await takes.call(request, signal)) as Reservation
      } catch (error) {
        if (!(error instanceof StoreUnavailableError) || whenStoreFails === 'throw' || whenStoreFails === 'refuse') {
          throw error
        }
        return whenStoreFails === 'allow' ? undefined : whenStoreFails.wait(key, options)
      }
      if (reservation.granted > 0) return line.sleep(key, cost, reservation, signal)
      const { outcome, spent } = reservation
      const dueMs = untilMs(limits, outcome.levels, spent + cost, 0)
      throw new WaitTimeoutError(`ratelimit: ${cost} tokens are due in ${dueMs} ms, maxWaitMs is ${maxWaitMs}`)
    },
    async peek(key) {
      keyString('key', key)
      const look = takes.call(toRequest(key, 0)) as Promise<Decision>
      const decision = await orElse(look, 0, (limiter) => limiter.peek(key))
      const left = lease?.left(key) ?? 0
      if (left === 0) return decision
      const { remaining, fullInMs } = decision
      return { allowed: true, granted: 0, remaining: remaining + left, fullInMs }
    },
    async refund(key, tokens) {
      await refunds.call({
        key: keyString('key', key),
        tokens: positiveInteger('tokens', tokens),
        outcome: undefined,
        spent: 0,
      })
    },
    async reset(key) {
      await resets.call({ key: keyString('key', key) })
      lease?.drop(key)
    },
    close,
    [Symbol.asyncDispose]: close,
  }
}

const failed = async (error: unknown): Promise<never> => {
  throw error
}

const isLimiter = (value: unknown): boolean =>
  typeof (value as RateLimiter | null)?.take === 'function' && typeof (value as RateLimiter).wait === 'function'

function checkDriver(driver: unknown): void {
  const wanted = 'a driver of buckets, as redisTokenBucket(redis) makes one'
  if (isLimiter(driver)) throw new TypeError(`driver must be ${wanted}, got a limiter`)
  objectWith('driver', driver, ['take', 'refund', 'reset'], wanted)
}

function checked(options: RateLimiterOptions) {
  if (typeof options !== 'object' || options === null) {
    throw new TypeError(`options must be { quotas }, got ${String(options)}`)
  }
  const { quotas, timeoutMs = 1_000, whenStoreFails = 'throw', lease, clock = systemClock } = options
  if (!Array.isArray(quotas)) throw new TypeError(`quotas must be an array, got ${typeof quotas}`)
  if (quotas.length === 0) throw new RangeError('quotas must not be empty')
  if (!['throw', 'allow', 'refuse'].includes(whenStoreFails as string) && !isLimiter(whenStoreFails)) {
    throw new TypeError(
      `whenStoreFails must be 'throw', 'allow', 'refuse' or a limiter, got ${inspect(whenStoreFails)}`,
    )
  }
  return {
    limits: (quotas as readonly Quota[]).map((quota, i) => toLimit(`quotas[${i}]`, quota)),
    timeoutMs: durationMs('timeoutMs', timeoutMs, 1),
    whenStoreFails,
    leaseOptions: lease && {
      tokens: positiveInteger('lease.tokens', lease.tokens),
      leaseMs: durationMs('lease.leaseMs', lease.leaseMs, 1),
    },
    clock,
  }
}
