import { callTimeout, type Clock } from '../../core/clock.js'

/** A moment before which several answers have to come. Costs one timer, and none once they are in. */
export interface Deadline {
  /** Calls `late` when it passes, unless the function that it returns is called before. */
  watch(late: () => void): () => void
}

export function createDeadline(clock: Clock, ms: number): Deadline {
  const atMs = clock.nowMs() + ms
  const watching = new Set<() => void>()
  let cancel: (() => void) | undefined

  function pass(): void {
    cancel = undefined
    for (const late of [...watching]) late()
    watching.clear()
  }

  return {
    watch(late) {
      watching.add(late)
      cancel ??= callTimeout(clock, Math.max(0, atMs - clock.nowMs()), pass)
      return () => {
        if (!watching.delete(late) || watching.size > 0) return
        cancel?.()
        cancel = undefined
      }
    },
  }
}
