// #region clock
import type { Clock } from 'spillway'

/** Time that stands still until a test moves it. */
export function virtualClock(): Clock & { advance(byMs: number): Promise<void> } {
  let nowMs = 0
  const timers = new Set<{ readonly dueMs: number; readonly run: () => void }>()
  return {
    nowMs: () => nowMs,
    wallMs: () => Date.UTC(2030, 0) + nowMs,
    after(delayMs, run) {
      const timer = { dueMs: nowMs + delayMs, run }
      timers.add(timer)
      return () => void timers.delete(timer)
    },
    async advance(byMs) {
      const untilMs = nowMs + byMs
      for (;;) {
        await new Promise(setImmediate) // lets promises settle that have all they wait for
        const [next] = [...timers].filter(({ dueMs }) => dueMs <= untilMs).sort((a, b) => a.dueMs - b.dueMs)
        if (!next) break
        timers.delete(next)
        nowMs = next.dueMs
        next.run()
      }
      nowMs = untilMs
    },
  }
}
// #endregion clock
