import { exponentialBackoff } from '../core/backoff.js'
import type { Clock } from '../core/clock.js'

/** Which keys have failed to load just now, so that their old values are answered for a while without another try. */
export interface Failures {
  note(key: string): void
  forget(key: string): void
  isRecent(key: string): boolean
  clear(): void
}

const backoff = exponentialBackoff({ baseMs: 100, maxMs: 10_000 })

/** Keys that are kept in mind. */
const most = 10_000

export function createFailures(clock: Clock): Failures {
  const failures = new Map<string, { readonly count: number; readonly untilMs: number }>()
  return {
    note(key) {
      const count = (failures.get(key)?.count ?? 0) + 1
      failures.delete(key)
      failures.set(key, { count, untilMs: clock.nowMs() + backoff(count) })
      for (const oldest of failures.keys()) {
        if (failures.size <= most) break
        failures.delete(oldest)
      }
    },
    forget: (key) => void (failures.size > 0 && failures.delete(key)),
    isRecent(key) {
      if (failures.size === 0) return false
      const failure = failures.get(key)
      return failure !== undefined && clock.nowMs() < failure.untilMs
    },
    clear: () => failures.clear(),
  }
}
