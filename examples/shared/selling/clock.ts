import type { Cluster, Redis } from 'ioredis'
import { every } from '../run.js'

const everyMs = 2_000
const kept = 10
/** An answer that took longer says too little: it has waited for a connection. */
const longestTripMs = 1_000

/**
 * Redis' time, so that servers on several machines agree when a sale opens and when a place is due; the machine's until
 * Redis has answered. The clock is read every two seconds; of the last readings the one with the fastest answer counts, for
 * it knows the time best. In between the clock is monotonic.
 */
export function createSharedClock(redis: Redis | Cluster): { nowMs(): number; close(): Promise<void> } {
  const readings: { readonly tripMs: number; readonly aheadMs: number }[] = []
  let aheadMs = performance.timeOrigin
  const stop = every(everyMs, async () => {
    const askedMs = performance.now()
    const answer = await redis.time().catch(() => undefined)
    const tripMs = performance.now() - askedMs
    if (!answer || tripMs > longestTripMs) return
    const [seconds, micros] = answer
    readings.push({
      tripMs,
      aheadMs: Number(seconds) * 1_000 + Number(micros) / 1_000 + tripMs / 2 - performance.now(),
    })
    if (readings.length > kept) readings.shift()
    aheadMs = readings.reduce((best, one) => (one.tripMs < best.tripMs ? one : best)).aheadMs
  })
  return { nowMs: () => performance.now() + aheadMs, close: stop }
}
