import { createRequire } from 'node:module'
import { systemClock } from '../../core/clock.js'

interface RequestQueue {
  readonly pending: readonly unknown[]
  readonly throttledUntil: number
}
interface RequestQueueClass {
  readonly prototype: { scheduleCheckPendingRequests?: (this: RequestQueue) => void }
}

let done = false

/**
 * kafkajs 2.2.4 re-arms a timer with a negative delay after every request, about 900 times a second and connection,
 * although nothing waits (its issues 1704 and 1751). A check of an empty queue that is not throttled does nothing, so it
 * is left out here.
 */
export function stopIdleTimerLoop(): void {
  if (done) return
  done = true
  try {
    const load = createRequire(import.meta.url)
    const { prototype } = load('kafkajs/src/network/requestQueue/index.js') as RequestQueueClass
    const original = prototype.scheduleCheckPendingRequests
    if (!original) return
    prototype.scheduleCheckPendingRequests = function () {
      if (this.pending.length > 0 || this.throttledUntil > systemClock.wallMs()) original.call(this)
    }
  } catch {
    // Another version, laid out otherwise: it may cost some cycles, and works.
  }
}
