/** Takes a lock for one caller; resolves to what frees it. */
export type Acquire = (caller: number) => Promise<() => Promise<unknown>>

/** What came of some callers taking and freeing a lock for some time. */
export interface Contention {
  /** Pairs of acquire and release. */
  readonly perSecond: number
  /** How often the callers were served who were served most and least. */
  readonly most: number
  readonly fewest: number
  /** How long all but the slowest hundredth of the acquires took. */
  readonly p99Ms: number
}

const mostWaits = 1_000_000

/** Lets `callers` take and free a lock over and over for so many seconds. */
export async function contend(acquire: Acquire, callers: number, seconds: number): Promise<Contention> {
  const counts = new Array<number>(callers).fill(0)
  const waits: number[] = []
  const startedMs = performance.now()
  const untilMs = startedMs + seconds * 1_000
  const caller = async (place: number): Promise<void> => {
    for (let nowMs = startedMs; nowMs < untilMs;) {
      const release = await acquire(place)
      const gotMs = performance.now()
      if (waits.length < mostWaits) waits.push(gotMs - nowMs)
      await release()
      nowMs = performance.now()
      counts[place] = (counts[place] as number) + 1
      // Hand-overs need no trip: now and then the event loop has its turn, as between two requests.
      if (counts[place] % 256 === 0) await new Promise((resolve) => setImmediate(resolve))
    }
  }
  await Promise.all(counts.map((_, place) => caller(place)))
  const seconds_ = (performance.now() - startedMs) / 1_000
  waits.sort((a, b) => a - b)
  return {
    perSecond: counts.reduce((sum, count) => sum + count, 0) / seconds_,
    most: Math.max(...counts),
    fewest: Math.min(...counts),
    p99Ms: waits[Math.floor(waits.length * 0.99)] ?? 0,
  }
}
