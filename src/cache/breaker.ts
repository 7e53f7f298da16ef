import { exponentialBackoff } from '../core/backoff.js'
import type { Clock } from '../core/clock.js'

/** Which lanes of a tier answer. One that does not is left alone, and tried now and then without anybody waiting for it. */
export interface Breaker {
  /** Whether the lane may be asked. If not, and it is time, `probe` is run in the background. */
  allows(lane: string | number, probe: () => Promise<unknown>): boolean
  /** What the lane failed with, if it may not be asked. */
  failure(lane: string | number): unknown
  /** Runs `probe` in the background if the lane may not be asked and no probe runs. */
  retry(lane: string | number, probe: () => Promise<unknown>): void
  failed(lane: string | number, error: unknown): void
  worked(lane: string | number): void
  /** Takes all of them for working. */
  reset(): void
}

interface Broken {
  error: unknown
  attempts: number
  retryAtMs: number
}

const backoff = exponentialBackoff({ baseMs: 100, maxMs: 1_000 })

/** `onBreak` is told the first failure of a lane that had worked. */
export function createBreaker(clock: Clock, onBreak: (error: unknown) => void): Breaker {
  const broken = new Map<string | number, Broken>()

  function attempt(lane: string | number, state: Broken, probe: () => Promise<unknown>): void {
    state.retryAtMs = Infinity
    probe().then(
      () => broken.delete(lane),
      (error: unknown) => failed(lane, error),
    )
  }

  function failed(lane: string | number, error: unknown): void {
    let state = broken.get(lane)
    if (!state) {
      state = { error, attempts: 0, retryAtMs: 0 }
      broken.set(lane, state)
      onBreak(error)
    }
    state.error = error
    state.attempts++
    state.retryAtMs = clock.nowMs() + backoff(state.attempts)
  }

  return {
    allows(lane, probe) {
      if (broken.size === 0) return true
      const state = broken.get(lane)
      if (!state) return true
      if (clock.nowMs() >= state.retryAtMs) attempt(lane, state, probe)
      return false
    },
    failure: (lane) => (broken.size === 0 ? undefined : broken.get(lane)?.error),
    retry(lane, probe) {
      const state = broken.get(lane)
      if (state && state.retryAtMs !== Infinity) attempt(lane, state, probe)
    },
    failed,
    worked: (lane) => void (broken.size > 0 && broken.delete(lane)),
    reset: () => broken.clear(),
  }
}
