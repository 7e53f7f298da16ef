import { onAbort } from '../core/abort.js'
import type { Clock } from '../core/clock.js'
import { outsideRequests } from '../core/context.js'
import type { Limit } from './bucket.js'
import { untilMs, type GiveBack, type Reservation } from './runs.js'

/** A place for tokens that are due later. */
interface Place {
  readonly reservation: Reservation
  readonly decidedMs: number
  readonly cost: number
  /** `total` of its line when it came. */
  readonly totalBefore: number
  before: Place | undefined
  behind: Place | undefined
  /** Tokens of those who left from between the one before it and itself. */
  skipped: number
  /** Ends the sleep of the call that waits, with an error if there is one. Absent: nobody waits. */
  readonly wake: ((error?: Error) => void) | undefined
  left: boolean
}

interface Line {
  head: Place | undefined
  tail: Place | undefined
  /** How many calls sleep in it. */
  sleepers: number
  /** Tokens of those who left from in front of the head, since the line began. */
  ahead: number
  /** Those, and all that are `skipped` in the line. */
  total: number
  cancelTimer: (() => void) | undefined
}

/**
 * Keeps reserved tokens in order until they are due: within a key, none is due before the one in front of it. When one is
 * given up, its tokens come to those behind it, who move up. To come and to leave takes the same time however many there are.
 */
export interface WaitingLine {
  /** Sleeps until the tokens are due. An abort rejects with the signal's reason, and `giveBack` has been called. */
  sleep(key: string, cost: number, reservation: Reservation, signal: AbortSignal | undefined): Promise<void>
  /** Keeps a place that nobody sleeps for. Returns what gives it up; its tokens are then still to be given back. */
  keep(key: string, cost: number, reservation: Reservation): () => void
  /** Whether any tokens of `key` are not due yet. */
  has(key: string): boolean
  /** Sends all sleepers away with `error`, and gives their tokens back. */
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
  function dueMs({ reservation: { outcome, spent }, decidedMs, totalBefore }: Place, { ahead }: Line): number {
    return decidedMs + untilMs(limits, outcome.levels, spent - (ahead - totalBefore), 0)
  }

  /** Wakes those at the head whose time has come, and sets the one timer of the line for the next. */
  function serve(key: string, line: Line): void {
    line.cancelTimer?.()
    line.cancelTimer = undefined
    for (let head = line.head; head; head = line.head) {
      const leftMs = dueMs(head, line) - clock.nowMs()
      if (leftMs > 0) {
        const unref = line.sleepers === 0
        line.cancelTimer = outsideRequests(() => clock.after(leftMs, () => serve(key, line), unref))
        return
      }
      remove(line, head)
      head.wake?.()
    }
    lines.delete(key)
  }

  function join(key: string, cost: number, reservation: Reservation, wake: Place['wake']): () => boolean {
    let line = lines.get(key)
    if (!line) {
      line = { head: undefined, tail: undefined, sleepers: 0, ahead: 0, total: 0, cancelTimer: undefined }
      lines.set(key, line)
    }
    const joined = line
    const place: Place = {
      reservation,
      decidedMs: clock.nowMs(),
      cost,
      totalBefore: joined.total,
      before: joined.tail,
      behind: undefined,
      skipped: 0,
      wake,
      left: false,
    }
    if (joined.tail) joined.tail.behind = place
    else joined.head = place
    joined.tail = place
    if (wake) joined.sleepers++
    // Also for the first sleeper, who keeps the timer of those for whom nobody waits.
    if (joined.head === place || (wake && joined.sleepers === 1)) serve(key, joined)
    return () => leave(key, joined, place)
  }

  function remove(line: Line, place: Place): void {
    const { before, behind, skipped, wake } = place
    place.left = true
    if (wake) line.sleepers--
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

  /** Lets those behind move up; false if it was due already, or had left. */
  function leave(key: string, line: Line, place: Place): boolean {
    if (place.left) return false
    const { behind } = place
    if (behind) {
      place.skipped += place.cost
      line.total += place.cost
    }
    const wasHead = line.head === place
    remove(line, place)
    // The timer is the head's, and of another kind once nobody sleeps.
    if (wasHead || (place.wake && line.sleepers === 0)) serve(key, line)
    return true
  }

  function giveBackAll(key: string, tokens: number, { outcome, spent }: Reservation): void {
    giveBack({ key, tokens, outcome, spent })
  }

  return {
    has: (key) => lines.has(key),
    async sleep(key, cost, reservation, signal) {
      if (dismissed || signal?.aborted) {
        giveBackAll(key, cost, reservation)
        throw dismissed ?? (signal?.reason as Error)
      }
      await new Promise<void>((resolve, reject) => {
        const unwatch =
          signal &&
          onAbort(signal, () => {
            if (!leave()) return
            giveBackAll(key, cost, reservation)
            reject(signal.reason as Error)
          })
        const leave = join(key, cost, reservation, (error) => {
          unwatch?.()
          if (error === undefined) resolve()
          else reject(error)
        })
      })
    },
    keep: (key, cost, reservation) => join(key, cost, reservation, undefined),
    dismiss(error) {
      dismissed = error
      for (const [key, line] of lines) {
        line.cancelTimer?.()
        for (let place = line.head; place; place = place.behind) {
          place.left = true
          if (!place.wake) continue
          giveBackAll(key, place.cost, place.reservation)
          place.wake(error)
        }
      }
      lines.clear()
    },
  }
}
