import type { Clock } from '../core/clock.js'
import type { Limit } from './bucket.js'
import { untilMs, type Reservation } from './runs.js'

/** A call that sleeps until its tokens are due. */
interface Sleeper {
  readonly reservation: Reservation
  readonly decidedMs: number
  readonly cost: number
  /** Tokens that calls ahead of it gave back after it was served. */
  handedOn: number
  /** Ends the sleep, with an error if there is one. */
  readonly wake: (error?: Error) => void
}

interface Line {
  readonly sleepers: Sleeper[]
  cancelTimer: (() => void) | undefined
}

/**
 * Lets calls sleep until their tokens are due, in order within a key: none wakes before the one in front of it. When one
 * leaves, its tokens come to those behind it, who move up.
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
  readonly giveBack: (key: string, tokens: number) => void
}): WaitingLine {
  const { limits, clock, giveBack } = options
  const lines = new Map<string, Line>()
  let dismissed: Error | undefined

  const dueMs = ({ reservation: { levels, spent }, decidedMs, handedOn }: Sleeper): number =>
    decidedMs + untilMs(limits, levels, spent - handedOn, 0)

  /** Wakes those at the head whose time has come, and sets the one timer of the line for the next. */
  function serve(key: string, line: Line): void {
    line.cancelTimer?.()
    line.cancelTimer = undefined
    for (let head = line.sleepers[0]; head; head = line.sleepers[0]) {
      const leftMs = dueMs(head) - clock.nowMs()
      if (leftMs > 0) {
        line.cancelTimer = clock.after(leftMs, () => serve(key, line))
        return
      }
      line.sleepers.shift()
      head.wake()
    }
    lines.delete(key)
  }

  function leave(key: string, line: Line, sleeper: Sleeper): void {
    const place = line.sleepers.indexOf(sleeper)
    line.sleepers.splice(place, 1)
    for (let i = place; i < line.sleepers.length; i++) (line.sleepers[i] as Sleeper).handedOn += sleeper.cost
    giveBack(key, sleeper.cost)
    serve(key, line)
  }

  return {
    has: (key) => lines.has(key),
    async sleep(key, cost, reservation, signal) {
      if (dismissed || signal?.aborted) {
        giveBack(key, cost)
        throw dismissed ?? (signal?.reason as Error)
      }
      await new Promise<void>((resolve, reject) => {
        const line = lines.get(key) ?? { sleepers: [], cancelTimer: undefined }
        const onAbort = (): void => {
          leave(key, line, sleeper)
          sleeper.wake(signal?.reason as Error)
        }
        const sleeper: Sleeper = {
          reservation,
          decidedMs: clock.nowMs(),
          cost,
          handedOn: 0,
          wake(error) {
            signal?.removeEventListener('abort', onAbort)
            if (error === undefined) resolve()
            else reject(error)
          },
        }
        signal?.addEventListener('abort', onAbort, { once: true })
        lines.set(key, line)
        if (line.sleepers.push(sleeper) === 1) serve(key, line)
      })
    },
    dismiss(error) {
      dismissed = error
      for (const [key, line] of lines) {
        line.cancelTimer?.()
        for (const sleeper of line.sleepers) {
          giveBack(key, sleeper.cost)
          sleeper.wake(error)
        }
      }
      lines.clear()
    },
  }
}
