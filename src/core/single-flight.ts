/**
 * One run at a time per key: callers that come while it is under way share its outcome, good or bad. The key is free
 * again before anyone learns the outcome, so a caller that tries again after a failure starts one new run, not many.
 *
 * After Go's x/sync/singleflight.
 */
export interface SingleFlight<T> {
  run(key: string, work: () => Promise<T>): Promise<T>
  /** Lets the next caller start afresh although a run is under way. That run goes on for those who wait for it. */
  forget(key: string): void
}

export function createSingleFlight<T>(): SingleFlight<T> {
  const flights = new Map<string, Promise<T>>()
  return {
    run(key, work) {
      const known = flights.get(key)
      if (known) return known
      const flight = (async () => work())().finally(() => {
        if (flights.get(key) === flight) flights.delete(key)
      })
      flights.set(key, flight)
      return flight
    },
    forget: (key) => void flights.delete(key),
  }
}
