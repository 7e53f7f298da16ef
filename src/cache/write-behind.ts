import { randomUUID } from 'node:crypto'
import { backgroundReporter, type BackgroundListener } from '../core/background.js'
import { exponentialBackoff } from '../core/backoff.js'
import { durationMs, keyString, objectWith, optionalFunction, shown } from '../core/check.js'
import { sleep, systemClock, type Clock } from '../core/clock.js'
import { outsideRequests } from '../core/context.js'
import { ClosedError, WaitTimeoutError } from '../core/errors.js'
import { createGroupCommit } from '../core/group-commit.js'
import { requiredOptions, type Known } from '../core/options.js'
import type {
  Claim,
  Claimed,
  ClaimRequest,
  Settlement,
  Touch,
  WriteBehindDriver,
  WriteBehindStore,
} from './write-behind-driver.js'
import { Flusher, type Failure } from './write-behind-flusher.js'
import { OwnKeys } from './write-behind-keys.js'

/** How touched keys are flushed. */
export interface WriteBehindOptions {
  /**
   * Sets these keys apart from those of every other name on the same driver: each name's keys go to its own `flush`. It is
   * the same in every process that flushes them. Also the name in events. A well-formed string of 1 to 8,192 bytes of UTF-8.
   */
  readonly name: string
  /** How long a touched key may wait for its flush, and the least time between two flushes of a key. */
  readonly delayMs: number
  /**
   * Writes what the keys stand for, up to 1,000 at a time, and one call at a time in this process. If it rejects, all of
   * them are flushed again later, in two calls, and so on until a key that always fails is alone. `signal` aborts when
   * the keys have passed to another process, since this one was not heard of for too long, and when `close` takes too long.
   */
  readonly flush: (keys: readonly string[], context: { readonly signal: AbortSignal }) => Promise<void> | void
  /**
   * Told of flushes that failed, and of a store that is away. What it throws, or rejects with, becomes a process warning.
   * @defaultValue process warnings, each text at most once a minute
   */
  readonly onBackgroundError?: BackgroundListener | undefined
  /**
   * How long `close` may take, a flush that hangs included. What is not flushed by then is left to the other processes.
   * @defaultValue `delayMs` and ten seconds
   */
  readonly closeTimeoutMs?: number | undefined
  /** How long a call of `touch` may take. @defaultValue 1_000 */
  readonly timeoutMs?: number | undefined
  /** @defaultValue systemClock */
  readonly clock?: Clock | undefined
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
   * passed. If a flush fails, its halves are tried at once, until the keys that fail are alone. Rejects with what they
   * threw, with StoreUnavailableError, or with WaitTimeoutError after `closeTimeoutMs`; the keys then are with the other
   * processes.
   */
  close(): Promise<void>
}

/** Keys in one claim. */
const mostKeys = 1_000
/** How often a process that expects nothing looks for what a dead one has left. */
const idleMs = 1_000
/** After so long, beside the delays, a process asks whether what it has touched was flushed by others. */
const askAfterMs = 5_000
/** How often one that closes looks whether others have flushed what it touched. */
const closingMs = 100
/** What `close` has beside the delay. */
const closeTimeoutMs = 10_000
/** So many flushes that fail in a row are the fault of where they write, which is given time. */
const mostFailures = 3
/** What a flush that has failed, or a store that is away, is given. */
const backoff = exponentialBackoff({ baseMs: 100, maxMs: 5_000 })

/**
 * Starts a process' part in writing behind: totals change in a fast store, and reach a slow one at most once per `delayMs`
 * and key, whichever process touched them. Every process that runs with the same driver and name flushes what is due; what a
 * dead one had in hand is flushed by another within `delayMs` and ten seconds. Resolves when the store has answered.
 *
 * A process that has nothing else to do ends by itself, but not before what it has touched is flushed: until then a timer
 * keeps it alive, unless the store does not answer. `process.exit` waits for nothing; call `close` before it.
 *
 * @throws TypeError or RangeError for a driver that is none, and for options that are missing, unknown, or make no sense.
 */
export async function startWriteBehind(driver: WriteBehindDriver, options: WriteBehindOptions): Promise<WriteBehind> {
  const settings = checked(driver, options)
  const { name, store, delayMs, timeoutMs, flush, clock, report } = settings
  const owner = randomUUID()
  // A flusher that dies must be noticed within ten seconds, and its keys not be flushed twice within a delay, which begins
  // when the claim arrives.
  const leaseMs = Math.max(5_000, delayMs + Math.min(timeoutMs, 8_000))
  const mine = new OwnKeys(clock)
  let wakeAtMs = Infinity
  /** The timer keeps the process alive. */
  let holds = false
  let cancelTimer: (() => void) | undefined
  let working: Promise<void> | undefined
  let failures = 0
  /** Nothing is claimed before. */
  let restUntilMs = -Infinity
  /** How many keys are asked for at once. */
  let asked = mostKeys
  let closing: Promise<void> | undefined

  const trips = { module: 'write-behind', name, timeoutMs, clock }
  const touches = createGroupCommit<string, string>({
    ...trips,
    verb: 'touch',
    async run(keys, trip) {
      const { dueMs, touch } = await store.touch([...new Set(keys)], delayMs, trip)
      wake(dueMs)
      return keys.map(() => touch)
    },
  })
  const claims = createGroupCommit<ClaimRequest, Claimed>({
    ...trips,
    verb: 'claim',
    maxBatch: 1,
    run: async ([one], trip) => (one ? [await store.claim(one, trip)] : []),
  })
  const settlements = createGroupCommit<{ readonly claims: readonly Claim[]; readonly how: Settlement }, boolean>({
    ...trips,
    verb: 'settle',
    maxBatch: 1,
    async run([one], trip) {
      if (!one) return []
      return [(await store.settle(owner, one.claims, one.how, delayMs, trip)).every((was) => was)]
    },
  })
  const claim = (limit: number, keys?: readonly Touch[]): Promise<Claimed> =>
    claims.call({ owner, delayMs, leaseMs, limit, ...(keys ? { keys } : {}) })
  const flusher = new Flusher({
    ...{ name, flush, delayMs, leaseMs, clock, backoff },
    settle: (claimed, how) => settlements.call({ claims: claimed, how }),
    onFlushed: (claimed, startedMs) => mine.flushed(claimed, startedMs),
  })

  function wake(inMs: number): void {
    const atMs = Math.max(clock.nowMs() + inMs, restUntilMs)
    if (!closing && atMs < wakeAtMs) setTimer(atMs)
  }

  function setTimer(atMs: number): void {
    wakeAtMs = atMs
    // What a store that is away has been told is there when it is back, for another process as well.
    holds = !mine.isEmpty && failures === 0
    cancelTimer?.()
    const due = (): void => {
      wakeAtMs = Infinity
      working ??= work().finally(() => (working = undefined))
    }
    // The timer, and all that follows from it, is no caller's.
    cancelTimer = outsideRequests(() => clock.after(atMs - clock.nowMs(), due, !holds))
  }

  /** Sees to it that the process lives until what it has touched is flushed. */
  function holdOn(): void {
    if (!holds && wakeAtMs !== Infinity && failures === 0 && !closing) setTimer(wakeAtMs)
  }

  /** Flushes what is due, up to a batch. More follows by another timer, so that the process does other things between. */
  async function work(): Promise<void> {
    let againMs = idleMs
    try {
      const claimed = await claim(mostKeys)
      failures = 0
      againMs = Math.min(idleMs, claimed.nextMs ?? Infinity)
      for (const { cause } of await flusher.flush(claimed.claims, false)) report(cause)
      if (flusher.failures >= mostFailures) {
        restUntilMs = clock.nowMs() + Math.min(idleMs, backoff(flusher.failures))
      } else if (againMs > 0) await forgetOthers()
      // More has come due while they were flushed.
      if (claimed.claims.length > 0) againMs = 0
    } catch (error) {
      if (failures++ === 0) report(error)
      againMs = backoff(failures)
    }
    wake(againMs)
  }

  /** What was touched long ago was flushed by others, as a rule: nobody tells of that, so it is asked. */
  async function forgetOthers(): Promise<void> {
    for (;;) {
      const touched = mine.oldest(asked, clock.nowMs() - 2 * delayMs - askAfterMs)
      if (touched.length === 0 || closing) return
      if ((await claim(0, touched)).nextMs === undefined) {
        mine.forget(touched)
        asked = Math.min(mostKeys, 2 * asked)
      } else {
        // One of them waits still.
        if (touched.length === 1) mine.postpone(touched)
        asked = Math.ceil(touched.length / 2)
        return
      }
    }
  }

  /** Flushes all that this process has touched; rejects with the first failure when it has tried everything. */
  async function finish(): Promise<void> {
    await touches.close()
    await working
    const failed: Failure[] = []
    for (let touched = mine.oldest(mostKeys); touched.length > 0; touched = mine.oldest(mostKeys)) {
      const claimed = await claim(mostKeys, touched)
      if (claimed.claims.length > 0) {
        const failures = await flusher.flush(claimed.claims, true)
        for (const { claims } of failures) mine.drop(claims)
        failed.push(...failures)
      } else if (claimed.nextMs === undefined) mine.forget(touched)
      else await sleep(Math.min(closingMs, claimed.nextMs), { clock })
    }
    if (failed.length > 0) throw (failed[0] as Failure).cause
  }

  async function closeAll(): Promise<void> {
    cancelTimer?.()
    const ms = settings.closeTimeoutMs
    const late = new WaitTimeoutError(`write-behind: close had not flushed everything within ${ms} ms`)
    let cancel: (() => void) | undefined
    const timedOut = new Promise<never>((_resolve, reject) => {
      cancel = clock.after(ms, () => {
        reject(late)
        flusher.abort(late)
      })
    })
    try {
      await Promise.race([finish(), timedOut])
    } finally {
      cancel?.()
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
      holdOn()
    },
    close,
    [Symbol.asyncDispose]: close,
  }
}

const known: Known<WriteBehindOptions> = {
  name: true,
  delayMs: true,
  flush: true,
  onBackgroundError: true,
  closeTimeoutMs: true,
  timeoutMs: true,
  clock: true,
}

function checked(driver: WriteBehindDriver, given: WriteBehindOptions) {
  objectWith('driver', driver, ['open'], 'a driver of write-behind')
  const options = requiredOptions<WriteBehindOptions>('startWriteBehind', given, known)
  const { flush, clock = systemClock } = options
  const name = keyString('name', options.name)
  if (typeof flush !== 'function') throw new TypeError(`flush must be a function, got ${shown(flush)}`)
  const delayMs = durationMs('delayMs', options.delayMs, 1)
  if (delayMs === Infinity) throw new RangeError('delayMs must be finite, got Infinity')
  const onBackgroundError = optionalFunction('onBackgroundError', options.onBackgroundError)
  return {
    name,
    store: opened(driver, name),
    flush,
    delayMs,
    timeoutMs: durationMs('timeoutMs', options.timeoutMs ?? 1_000, 1),
    closeTimeoutMs: durationMs('closeTimeoutMs', options.closeTimeoutMs ?? delayMs + closeTimeoutMs),
    clock,
    report: backgroundReporter('write-behind', name, onBackgroundError, clock),
  }
}

/** Drivers of other modules open something else. */
const opened = (driver: WriteBehindDriver, name: string): WriteBehindStore =>
  objectWith('what driver opens', driver.open(name), ['touch', 'claim', 'settle'], 'the touched keys of a write-behind')
