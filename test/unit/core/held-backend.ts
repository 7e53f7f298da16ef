import { createGroupCommit, type GroupCommitOptions, type Trip } from '../../../src/core/group-commit.js'
import { virtualClock } from '../../support/virtual-clock.js'

/** One trip that has arrived at the backend and waits for the test to answer it. */
export interface HeldTrip {
  readonly requests: readonly string[]
  readonly trip: Trip
  /** Answers every request with itself in upper case, or with `replies`. */
  answer(replies?: readonly (string | Error)[]): void
  fail(error: unknown): void
}

export interface HeldBackend {
  readonly trips: readonly HeldTrip[]
  /** The requests of every trip so far, in the order in which the trips arrived. */
  readonly batches: readonly (readonly string[])[]
  /** Calls `sending` at once, as a driver does whose connection is up. */
  readonly sent: (requests: readonly string[], trip: Trip) => Promise<readonly (string | Error)[]>
  /** Never calls `sending` by itself, as a driver does whose connection is down. */
  readonly unsent: (requests: readonly string[], trip: Trip) => Promise<readonly (string | Error)[]>
}

/** A backend that holds every trip until the test lets it land. */
export function heldBackend(): HeldBackend {
  const trips: HeldTrip[] = []
  const unsent: HeldBackend['unsent'] = (requests, trip) =>
    new Promise((resolve, reject) => {
      trips.push({
        requests,
        trip,
        answer: (replies = requests.map((request) => request.toUpperCase())) => resolve(replies),
        fail: reject,
      })
    })
  return {
    trips,
    get batches() {
      return trips.map(({ requests }) => requests)
    },
    unsent,
    sent: (requests, trip) => {
      trip.sending()
      return unsent(requests, trip)
    },
  }
}

/** A group commit over such a backend, on a clock that is turned by hand. */
export function heldCommit(options: Partial<GroupCommitOptions<string, string>> = {}) {
  const clock = virtualClock()
  const backend = heldBackend()
  const commit = createGroupCommit<string, string>({
    module: 'test',
    verb: 'try',
    run: backend.sent,
    clock,
    ...options,
  })
  return { clock, backend, commit }
}

/** What a promise has come to, to be looked at while it may still be pending. */
export interface Outcome {
  readonly state: 'pending' | 'resolved' | 'rejected'
  readonly value?: unknown
  /** How often it settled; anything but 0 and 1 is a defect. */
  readonly times: number
}

export function watched(promise: Promise<unknown>): Outcome {
  const outcome: { state: Outcome['state']; value?: unknown; times: number } = { state: 'pending', times: 0 }
  const settle = (state: 'resolved' | 'rejected') => (value: unknown) => {
    outcome.state = state
    outcome.value = value
    outcome.times++
  }
  promise.then(settle('resolved'), settle('rejected'))
  return outcome
}
