import { randomUUID } from 'node:crypto'
import { exponentialBackoff } from '../core/backoff.js'
import { durationMs, keyString } from '../core/check.js'
import { sleep, systemClock, type Clock } from '../core/clock.js'
import { ClosedError, LockLostError } from '../core/errors.js'
import { createGroupCommit } from '../core/group-commit.js'
import type { Claim, Claimed, ClaimRequest, Settlement, Touch, WriteBehindDriver } from './write-behind-driver.js'

/** How touched keys are flushed. */
export interface WriteBehindOptions {
  /** How long a touched key may wait for its flush, and the least time between two flushes of a key. */
  readonly delayMs: number
  /**
   * Writes what the keys stand for, up to 1,000 at a time, and one call at a time in this process. If it rejects, all of
   * them are flushed again later. `signal` aborts when the keys have passed to another process, since this one was not
   * heard of for too long.
   */
  readonly flush: (keys: readonly string[], context: { readonly signal: AbortSignal }) => Promise<void>
  /** Told of flushes that failed, and of a store that is away. */
  readonly onBackgroundError?: (error: unknown) => void
  /** How long a call of `touch` may take. @defaultValue 1_000 */
  readonly timeoutMs?: number
  /** @defaultValue systemClock */
  readonly clock?: Clock
}

/** Writes behind what callers change. Made by {@link startWriteBehind}. */
export interface WriteBehind extends AsyncDisposable {
  /**
   * Promises that a flush which begins later sees the key. Change the total first, then touch. Rejects with
   * StoreUnavailableError if that cannot be promised.
   */
  touch(key: string): Promise<void>
  /**
   * Flushes what this process has touched, and waits for it: a key that was flushed a moment ago waits until its delay has
   * passed. Rejects with what the flush threw, or with StoreUnavailableError; the keys then are with the other processes.
   */
  close(): Promise<void>
}

/** Keys in one flush. */
const mostKeys = 1_000
/** How often a process that expects nothing looks for what a dead one has left. */
const idleMs = 1_000
/** After so long, beside the delays, a process asks whether what it has touched was flushed by others. */
const askAfterMs = 5_000
/** How often one that closes looks whether others have flushed what it touched. */
const closingMs = 100
/** What a flush that has failed, or a store that is away, is given. */
const backoff = exponentialBackoff({ baseMs: 100, maxMs: 5_000 })

/**
 * Starts a process' part in writing behind: totals change in a fast store, and reach a slow one at most once per `delayMs`
 * and key, whichever process touched them. Every process that runs with the same driver flushes what is due; what a dead
 * one had in hand is flushed by another within `delayMs` and ten seconds. Resolves when the store has answered.
 */
export async function startWriteBehind(driver: WriteBehindDriver, options: WriteBehindOptions): Promise<WriteBehind> {
  const { delayMs, timeoutMs, flush, clock, report } = checked(options)
  const owner = randomUUID()
  // A flusher that dies must be noticed within ten seconds, and its keys not be flushed twice within a delay, which begins
  // when the claim arrives.
  const leaseMs = Math.max(5_000, delayMs + Math.min(timeoutMs, 8_000))
  const mine = createOwnKeys(clock)
  let wakeAtMs = Infinity
  let cancelTimer: (() => void) | undefined
  let working: Promise<void> | undefined
  let failures = 0
  let failedFlushes = 0
  let closing: Promise<void> | undefined

  const trips = { module: 'cache', timeoutMs, clock }
  const touches = createGroupCommit<string, string>({
    ...trips,
    verb: 'touch',
    async run(keys, trip) {
      const { dueMs, touch } = await driver.touch([...new Set(keys)], delayMs, trip)
      wake(dueMs)
      return keys.map(() => touch)
    },
  })
  const claims = createGroupCommit<ClaimRequest, Claimed>({
    ...trips,
    verb: 'claim',
    maxBatch: 1,
    run: async ([one], trip) => (one ? [await driver.claim(one, trip)] : []),
  })
  const settlements = createGroupCommit<{ readonly claims: readonly Claim[]; readonly how: Settlement }, boolean>({
    ...trips,
    verb: 'settle',
    maxBatch: 1,
    async run([one], trip) {
      if (!one) return []
      return [(await driver.settle(owner, one.claims, one.how, delayMs, trip)).every((was) => was)]
    },
  })
  const claim = (limit: number, keys?: readonly Touch[]): Promise<Claimed> =>
    claims.call({ owner, delayMs, leaseMs, limit, ...(keys ? { keys } : {}) })
  const settle = (claimed: readonly Claim[], how: Settlement): Promise<boolean> =>
    settlements.call({ claims: claimed, how })

  function wake(inMs: number): void {
    const atMs = clock.nowMs() + inMs
    if (closing || atMs >= wakeAtMs) return
    wakeAtMs = atMs
    cancelTimer?.()
    cancelTimer = clock.after(inMs, () => {
      wakeAtMs = Infinity
      working ??= work().finally(() => (working = undefined))
    })
  }

  /** Flushes what is due. */
  async function work(): Promise<void> {
    let againMs = idleMs
    try {
      for (;;) {
        const claimed = await claim(mostKeys)
        failures = 0
        againMs = Math.min(idleMs, claimed.nextMs ?? Infinity)
        if (claimed.claims.length > 0) await flushed(claimed.claims).catch(report)
        else if (againMs > 0) break
        if (closing) return
      }
      await forgetOthers()
    } catch (error) {
      if (failures++ === 0) report(error)
      againMs = backoff(failures)
    }
    wake(againMs)
  }

  /** What was touched long ago was flushed by others, as a rule: nobody tells of that, so it is asked. */
  async function forgetOthers(): Promise<void> {
    const touched = mine.touchedBefore(clock.nowMs() - 2 * delayMs - askAfterMs).slice(0, mostKeys)
    if (touched.length > 0 && (await claim(0, touched)).nextMs === undefined) mine.forget(touched)
  }

  /** Flushes claimed keys; rejects if that fails, when they are as they were. */
  async function flushed(claimed: readonly Claim[]): Promise<void> {
    const startedMs = clock.nowMs()
    const lost = new AbortController()
    const stopRenewing = renew(claimed, lost)
    try {
      const keys = claimed.map(({ key }) => key)
      await flush(keys, { signal: lost.signal })
      failedFlushes = 0
      stopRenewing()
      await settle(claimed, { verb: 'done', tookMs: clock.nowMs() - startedMs })
      mine.flushed(keys, startedMs)
    } catch (error) {
      stopRenewing()
      failedFlushes++
      // The store counts the delay from the claim, which may have been long on its way here.
      const restMs = startedMs + delayMs - clock.nowMs()
      await settle(claimed, { verb: 'failed', retryMs: Math.max(backoff(failedFlushes), restMs) }).catch(
        () => undefined,
      )
      throw error
    }
  }

  function renew(claimed: readonly Claim[], lost: AbortController): () => void {
    let untilMs = clock.nowMs() + leaseMs
    let cancel = clock.after(leaseMs / 4, again)
    function again(): void {
      const sentMs = clock.nowMs()
      if (sentMs >= untilMs) return lost.abort(tooLate())
      cancel = clock.after(leaseMs / 4, again)
      settle(claimed, { verb: 'renew', leaseMs }).then(
        (ours) => {
          if (ours) untilMs = sentMs + leaseMs
          else lost.abort(tooLate())
        },
        () => undefined,
      )
    }
    return () => cancel()
  }

  async function closeAll(): Promise<void> {
    cancelTimer?.()
    await touches.close()
    await working
    try {
      for (;;) {
        const touched = mine.touches().slice(0, mostKeys)
        if (touched.length === 0) break
        const claimed = await claim(mostKeys, touched)
        if (claimed.claims.length > 0) await flushed(claimed.claims)
        else if (claimed.nextMs === undefined) mine.forget(touched)
        else await sleep(Math.min(closingMs, claimed.nextMs), { clock })
      }
    } finally {
      await Promise.all([claims.close(), settlements.close()])
    }
  }

  function close(): Promise<void> {
    closing ??= closeAll()
    return closing
  }

  // Claims nothing yet: it only tells whether the store is there.
  wake((await claim(0)).nextMs ?? idleMs)
  return {
    async touch(key) {
      keyString('key', key)
      if (closing) throw new ClosedError('write-behind: touch after close')
      mine.add(key, await touches.call(key))
    },
    close,
    [Symbol.asyncDispose]: close,
  }
}

/** Keys that this process has touched and that may not be flushed yet. */
function createOwnKeys(clock: Clock) {
  const touched = new Map<string, { readonly touch: string; readonly atMs: number }>()
  return {
    add(key: string, touch: string): void {
      touched.delete(key)
      touched.set(key, { touch, atMs: clock.nowMs() })
    },
    /** By a flush that began then. */
    flushed(keys: readonly string[], startedMs: number): void {
      for (const key of keys) if ((touched.get(key)?.atMs ?? Infinity) <= startedMs) touched.delete(key)
    },
    /** They were flushed since these touches. */
    forget(touches: readonly Touch[]): void {
      for (const { key, touch } of touches) if (touched.get(key)?.touch === touch) touched.delete(key)
    },
    /** The newest touch of each. */
    touches: (): Touch[] => [...touched].map(([key, { touch }]) => ({ key, touch })),
    touchedBefore(ms: number): Touch[] {
      const touches: Touch[] = []
      for (const [key, { touch, atMs }] of touched) {
        if (atMs >= ms) break
        touches.push({ key, touch })
      }
      return touches
    },
  }
}

function checked(options: WriteBehindOptions) {
  const { flush, onBackgroundError = () => undefined, clock = systemClock } = options
  if (typeof flush !== 'function') throw new TypeError(`flush must be a function, got ${typeof flush}`)
  const delayMs = durationMs('delayMs', options.delayMs, 1)
  if (delayMs === Infinity) throw new RangeError('delayMs must be finite, got Infinity')
  return {
    flush,
    delayMs,
    timeoutMs: durationMs('timeoutMs', options.timeoutMs ?? 1_000, 1),
    clock,
    report: (error: unknown) => queueMicrotask(() => onBackgroundError(error)),
  }
}

const tooLate = (): LockLostError =>
  new LockLostError('write-behind: the keys have passed to another process before their flush had ended')
