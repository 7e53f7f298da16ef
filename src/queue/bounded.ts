import { sleep, type Clock } from '../core/clock.js'

/** Waits for `work` no longer than `limitMs`; a failure of it ends the wait as well. Tells whether it ended in time. */
export async function bounded(work: Promise<unknown>, limitMs: number, clock: Clock): Promise<boolean> {
  if (limitMs <= 0) return false
  const over = new AbortController()
  const ended = work.then(
    () => true,
    () => true,
  )
  const late = sleep(limitMs, { clock, signal: over.signal }).then(
    () => false,
    () => false,
  )
  const inTime = await Promise.race([ended, late])
  over.abort()
  return inTime
}
