import { onAbort } from './abort.js'

/**
 * Where spillway gets its time from. Everything that waits or measures takes a `Clock`, so that tests run on a virtual
 * one and never sleep. `nowMs` is monotonic: differences mean something, absolute values do not.
 */
export interface Clock {
  /** Monotonic milliseconds, with a fraction. */
  nowMs(): number
  /** Milliseconds since 1970 by the wall clock, for people and for records, never to decide by. */
  wallMs(): number
  /**
   * Calls `run` once, not before `delayMs` have passed. Returns what cancels it. With `unref`, nobody waits for it: it does
   * not keep the process alive.
   */
  after(delayMs: number, run: () => void, unref?: boolean): () => void
}

/** Node's timers hold 31 bits; a longer delay would fire at once. */
const longestTimerMs = 2 ** 31 - 1

/** The real clock. */
export const systemClock: Clock = {
  nowMs: () => performance.now(),
  wallMs: () => Date.now(),
  after(delayMs, run, unref = false) {
    const dueMs = performance.now() + delayMs
    const start = (ms: number): NodeJS.Timeout => {
      const started = setTimeout(check, Math.min(ms, longestTimerMs))
      return unref ? started.unref() : started
    }
    // A timer may fire up to a millisecond early, and none lasts longer than 24.8 days: look again, sleep the rest.
    const check = (): void => {
      const leftMs = dueMs - performance.now()
      if (leftMs > 0) timer = start(Math.ceil(leftMs))
      else run()
    }
    let timer = start(Math.max(Math.ceil(delayMs), 0))
    return () => clearTimeout(timer)
  },
}

/** A timer that fires later than this tells that the process could not run: the loop was blocked, or it was stopped. */
export const blockedMs = 5

/**
 * A time-out of a call: as `clock.after`, but a timer that fires late first gives back the time in which the process
 * could not read its sockets, once and `delayMs` at most; an answer that lies there, or was held up, then still counts.
 * What has to end on time whatever lies there, such as a hold, takes `clock.after`.
 */
export function callTimeout(clock: Clock, delayMs: number, run: () => void, unref = false): () => void {
  const dueMs = clock.nowMs() + delayMs
  let cancel = clock.after(
    delayMs,
    () => {
      const lateMs = clock.nowMs() - dueMs
      if (lateMs > blockedMs) cancel = clock.after(Math.min(lateMs, delayMs), run, unref)
      else run()
    },
    unref,
  )
  return () => cancel()
}

const readingsShared = 64

/**
 * Reads `clock` for calls that come in millions a second, to which a reading costs as much as all the rest: up to 64
 * readings are one, until the microtasks that are queued now have run. A reading is therefore not shared over an `await`
 * of the same caller, nor with the next tick, however long the process is blocked or stopped there. Within one run of
 * synchronous code, and between callers that resume in one go, it is: what blocks the process right there makes the
 * readings of the 63 calls after it as old as the block was long. A clock that a test turns by hand is read each time.
 */
export function tickReader(clock: Clock): () => number {
  if (clock !== systemClock) return () => clock.nowMs()
  let readMs = 0
  let left = 0
  let ends = false
  const endSharing = (): void => {
    ends = false
    left = 0
  }
  return () => {
    if (left === 0) {
      left = readingsShared
      readMs = clock.nowMs()
      if (!ends) queueMicrotask(endSharing)
      ends = true
    }
    left--
    return readMs
  }
}

/** Sleeps `delayMs`; an abort of `signal` rejects with its reason itself. With `unref` it does not keep the process alive. */
export function sleep(
  delayMs: number,
  options: { readonly clock?: Clock; readonly signal?: AbortSignal | undefined; readonly unref?: boolean } = {},
): Promise<void> {
  const { clock = systemClock, signal, unref } = options
  return new Promise((resolve, reject) => {
    if (signal?.aborted) return reject(signal.reason as Error)
    const done = (): void => {
      unwatch?.()
      resolve()
    }
    const cancel = clock.after(delayMs, done, unref)
    const unwatch =
      signal &&
      onAbort(signal, () => {
        cancel()
        reject(signal.reason as Error)
      })
  })
}
