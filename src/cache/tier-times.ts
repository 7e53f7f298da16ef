import type { Clock } from '../core/clock.js'

/** Tells the times of a tier from those of this process, by what its replies have said. */
export interface TierTimes {
  isKnown(lane: string | number): boolean
  /** A reply to what was sent at `sentMs` by our clock says that it was `atMs` at the tier, at the most. */
  learn(lane: string | number, sentMs: number, atMs: number): void
  /** The tier's time at `atMs` of ours, or a little later; and later than `afterMs`, the stamp of what came before. */
  stamp(lane: string | number, atMs: number, afterMs: number): number
  /** Whether a stamp is below the time of which it was: the tier's clock has gone forward since, as it does with a new master. */
  isOutdated(lane: string | number, atMs: number, stampMs: number): boolean
}

interface Lane {
  /** The tier's time less ours, at the most. */
  aheadMs: number
  /** The same at the least, by the newest reply. */
  leastMs: number
}

/** A tier may round what it says up to the next millisecond. */
const exactToMs = 1

/** Above what a number of the size of today's milliseconds can resolve. */
const apartMs = 0.001

/** `slowestMs`: a reply that took longer says too little. */
export function createTierTimes(clock: Clock, slowestMs: number): TierTimes {
  const lanes = new Map<string | number, Lane>()
  return {
    isKnown: (lane) => lanes.has(lane),
    learn(lane, sentMs, atMs) {
      if (clock.nowMs() - sentMs > slowestMs) return
      const known = lanes.get(lane)
      const mostMs = atMs - sentMs
      const leastMs = atMs - clock.nowMs() - exactToMs
      if (!known) return void lanes.set(lane, { aheadMs: mostMs, leastMs })
      known.leastMs = leastMs
      // A bound from a quicker round trip is better, unless the clocks have drifted apart since.
      if (mostMs < known.aheadMs || known.aheadMs < leastMs) known.aheadMs = mostMs
    },
    stamp(lane, atMs, afterMs) {
      const known = lanes.get(lane)
      if (!known) throw new Error('the time of the tier is not known')
      return Math.max(atMs + known.aheadMs, afterMs + apartMs)
    },
    isOutdated: (lane, atMs, stampMs) => stampMs < atMs + (lanes.get(lane)?.leastMs ?? -Infinity),
  }
}
