import { onAbort } from '../core/abort.js'
import type { Clock } from '../core/clock.js'
import { WaitTimeoutError } from '../core/errors.js'
import type { Grant } from './grant.js'
import { Waiter, Waiters, type Wish } from './waiters.js'

/** The callers of this process that want a key. Their first is the only one that the backend knows of. */
export interface Line {
  readonly key: string
  readonly waiters: Waiters
  /** Permits that this process holds, those that are being released included. */
  used: number
  /** Somebody is at the backend for the first waiter. */
  contending: boolean
  /** The backend has told of a change since the last try began. */
  woken: boolean
  /** Others that the last release woke, and of whom no change has told since that they had the key. */
  awaited: number
  /** The change of that release itself is still to come. */
  ownChange: boolean
  /** Nothing is tried until those that are awaited have had the key, or do not come. */
  defers: boolean
  /** Of those who listen to the key's changes, so many did not come when they were let go first. */
  absent: number
  /** From then on they may have come to want it, and are let go first once more. */
  absentUntilMs: number
  resume: (() => void) | undefined
  cancelDeferral: (() => void) | undefined
  unwatch: (() => void) | undefined
}

/** Longer than those who are woken need to try, and short enough to be lost when none of them is there any more. */
const deferMs = 5

/** How long who did not come is not waited for: 5 ms in 500 are lost to strangers who listen and never come. */
const absentMs = 500

export function createLine(key: string): Line {
  return {
    key,
    waiters: new Waiters(),
    used: 0,
    contending: false,
    woken: false,
    awaited: 0,
    ownChange: false,
    defers: false,
    absent: 0,
    absentUntilMs: 0,
    resume: undefined,
    cancelDeferral: undefined,
    unwatch: undefined,
  }
}

/** Tells whoever is at the backend to try again. */
export function poke(line: Line): void {
  line.woken = true
  line.resume?.()
}

/**
 * Tells whoever is at the backend of a change. A line that defers to others waits until each of them has had the key, as
 * long as one change follows the other.
 */
export function tellOfChange(line: Line, clock: Clock): void {
  if (line.ownChange) line.ownChange = false
  else if (line.awaited > 0) line.awaited--
  if (line.defers && line.awaited > 0) return defer(line, clock)
  line.cancelDeferral?.()
  poke(line)
}

function defer(line: Line, clock: Clock): void {
  line.cancelDeferral?.()
  line.cancelDeferral = clock.after(deferMs, () => poke(line))
}

/**
 * A release has woken so many others. They are awaited, each once; if `defers`, nothing is tried before that. The first
 * change is that of the release itself; its word may be here before the answer.
 */
export function awaitOthers(line: Line, others: number, defers: boolean, clock: Clock): void {
  line.awaited = others
  line.defers = defers
  line.ownChange = !line.woken
  if (!defers || !line.woken) return
  line.woken = false
  defer(line, clock)
}

/** The key was granted: those who are still awaited did not want it. */
export function noteGrant(line: Line, clock: Clock): void {
  if (line.awaited > 0) {
    if (line.absent === 0) line.absentUntilMs = clock.nowMs() + absentMs
    line.absent += line.awaited
  }
  stopAwaiting(line)
}

export function stopAwaiting(line: Line): void {
  line.cancelDeferral?.()
  line.cancelDeferral = undefined
  line.awaited = 0
  line.ownChange = line.defers = false
}

/** How many of those who listen are not waited for now. */
export function absentees(line: Line, clock: Clock): number {
  if (line.absent > 0 && clock.nowMs() >= line.absentUntilMs) line.absent = 0
  return line.absent
}

/** Waits until the line is poked, at most `delayMs`. */
export function pause(line: Line, delayMs: number, clock: Clock): Promise<void> {
  return new Promise((resolve) => {
    const cancel = clock.after(delayMs, () => line.resume?.())
    line.resume = () => {
      cancel()
      line.resume = undefined
      resolve()
    }
  })
}

/** Puts a caller at the end of the line, until it is served or leaves. `onLeave` is called when it has left. */
export function queueUp(
  line: Line,
  wish: Wish,
  options: {
    readonly clock: Clock
    readonly maxWaitMs: number
    readonly signal: AbortSignal | undefined
    readonly onLeave: () => void
  },
): Promise<Grant> {
  const { clock, maxWaitMs, signal, onLeave } = options
  return new Promise((resolve, reject) => {
    let cancelTimer: (() => void) | undefined
    let unwatch: (() => void) | undefined
    const end = (): void => {
      cancelTimer?.()
      unwatch?.()
    }
    const leave = (reason: Error): void => {
      const isFirst = line.waiters.first === waiter
      if (!line.waiters.remove(waiter)) return
      waiter.reject(reason)
      if (isFirst) poke(line)
      onLeave()
    }
    const waiter = new Waiter(
      wish,
      (grant) => {
        end()
        resolve(grant)
      },
      (error) => {
        end()
        reject(error)
      },
    )
    if (maxWaitMs !== Infinity) cancelTimer = clock.after(maxWaitMs, () => leave(waitedTooLong(line.key, maxWaitMs)))
    if (signal) unwatch = onAbort(signal, () => leave(signal.reason as Error))
    line.waiters.push(waiter)
  })
}

export function waitedTooLong(key: string, maxWaitMs: number): WaitTimeoutError {
  return new WaitTimeoutError(`lock: ${JSON.stringify(key)} was not granted within ${maxWaitMs} ms`)
}
