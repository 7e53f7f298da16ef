import { exponentialBackoff } from '../core/backoff.js'
import type { Clock } from '../core/clock.js'

/** Which lanes of a tier answer. One that does not is left alone, and tried now and then without anybody waiting for it. */
export interface Breaker {
  /** Whether the lane may be asked. If not, and it is time, `probe` is run in the background. */
  allows(lane: string | number, probe: () => Promise<unknown>): boolean
  failed(lane: string | number, error: unknown): void
  worked(lane: string | number): void
  /** Takes all of them for working. */
  reset(): void
}

interface Broken {
  attempts: number
  retryAtMs: number
}

const backoff = exponentialBackoff({ baseMs: 100, maxMs: 1_000 })

/** `onBreak` is told the first failure of a lane that had worked. */
export function createBreaker(clock: Clock, onBreak: (error: unknown) => void): Breaker {
  const broken = new Map<string | number, Broken>()

  function failed(lane: string | number, error: unknown): void {
    let state = broken.get(lane)
    if (!state) {
      state = { attempts: 0, retryAtMs: 0 }
      broken.set(lane, state)
      onBreak(error)
    }
    state.attempts++
    state.retryAtMs = clock.nowMs() + backoff(state.attempts)
  }

  return {
    allows(lane, probe) {
      if (broken.size === 0) return true
      const state = broken.get(lane)
      if (!state) return true
      if (clock.nowMs() >= state.retryAtMs) {
        state.retryAtMs = Infinity
        probe().then(
          () => broken.delete(lane),
          (error: unknown) => failed(lane, error),
        )
      }
      return false
    },
    failed,
    worked: (lane) => void (broken.size > 0 && broken.delete(lane)),
    reset: () => broken.clear(),
  }
}
