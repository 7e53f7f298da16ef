import type { Trip } from '../core/group-commit.js'

/** A key and one of its touches. Later touches have greater numbers. */
export interface Touch {
  readonly key: string
  readonly touch: string
}

/** What became of the touches of a trip. */
export interface Touched {
  /** In how many milliseconds the first of the keys is due: `delayMs` after its first touch, or after its last flush. */
  readonly dueMs: number
  /** Their number. */
  readonly touch: string
}

/** A touched key in the hands of a process that flushes it, and the newest touch that this flush sees. */
export type Claim = Touch

/** Which keys to claim, for whom, and for how long. */
export interface ClaimRequest {
  readonly owner: string
  readonly delayMs: number
  readonly leaseMs: number
  readonly limit: number
  /**
   * These, as soon as their last flush is long enough ago, unless some process has flushed them since that touch. Absent:
   * those that are due.
   */
  readonly keys?: readonly Touch[] | undefined
}

export interface Claimed {
  readonly claims: readonly Claim[]
  /** In how many milliseconds to ask again; `undefined` if nothing is left. */
  readonly nextMs: number | undefined
}

/** How a flush has ended, or that it goes on. */
export type Settlement =
  /** `tookMs`: how long ago the flush began. */
  | { readonly verb: 'done'; readonly tookMs: number }
  /** Not to be tried again before so long. */
  | { readonly verb: 'failed'; readonly retryMs: number }
  | { readonly verb: 'renew'; readonly leaseMs: number }

/** Where touched keys are. Those of one name go to the flushes that were started with that name, and to no other. */
export interface WriteBehindDriver {
  /** The touched keys of a name. Does no I/O. All that open the same name share them. */
  open(name: string): WriteBehindStore
}

/**
 * What a backend does with the touched keys of one name: it remembers them until they are flushed, and lends each to one
 * process at a time. One attempt per call, by its own clock; each may arrive twice. `writeBehindContract` of
 * `spillway/cache/contract` is what a driver must pass.
 */
export interface WriteBehindStore {
  touch(keys: readonly string[], delayMs: number, trip: Trip): Promise<Touched>
  claim(request: ClaimRequest, trip: Trip): Promise<Claimed>
  /** Answers for each whether it was still the owner's. */
  settle(
    owner: string,
    claims: readonly Claim[],
    how: Settlement,
    delayMs: number,
    trip: Trip,
  ): Promise<readonly boolean[]>
}
