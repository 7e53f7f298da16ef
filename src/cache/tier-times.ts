import type { Clock } from '../core/clock.js'

/** Tells the times of a tier from those of this process, by what its replies have said. */
export interface TierTimes {
  isKnown(lane: string | number): boolean
  /** A reply to what was sent at `sentMs` by our clock says that it was `atMs` at the tier, at the most. */
  learn(lane: string | number, sentMs: number, atMs: number): void
  /**
   * The tier's time at `atMs` of ours, or a little later. No two stamps of a lane are the same, and each is above the last:
   * changes are in the order in which they were stamped.
   */
  stamp(lane: string | number, atMs: number): number
}

interface Lane {
  /** The tier's time less ours, at the most. */
  aheadMs: number
  lastMs: number
}

/** Above what a number of the size of today's milliseconds can resolve. */
const leastMs = 0.001

export function createTierTimes(clock: Clock): TierTimes {
  const lanes = new Map<string | number, Lane>()
  return {
    isKnown: (lane) => lanes.has(lane),
    learn(lane, sentMs, atMs) {
      const known = lanes.get(lane)
      const mostMs = atMs - sentMs
      const leastMs = atMs - clock.nowMs()
      if (!known) lanes.set(lane, { aheadMs: mostMs, lastMs: -Infinity })
      // A bound from a quicker round trip is better, unless the clocks have drifted apart since.
      else if (mostMs < known.aheadMs || known.aheadMs < leastMs) known.aheadMs = mostMs
    },
    stamp(lane, atMs) {
      const known = lanes.get(lane)
      if (!known) throw new Error('the time of the tier is not known')
      known.lastMs = Math.max(atMs + known.aheadMs, known.lastMs + leastMs)
      return known.lastMs
    },
  }
}
