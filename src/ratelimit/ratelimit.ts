import { durationMs, keyString, positiveInteger, shown } from '../core/check.js'
import { channels } from '../core/diagnostics.js'
import { ClosedError, StoreUnavailableError, WaitTimeoutError } from '../core/errors.js'
import { createGroupCommit } from '../core/group-commit.js'
import { knownOptions } from '../core/options.js'
import { checkDriver, checkedOptions, known, opened } from './check.js'
import type { RateLimitDriver } from './driver.js'
import { createLease } from './lease.js'
import {
  takeInRuns,
  toAdjustments,
  toRequest,
  untilMs,
  type Decision,
  type GiveBack,
  type Reservation,
  type TakeRequest,
} from './runs.js'
import type { RateLimiter, RateLimiterOptions, ReserveOptions, TakeOptions, WaitOptions } from './types.js'
import { createWaitingLine } from './waiting-line.js'

/** Said after a refusal for want of a store: nothing is known, and a second is soon enough to ask again. */
const retryWithoutStoreMs = 1_000

/**
 * Makes a limiter over a driver's buckets. Does no I/O.
 *
 * @throws TypeError or RangeError for a driver that is none, an option that is not known, or a value that makes no sense.
 */
export function createRateLimiter(driver: RateLimitDriver, options: RateLimiterOptions): RateLimiter {
  checkDriver(driver)
  const { name, limits, timeoutMs, whenStoreFails, leaseOptions, clock } = checkedOptions(options)
  const store = opened(driver, name)
  const largestCost = Math.min(...limits.map((limit) => limit.capacity))
  let closing: Promise<void> | undefined

  const shared = { module: 'ratelimit', name, timeoutMs, clock }
  const byKey = { ...shared, lane: store.lane && (({ key }: { readonly key: string }) => store.lane?.(key) ?? 0) }
  const takes = createGroupCommit<TakeRequest, Decision | Reservation>({
    ...byKey,
    verb: 'take',
    run: (requests, trip) => takeInRuns(store, limits, requests, trip),
    onUnwanted({ key, signal, outcome, spent }, { granted }) {
      if (granted > 0 && !letThrough(signal)) giveBack({ key, tokens: granted, outcome, spent })
    },
  })
  const adjustments = createGroupCommit<GiveBack, void>({
    ...byKey,
    verb: 'adjust',
    async run(requests, trip) {
      await store.adjust(limits, toAdjustments(limits, requests), trip)
      return requests.map(() => undefined)
    },
  })
  const resets = createGroupCommit<{ readonly key: string }, void>({
    ...byKey,
    verb: 'reset',
    async run(requests, trip) {
      await store.reset([...new Set(requests.map(({ key }) => key))], trip)
      return requests.map(() => undefined)
    },
  })
  const lease = leaseOptions && createLease({ ...leaseOptions, store, limits, clock, giveBack })
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
    adjustments.call(unused).catch(() => undefined)
  }

  function checkCost(cost: unknown): number {
    const tokens = positiveInteger('cost', cost)
    if (tokens <= largestCost) return tokens
    throw new RangeError(`cost must be at most ${largestCost}, the capacity, got ${tokens}`)
  }

  function tell(verb: Verb, key: string, cost: number, end: Ending): void {
    if (!channels.rateLimitDecision.hasSubscribers) return
    channels.rateLimitDecision.publish({ name, verb, key, cost, granted: 0, waitMs: 0, ...end })
  }

  function tellTake(key: string, cost: number, { allowed, granted }: Decision, error?: unknown): void {
    if (!channels.rateLimitDecision.hasSubscribers) return
    tell('take', key, cost, { outcome: allowed ? 'allowed' : 'refused', granted, ...(error ? { error } : {}) })
  }

  /** What holds for a decision if the store fails. */
  async function orElse(
    decision: Promise<Decision>,
    cost: number,
    other: (limiter: RateLimiter) => Promise<Decision>,
    end: (decision: Decision | undefined, error?: unknown) => void = () => undefined,
  ): Promise<Decision> {
    try {
      const decided = await decision
      end(decided)
      return decided
    } catch (error) {
      if (!isStoreFailure(error)) throw error
      let decided: Decision | undefined
      try {
        if (whenStoreFails === 'throw') throw error
        decided = await (whenStoreFails === 'allow'
          ? ({ allowed: true, granted: cost, remaining: 0, fullInMs: 0 } as const)
          : whenStoreFails === 'refuse'
            ? ({ allowed: false, granted: 0, remaining: 0, retryAfterMs: retryWithoutStoreMs, fullInMs: 0 } as const)
            : other(whenStoreFails))
        return decided
      } finally {
        end(decided, error)
      }
    }
  }

  /**
   * Takes tokens that may be due later. `'leased'`: they were at hand. `'allowed'`: the store failed, and that allows. A
   * function: it asks another limiter in the store's place.
   */
  async function reserve(
    verb: 'wait' | 'reserve',
    key: string,
    cost: number,
    maxWaitMs: number,
    signal?: AbortSignal,
  ): Promise<Reservation | 'leased' | 'allowed' | Instead> {
    if (!line.has(key) && lease?.spend(key, cost)) {
      tell(verb, key, cost, { outcome: 'allowed', granted: cost })
      return 'leased'
    }
    try {
      const withinUs = Math.floor(maxWaitMs * 1_000)
      const request = toRequest(key, cost, { withinUs, reserve: true, signal })
      const reservation = (await takes.call(request, signal)) as Reservation
      const { granted } = reservation
      if (granted > 0) tell(verb, key, cost, { outcome: 'allowed', granted, waitMs: dueInMs(reservation) })
      else tell(verb, key, cost, { outcome: 'refused' })
      return reservation
    } catch (error) {
      if (!isStoreFailure(error)) throw error
      const end = (ending: Ending): void => tell(verb, key, cost, { ...ending, error })
      if (whenStoreFails === 'allow') {
        end({ outcome: 'allowed', granted: cost })
        return 'allowed'
      }
      if (whenStoreFails === 'throw' || whenStoreFails === 'refuse') {
        end({ outcome: 'failed' })
        throw error
      }
      return async (ask, endingOf) => {
        try {
          const answer = await ask(whenStoreFails)
          end(endingOf(answer))
          return answer
        } catch (failure) {
          if (!signal?.aborted) end({ outcome: failure instanceof WaitTimeoutError ? 'refused' : 'failed' })
          throw failure
        }
      }
    }
  }

  const dueInMs = ({ outcome, spent }: Reservation): number => untilMs(limits, outcome.levels, spent, 0)

  /** Gives reserved tokens back, once; again only if that was never sent. */
  function cancelOnce(key: string, tokens: number, leave?: () => void, reservation?: Reservation) {
    let cancelling: Promise<void> | undefined
    const { outcome, spent = 0 } = reservation ?? {}
    const cancel = async (): Promise<void> => {
      // At once: who is served after the store has the tokens must not get them from the line, too.
      leave?.()
      await adjustments.call({ key, tokens, outcome, spent }).catch((error: unknown) => {
        if (error instanceof StoreUnavailableError && error.applied === 'no') cancelling = undefined
        throw error
      })
    }
    return (): Promise<void> => (cancelling ??= cancel())
  }

  function close(): Promise<void> {
    closing ??= (async () => {
      line.dismiss(new ClosedError('ratelimit: closed while waiting'))
      const decided = Promise.all([takes.close(), resets.close(), leases?.close()])
      lease?.close()
      await decided
      await adjustments.close()
    })()
    return closing
  }

  return {
    take(key, options) {
      try {
        keyString('key', key)
        const { cost: wanted, atMost = false } = knownOptions<TakeOptions>('take', options, known.take)
        const cost = wanted === undefined ? 1 : checkCost(wanted)
        if (typeof atMost !== 'boolean') throw new TypeError(`atMost must be a boolean, got ${shown(atMost)}`)
        const spent = lease?.spend(key, cost)
        if (spent) {
          tellTake(key, cost, spent)
          return Promise.resolve(spent)
        }
        const request = toRequest(key, cost, { atMost })
        const decision = leases ? leases.call(request) : (takes.call(request) as Promise<Decision>)
        if (whenStoreFails === 'throw' && !channels.rateLimitDecision.hasSubscribers) return decision
        return orElse(
          decision,
          cost,
          (limiter) => limiter.take(key, options),
          (decided, error) => {
            if (decided) tellTake(key, cost, decided, error)
            else tell('take', key, cost, { outcome: 'failed', error })
          },
        )
      } catch (error) {
        return failed(error)
      }
    },
    async wait(key, options) {
      keyString('key', key)
      const { cost: wanted = 1, maxWaitMs = Infinity, signal } = knownOptions<WaitOptions>('wait', options, known.wait)
      const cost = checkCost(wanted)
      durationMs('maxWaitMs', maxWaitMs)
      signal?.throwIfAborted()
      const reserved = await reserve('wait', key, cost, maxWaitMs, signal)
      if (reserved === 'leased' || reserved === 'allowed') return
      if (typeof reserved === 'function') {
        const askedMs = clock.nowMs()
        return reserved(
          (other) => other.wait(key, options),
          () => ({ outcome: 'allowed', granted: cost, waitMs: clock.nowMs() - askedMs }),
        )
      }
      if (reserved.granted > 0) return line.sleep(key, cost, reserved, signal)
      const { outcome, spent } = reserved
      const dueMs = untilMs(limits, outcome.levels, spent + cost, 0)
      throw new WaitTimeoutError(`ratelimit: ${cost} tokens are due in ${dueMs} ms, maxWaitMs is ${maxWaitMs}`)
    },
    async reserve(key, options) {
      keyString('key', key)
      const { cost: wanted = 1, maxWaitMs = Infinity } = knownOptions<ReserveOptions>('reserve', options, known.reserve)
      const cost = checkCost(wanted)
      durationMs('maxWaitMs', maxWaitMs)
      const reserved = await reserve('reserve', key, cost, maxWaitMs)
      if (reserved === 'allowed') return { dueInMs: 0, cancel: async () => undefined }
      if (reserved === 'leased') return { dueInMs: 0, cancel: cancelOnce(key, cost) }
      if (typeof reserved === 'function') {
        return reserved(
          (other) => other.reserve(key, options),
          (tokens) => (tokens ? { outcome: 'allowed', granted: cost, waitMs: tokens.dueInMs } : { outcome: 'refused' }),
        )
      }
      if (reserved.granted === 0) return undefined
      const leave = line.keep(key, cost, reserved)
      return { dueInMs: dueInMs(reserved), cancel: cancelOnce(key, cost, leave, reserved) }
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
      keyString('key', key)
      await adjustments.call({ key, tokens: positiveInteger('tokens', tokens), outcome: undefined, spent: 0 })
    },
    async charge(key, tokens) {
      keyString('key', key)
      await adjustments.call({ key, tokens: -positiveInteger('tokens', tokens), outcome: undefined, spent: 0 })
    },
    async reset(key) {
      await resets.call({ key: keyString('key', key) })
      lease?.drop(key)
    },
    close,
    [Symbol.asyncDispose]: close,
  }
}

type Verb = 'take' | 'wait' | 'reserve'

/** How a call ended, as events tell it. */
interface Ending {
  readonly outcome: 'allowed' | 'refused' | 'failed'
  readonly granted?: number
  readonly waitMs?: number
  readonly error?: unknown
}

/** Asks another limiter, and tells how that ended. An abort is nobody's decision, and is not told. */
type Instead = <T>(ask: (other: RateLimiter) => Promise<T>, endingOf: (answer: T) => Ending) => Promise<T>

const failed = async (error: unknown): Promise<never> => {
  throw error
}

const programErrors = [TypeError, RangeError, SyntaxError, ReferenceError]

/** What JavaScript throws where a program is wrong. `fetch` throws a TypeError also where the system has failed it. */
function isProgramError(error: unknown): boolean {
  if (!programErrors.some((type) => error instanceof type)) return false
  return !(error instanceof TypeError && isSystemError(error.cause))
}

const isSystemError = (error: unknown): boolean =>
  error instanceof Error && typeof (error as { code?: unknown }).code === 'string' && !isProgramError(error)

const isStoreFailure = (error: unknown): boolean =>
  error instanceof StoreUnavailableError && !isProgramError(error.cause)
