import { onAbort } from '../core/abort.js'
import type { Clock } from '../core/clock.js'
import { WaitTimeoutError } from '../core/errors.js'
import type { Grant } from './grant.js'

/** What a caller asks for, checked. */
export interface Wish {
  readonly permits: number
  readonly ttlMs: number
  readonly renews: boolean
}

export interface Waiter extends Wish {
  readonly resolve: (grant: Grant) => void
  readonly reject: (error: Error) => void
}

/** The callers of this process that want a key. Their first is the only one that the backend knows of. */
export interface Line {
  readonly key: string
  readonly waiters: Waiter[]
  /** Permits that this process holds, those that are being released included. */
  used: number
  /** Somebody is at the backend for the first waiter. */
  contending: boolean
  /** The backend has told of a change since the last try began. */
  woken: boolean
  /** At so many changes to come, others are to try first. */
  yields: number
  resume: (() => void) | undefined
  unyield: (() => void) | undefined
  unwatch: (() => void) | undefined
}

/** Longer than those who are woken need to try, and short enough to be lost when none of them is there any more. */
const yieldMs = 5

export function createLine(key: string): Line {
  return {
    key,
    waiters: [],
    used: 0,
    contending: false,
    woken: false,
    yields: 0,
    resume: undefined,
    unyield: undefined,
    unwatch: undefined,
  }
}

/** Tells whoever is at the backend to try again. */
export function poke(line: Line): void {
  line.woken = true
  line.resume?.()
}

/**
 * Tells whoever is at the backend of a change. After a turn of its own the line lets others go first: then it waits for so
 * long whether there is another change, which means that one of them had the key.
 */
export function tellOfChange(line: Line, clock: Clock): void {
  const { yields } = line
  yieldTo(line, yields - 1)
  if (yields === 0) return poke(line)
  line.unyield = clock.after(yieldMs, () => poke(line))
}

/** Lets others go first at so many changes to come. */
export function yieldTo(line: Line, changes: number): void {
  line.unyield?.()
  line.unyield = undefined
  line.yields = Math.max(changes, 0)
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
      const place = line.waiters.indexOf(waiter)
      if (place < 0) return
      line.waiters.splice(place, 1)
      waiter.reject(reason)
      if (place === 0) poke(line)
      onLeave()
    }
    const waiter: Waiter = {
      ...wish,
      resolve(grant) {
        end()
        resolve(grant)
      },
      reject(error) {
        end()
        reject(error)
      },
    }
    if (maxWaitMs !== Infinity) cancelTimer = clock.after(maxWaitMs, () => leave(waitedTooLong(line.key, maxWaitMs)))
    if (signal) unwatch = onAbort(signal, () => leave(signal.reason as Error))
    line.waiters.push(waiter)
  })
}

export function waitedTooLong(key: string, maxWaitMs: number): WaitTimeoutError {
  return new WaitTimeoutError(`lock: ${JSON.stringify(key)} was not granted within ${maxWaitMs} ms`)
}
