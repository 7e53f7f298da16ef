import { onAbort } from '../core/abort.js'
import { callTimeout, type Clock } from '../core/clock.js'
import { WaitTimeoutError } from '../core/errors.js'
import type { Turn } from './driver.js'
import type { Entry } from './entry.js'
import type { Group } from './loader.js'

/**
 * Why a caller that came while a load ran may not be answered with what it brings: a change of another process may have
 * been `missed` since it began, or `tags` have ended that it may have.
 */
export type Lateness = 'missed' | 'tags' | undefined

/** As what an answer counts in the cache's stats. */
export type AnsweredAs = 'hits' | 'stale' | 'misses'

/** Who is to be answered. Neither function throws. */
export interface Caller<V> {
  readonly resolve: (value: V | undefined, as: AnsweredAs) => void
  readonly reject: (error: unknown) => void
}

/** A caller that waits for a flight. */
export interface Waiter<V> extends Caller<V> {
  /** When it came, counted in changes: what was changed before then it must not be answered. */
  readonly stamp: number
  late: Lateness
  cancelTimer?: (() => void) | undefined
  unwatch?: (() => void) | undefined
  settled: boolean
}

const nobody: readonly never[] = []

/** One look-up of a key, and its load if it misses. Callers that come meanwhile wait for the same. */
export class Flight<V> {
  waiters: Waiter<V>[] = []
  /** How many of them have given up, about. */
  private gone = 0
  /** `turn`: another process loads. From `load` on, a change starts another flight for those who come after it. */
  phase: 'look' | 'turn' | 'load' = 'look'
  ended = false
  /** Something has changed since it began to look. */
  lookAgain = false
  /** Another process' turn has ended since it began to look. */
  woken = false
  /** The key has changed since the load began: what it brings is not kept. */
  overtaken = false
  /** When it began to know what it brings, counted in changes and by the clock. */
  stamp = 0
  beganMs = 0
  turn: Turn | undefined
  /** Since when the entry is known that was there when it began to wait for another process' load. */
  waitsOver: number | undefined
  /** It takes the turn although a load of the key has failed just now. */
  insists = false
  /** It had the turn and has it no more. */
  turnLost = false
  /** An old value, which everybody is answered meanwhile. */
  fallback: Entry<V> | undefined
  /** The far tier is asked for another fallback. */
  looksAside = false
  /** Ends the wait for another process' load. */
  wake: (() => void) | undefined
  /** Ends the renewal of the turn. */
  stopRenewing: (() => void) | undefined
  /** Set while somebody waits who may not be answered by it. */
  cancelPatience: (() => void) | undefined

  constructor(
    readonly key: string,
    /** Load although an entry of the far tier that is no newer than this is fresh. */
    public over: number | undefined,
    /** The turn of an earlier flight of this process, which counts no more. */
    readonly replaces: string | undefined,
    public group: Group<V> | undefined,
  ) {}

  begin(stamp: number, nowMs: number): void {
    this.stamp = stamp
    this.beganMs = nowMs
  }

  /** `caller` waits until it ends, `signal` aborts, or a load has taken longer than `loadTimeoutMs`. */
  join(
    { resolve, reject }: Caller<V>,
    stamp: number,
    late: Lateness,
    loadTimeoutMs: number,
    clock: Clock,
    signal: AbortSignal | undefined,
  ): void {
    const waiter: Waiter<V> = { resolve, reject, stamp, late, settled: false }
    this.waiters.push(waiter)
    if (this.phase !== 'look') this.bound(waiter, loadTimeoutMs, clock)
    if (signal) {
      waiter.unwatch = onAbort(signal, () => {
        if (!settle(waiter)) return
        this.letGo()
        reject(signal.reason as Error)
      })
    }
  }

  /** From now on those who wait do so for a load. */
  enter(phase: 'turn' | 'load', loadTimeoutMs: number, clock: Clock): void {
    this.phase = phase
    for (const waiter of this.waiters) this.bound(waiter, loadTimeoutMs, clock)
  }

  private bound(waiter: Waiter<V>, loadTimeoutMs: number, clock: Clock): void {
    if (loadTimeoutMs === Infinity || waiter.settled || waiter.cancelTimer) return
    waiter.cancelTimer = callTimeout(clock, loadTimeoutMs, () => {
      if (!settle(waiter)) return
      this.letGo()
      waiter.reject(
        new WaitTimeoutError(`cache: ${JSON.stringify(this.key)} was not loaded within ${loadTimeoutMs} ms`),
      )
    })
  }

  /** Those who gave up do not stay in memory for as long as a load runs. */
  private letGo(): void {
    if (++this.gone * 2 < this.waiters.length) return
    this.gone = 0
    this.waiters = this.waiters.filter(({ settled }) => !settled)
  }

  /** Those of whom `which` is true wait for it no more. */
  dismiss(which: (waiter: Waiter<V>) => boolean): readonly Waiter<V>[] {
    const leaves = (waiter: Waiter<V>): boolean => !waiter.settled && which(waiter)
    if (!this.waiters.some(leaves)) return nobody
    const dismissed = this.waiters.filter(leaves)
    const leaving = new Set(dismissed)
    this.waiters = this.waiters.filter((waiter) => !leaving.has(waiter))
    return dismissed
  }

  /** Ends the wait of all who wait for it. */
  settle(how: (waiter: Waiter<V>) => void): void {
    this.cancelPatience?.()
    this.cancelPatience = undefined
    const { waiters } = this
    if (waiters.length === 0) return
    this.waiters = []
    for (const waiter of waiters) if (settle(waiter)) how(waiter)
  }
}

/** Whether it was still waiting. */
function settle<V>(waiter: Waiter<V>): boolean {
  if (waiter.settled) return false
  waiter.settled = true
  waiter.cancelTimer?.()
  waiter.unwatch?.()
  return true
}
