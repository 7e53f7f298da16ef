import { onAbort } from '../core/abort.js'
import type { Clock } from '../core/clock.js'
import { outsideRequests } from '../core/context.js'
import type { Limit } from './bucket.js'
import { untilMs, type GiveBack, type Reservation } from './runs.js'

/** A call that sleeps until its tokens are due. */
interface Sleeper {
  readonly reservation: Reservation
  readonly decidedMs: number
  readonly cost: number
  /** `total` of its line when it came. */
  readonly totalBefore: number
  before: Sleeper | undefined
  behind: Sleeper | undefined
  /** Tokens of those who left from between the one before it and itself. */
  skipped: number
  /** Ends the sleep, with an error if there is one. */
  readonly wake: (error?: Error) => void
}

interface Line {
  head: Sleeper | undefined
  tail: Sleeper | undefined
  /** Tokens of those who left from in front of the head, since the line began. */
  ahead: number
  /** Those, and all that are `skipped` in the line. */
  total: number
  cancelTimer: (() => void) | undefined
}

/**
 * Lets calls sleep until their tokens are due, in order within a key: none wakes before the one in front of it. When one
 * leaves, its tokens come to those behind it, who move up. To come and to leave takes the same time however many sleep.
 */
export interface WaitingLine {
  /** Sleeps. An abort rejects with the signal's reason, and `giveBack` has been called. */
  sleep(key: string, cost: number, reservation: Reservation, signal: AbortSignal | undefined): Promise<void>
  /** Whether anyone sleeps for `key`. */
  has(key: string): boolean
  /** Sends everyone away with `error`, and gives their tokens back. */
  dismiss(error: Error): void
}

export function createWaitingLine(options: {
  readonly limits: readonly Limit[]
  readonly clock: Clock
  readonly giveBack: (unused: GiveBack) => void
}): WaitingLine {
  const { limits, clock, giveBack } = options
  const lines = new Map<string, Line>()
  let dismissed: Error | undefined

  /** When the head's tokens are due: what those gave back who left from in front of it after it was served is its own. */
  function dueMs({ reservation: { outcome, spent }, decidedMs, totalBefore }: Sleeper, { ahead }: Line): number {
    return decidedMs + untilMs(limits, outcome.levels, spent - (ahead - totalBefore), 0)
  }

  /** Wakes those at the head whose time has come, and sets the one timer of the line for the next. */
  function serve(key: string, line: Line): void {
    line.cancelTimer?.()
    line.cancelTimer = undefined
    for (let head = line.head; head; head = line.head) {
      const leftMs = dueMs(head, line) - clock.nowMs()
      if (leftMs > 0) {
        line.cancelTimer = outsideRequests(() => clock.after(leftMs, () => serve(key, line)))
        return
      }
      remove(line, head)
      head.wake()
    }
    lines.delete(key)
  }

  function append(line: Line, sleeper: Sleeper): void {
    sleeper.before = line.tail
    if (line.tail) line.tail.behind = sleeper
    else line.head = sleeper
    line.tail = sleeper
  }

  function remove(line: Line, { before, behind, skipped }: Sleeper): void {
    if (before) before.behind = behind
    else line.head = behind
    if (behind) {
      behind.before = before
      behind.skipped += skipped
    } else {
      line.tail = before
      // Nobody who is in the line now, and nobody who comes, was served before they left.
      line.total -= skipped
    }
    if (before || !behind) return
    line.ahead += behind.skipped
    behind.skipped = 0
  }

  function leave(key: string, line: Line, sleeper: Sleeper): void {
    const { behind } = sleeper
    if (behind) {
      sleeper.skipped += sleeper.cost
      line.total += sleeper.cost
    }
    const wasHead = line.head === sleeper
    remove(line, sleeper)
    giveBackAll(key, sleeper)
    if (wasHead) serve(key, line)
  }

  function giveBackAll(key: string, { cost, reservation: { outcome, spent } }: Sleeper): void {
    giveBack({ key, tokens: cost, outcome, spent })
  }

  return {
    has: (key) => lines.has(key),
    async sleep(key, cost, reservation, signal) {
      if (dismissed || signal?.aborted) {
        giveBack({ key, tokens: cost, outcome: reservation.outcome, spent: reservation.spent })
        throw dismissed ?? (signal?.reason as Error)
      }
      await new Promise<void>((resolve, reject) => {
        let line = lines.get(key)
        if (!line) {
          line = { head: undefined, tail: undefined, ahead: 0, total: 0, cancelTimer: undefined }
          lines.set(key, line)
        }
        const joined = line
        const sleeper: Sleeper = {
          reservation,
          decidedMs: clock.nowMs(),
          cost,
          totalBefore: joined.total,
          before: undefined,
          behind: undefined,
          skipped: 0,
          wake(error) {
            unwatch?.()
            if (error === undefined) resolve()
            else reject(error)
          },
        }
        const unwatch =
          signal &&
          onAbort(signal, () => {
            leave(key, joined, sleeper)
            sleeper.wake(signal.reason as Error)
          })
        append(joined, sleeper)
        if (joined.head === sleeper) serve(key, joined)
      })
    },
    dismiss(error) {
      dismissed = error
      for (const [key, line] of lines) {
        line.cancelTimer?.()
        for (let sleeper = line.head; sleeper; sleeper = sleeper.behind) {
          giveBackAll(key, sleeper)
          sleeper.wake(error)
        }
      }
      lines.clear()
    },
  }
}
