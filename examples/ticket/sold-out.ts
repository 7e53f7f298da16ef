import type { StockLevel } from 'spillway/stock'

/** Whether all tickets of a show are sold, as this process saw it: none is left, and none is held that might come back. */
export interface SoldOut {
  /** As it was a quarter of a second ago at most; a show that was not sold out is not looked at. */
  now(): Promise<boolean>
  /** Told that none was left. */
  suspect(): void
}

const lookEveryMs = 250

export function createSoldOut(level: () => Promise<StockLevel>): SoldOut {
  let soldOut = false
  let lookedAtMs = -Infinity
  let looking: Promise<boolean> | undefined

  async function look(): Promise<boolean> {
    try {
      const { available, held } = await level()
      soldOut = available === 0 && held === 0
    } catch {
      // A stock that does not answer is not known to be sold out.
      soldOut = false
    }
    lookedAtMs = performance.now()
    looking = undefined
    return soldOut
  }
  const isFresh = (): boolean => performance.now() - lookedAtMs < lookEveryMs

  return {
    now: async () => soldOut && (isFresh() || (looking ??= look())),
    suspect() {
      if (!isFresh()) looking ??= look()
    },
  }
}
