import type { StockLevel } from 'spillway/stock'

/** Whether all tickets of a show are sold, as a process last saw it: none is left, and none is held that might come back. */
export interface SoldOut {
  /** The last look, which is repeated in the background while it says so. */
  now(): boolean
  /** Told that none was left. */
  suspect(): void
}

const lookEveryMs = 250

export function createSoldOut(level: () => Promise<StockLevel>): SoldOut {
  let soldOut = false
  let lookedAtMs = -Infinity
  const look = (): void => {
    const nowMs = performance.now()
    if (nowMs - lookedAtMs < lookEveryMs) return
    lookedAtMs = nowMs
    level().then(
      ({ available, held }) => void (soldOut = available === 0 && held === 0),
      // A stock that does not answer is not known to be sold out.
      () => void (soldOut = false),
    )
  }
  return {
    now() {
      if (soldOut) look()
      return soldOut
    },
    suspect: look,
  }
}
