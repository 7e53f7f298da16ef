/** From this many requests per second on, all processes together, it is a rush. */
const rushPerSecond = 2_000
const longestWaitMs = 5_000

/** Decides when the writing of orders waits: where they share a machine, it takes from the buyers what they need. */
export interface Courtesy {
  /** How many requests per second came lately. */
  doors(requestsPerSecond: number): void
  /** Whether to wait now, with so many orders unwritten. None waits much longer than five seconds for the buyers' sake. */
  mayWait(lag: number, nowMs: number): boolean
}

export function createCourtesy(): Courtesy {
  let rush = false
  let behindSinceMs: number | undefined
  return {
    doors(requestsPerSecond) {
      rush = requestsPerSecond >= rushPerSecond
    },
    mayWait(lag, nowMs) {
      behindSinceMs = lag === 0 ? undefined : (behindSinceMs ?? nowMs)
      // Once resumed it catches up before it waits again, however long the rush lasts.
      return rush && nowMs - (behindSinceMs ?? nowMs) < longestWaitMs
    },
  }
}
