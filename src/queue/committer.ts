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
  let cancel: (() => void) | undefined
  let stopped = false
  let failures = 0

  const flush = (): Promise<void> => {
    const next = underWay.then(commit)
    underWay = next.catch(() => undefined)
    return next
  }
  const wanted = (): void => {
    if (stopped) return
    cancel ??= clock.after(failures === 0 ? commitEveryMs : afterFailure(failures), () => {
      void flush().then(
        () => {
          failures = 0
          cancel = undefined
        },
        (error: unknown) => {
          failures++
          report(error)
          cancel = undefined
          wanted()
        },
      )
    })
  }
  return {
    wanted,
    flush,
    stop() {
      stopped = true
      cancel?.()
    },
  }
}
