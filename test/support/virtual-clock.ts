import type { Clock } from '../../src/core/clock.js'

interface Timer {
  readonly dueMs: number
  readonly run: () => void
}

export interface VirtualClock extends Clock {
  /** Moves time on, runs what falls due on the way in order, and lets promises settle before and after each step. */
  advance(byMs: number): Promise<void>
  /** Timers set and neither run nor cancelled: a test that leaves some has found a leak. */
  readonly pending: number
}

/** Lets everything that is already resolved run, microtasks that make microtasks included. */
export async function settle(): Promise<void> {
  for (let i = 0; i < 3; i++) await new Promise<void>((resolve) => setImmediate(resolve))
}

/** Time for tests: starts at `startMs` and stands still until it is moved. */
export function virtualClock(startMs = 1_000_000): VirtualClock {
  let nowMs = startMs
  const timers = new Set<Timer>()
  const next = (untilMs: number): Timer | undefined => {
    let first: Timer | undefined
    for (const timer of timers) if (timer.dueMs <= untilMs && (!first || timer.dueMs < first.dueMs)) first = timer
    return first
  }
  return {
    nowMs: () => nowMs,
    wallMs: () => 1_700_000_000_000 + nowMs,
    after(delayMs, run) {
      const timer = { dueMs: nowMs + Math.max(0, delayMs), run }
      if (delayMs !== Infinity) timers.add(timer)
      return () => void timers.delete(timer)
    },
    async advance(byMs) {
      const untilMs = nowMs + byMs
      await settle()
      for (let timer = next(untilMs); timer; timer = next(untilMs)) {
        timers.delete(timer)
        nowMs = Math.max(nowMs, timer.dueMs)
        timer.run()
        await settle()
      }
      nowMs = untilMs
      await settle()
    },
    get pending() {
      return timers.size
    },
  }
}

/** A clock whose time can pass without a timer being run, as it does while the loop is blocked or the process stopped. */
export function blockableClock() {
  const clock = virtualClock()
  let blockedMs = 0
  return {
    ...clock,
    get pending() {
      return clock.pending
    },
    nowMs: () => clock.nowMs() + blockedMs,
    block: (ms: number) => void (blockedMs += ms),
  }
}
