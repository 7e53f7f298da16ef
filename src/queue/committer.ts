import { exponentialBackoff } from '../core/backoff.js'
import type { BackgroundReport } from '../core/background.js'
import type { Clock } from '../core/clock.js'

/** Commits now and then: often enough that little is handled again after a crash, and not once per message. */
export interface Committer {
  /** There is something to commit. */
  wanted(): void
  /** Commits what there is by now. Rejects when that fails. */
  flush(): Promise<void>
  stop(): void
}

const commitEveryMs = 200
const afterFailure = exponentialBackoff({ baseMs: commitEveryMs, maxMs: 10_000 })

/** `commit` commits everything that is due, and does nothing when nothing is. */
export function createCommitter(commit: () => Promise<void>, report: BackgroundReport, clock: Clock): Committer {
  let underWay: Promise<void> = Promise.resolve()
  let due = false
  /** From the start of the wait until the commit has ended: one round at a time. */
  let busy = false
  let cancel: (() => void) | undefined
  let stopped = false
  let failures = 0

  const flush = (): Promise<void> => {
    const next = underWay.then(commit)
    underWay = next.catch(() => undefined)
    return next
  }
  const failed = (error: unknown): void => {
    failures++
    due = true
    report(error)
  }
  const begin = (): void => {
    if (stopped || busy || !due) return
    busy = true
    cancel = clock.after(failures === 0 ? commitEveryMs : afterFailure(failures), () => {
      due = false
      void flush()
        .then(() => (failures = 0), failed)
        .then(() => {
          busy = false
          // What finished while the commit was under way is not in it.
          begin()
        })
    })
  }
  return {
    wanted() {
      due = true
      begin()
    },
    flush,
    stop() {
      stopped = true
      cancel?.()
    },
  }
}
