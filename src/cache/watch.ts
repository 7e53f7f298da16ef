import { callTimeout, type Clock } from '../core/clock.js'
import type { SharedStore, TierListener } from './driver.js'

/** How often the bus is asked for a sign of life, and how long that may take: together less than a second. */
const checkEveryMs = 400
const answerWithinMs = 400

/** For how long after a check was sent that has been answered what is told is sure to be no older than a second. */
const trustedMs = 1_000

/** After so many checks without an answer the connection is given up for another. */
const mostSilentChecks = 3

/** Who is told of changes, and until when it may be sure that it has been. */
export interface WatchListener extends TierListener {
  readonly trusted: (untilMs: number) => void
}

/**
 * Listens to the bus of a store, from the first `start` on, and notices when it has fallen silent. Its timers keep no process
 * alive.
 */
export interface Watch {
  start(): void
  close(): void
}

export function createWatch(store: SharedStore, origin: string, clock: Clock, listener: WatchListener): Watch {
  let listening: ReturnType<SharedStore['listen']> | undefined
  let isHeard = false
  let silentChecks = 0
  let cancelTimer: (() => void) | undefined
  let closed = false

  function heard(): void {
    silentChecks = 0
    if (isHeard) return
    isHeard = true
    listener.trusted(clock.nowMs() + trustedMs)
    listener.heard()
  }

  function lost(): void {
    if (!isHeard) return
    isHeard = false
    listener.lost()
  }

  function checkLater(): void {
    if (!closed) cancelTimer = clock.after(checkEveryMs, check, true)
  }

  function check(): void {
    const sentMs = clock.nowMs()
    let answered = false
    let isSilent = true
    const done = (): void => {
      if (answered || closed) return
      answered = true
      cancelTimer?.()
      checkLater()
    }
    // A process that was busy finds its timer due and the answer on its doorstep: it looks there before it judges.
    const unanswered = (): void => {
      lost()
      if (isSilent && ++silentChecks >= mostSilentChecks) {
        silentChecks = 0
        listening?.reopen()
      }
      done()
    }
    cancelTimer = callTimeout(clock, answerWithinMs, unanswered, true)
    listening?.check().then(
      () => {
        if (closed) return
        heard()
        listener.trusted(sentMs + trustedMs)
        done()
      },
      () => (isSilent = false),
    )
  }

  return {
    start() {
      if (listening || closed) return
      listening = store.listen(origin, { ...listener, heard, lost })
      checkLater()
    },
    close() {
      closed = true
      cancelTimer?.()
      listening?.close()
    },
  }
}
