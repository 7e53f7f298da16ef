import type { Trip } from '../core/group-commit.js'

/** What is locked. The three kinds never meet: one name may be used for each of them. */
export type LockKind = 'mutex' | 'read-write' | 'semaphore'

/**
 * One hold, from its first try to its release. `front` and `number` together name its holder, and that name is never used
 * for another hold.
 */
export interface Claim {
  readonly kind: LockKind
  readonly key: string
  /** Random id of the lock object that asks. */
  readonly front: string
  /** Grows from claim to claim of a front. */
  readonly number: number
  /** Granted while the permits of all holders stay within `of`. A mutex is 1 of 1, a reader 1 of many, a writer all. */
  readonly permits: number
  readonly of: number
  /** How long the backend keeps the hold without a renewal. */
  readonly ttlMs: number
  /** How many fencing tokens the grant takes in a row: one for itself and one for each hand-over that may follow. */
  readonly tokens: number
  /** It will be tried until it is granted or released. A backend with a queue keeps its place until then. */
  readonly waits: boolean
}

/** Each may arrive twice, and takes effect once. */
export type LockCommand =
  | { readonly verb: 'acquire'; readonly claim: Claim }
  | { readonly verb: 'renew'; readonly claim: Claim }
  /**
   * Ends the hold, or withdraws the claim for good: an `acquire` of it that comes later grants nothing. Then tries `next`
   * in the same step, unless other fronts wait for the key. `absent`: of those who listen to what `watch` tells of, so many
   * were found not to wait for it.
   */
  | {
      readonly verb: 'release'
      readonly claim: Claim
      readonly next?: Claim | undefined
      readonly absent?: number | undefined
    }

/** The answer to a command. */
export interface LockReply {
  /** Of `acquire`: granted. Of `renew`: still held. Of `release`: it was held until now. */
  readonly ok: boolean
  /** When `acquire` or `renew` is `ok`: the backend keeps the hold for so long, at least, from when the command was sent. */
  readonly heldMs?: number | undefined
  /** Of a grant: the first of its fencing tokens; `undefined` where there are none. */
  readonly token?: bigint | undefined
  /** Of a refusal: trying again may help after so long, even if `watch` is silent. */
  readonly retryAfterMs?: number | undefined
  /**
   * Of a refusal of `next`: the release woke so many others. If the key has one permit, all of them shall have had it before
   * this front tries again: it lets them try first, at each release that `watch` tells of. Those who do not come are
   * `absent` for a while.
   */
  readonly others?: number | undefined
  /** Of a refusal: the claim was withdrawn before this try arrived. A new claim may be granted. */
  readonly withdrawn?: boolean | undefined
  /** Of a refusal: the claim keeps a place in the backend until it is released. */
  readonly queued?: boolean | undefined
  /** Of a release with `next`: the answer to that. */
  readonly next?: LockReply | undefined
}

/**
 * What a backend does for locks: one attempt per command, no waiting, no retry. Pass it to `createLock`,
 * `createReadWriteLock` or `createSemaphore`. `lockContract` of `spillway/lock/contract` is what a driver must pass.
 */
export interface LockDriver {
  /** Whether grants carry fencing tokens. */
  readonly fences: boolean
  /** Whether it knows read-write locks and semaphores. */
  readonly shares: boolean
  /** Holds last as long as a session of the driver, whatever the TTL of a claim. @defaultValue false */
  readonly holdsBySession?: boolean | undefined
  /** @throws RangeError for a key that the backend cannot lock. */
  checkKey?(kind: LockKind, key: string): void
  /** Commands of different lanes never come in one batch. Absent: all may. */
  lane?(kind: LockKind, key: string): string | number
  /**
   * Carries out commands of one front in order. An `Error` in a place fails that command alone. Calls `trip.sending()`
   * right before the first of them leaves the process.
   */
  commit(commands: readonly LockCommand[], trip: Trip): Promise<readonly (LockReply | Error)[]>
  /**
   * Calls `wake` whenever a claim of this front for this key may have become grantable, for this claim and those that
   * follow it, until the function that it returns is called. What happened between the last refusal and the moment from
   * which the watch stands must not be missed: `wake` is called then too. Absent: the backend cannot tell.
   */
  watch?(claim: Claim, wake: () => void): () => void
  /**
   * Calls `ended` when the driver is closed under its locks, before it frees anything: all holds of this front are lost
   * then. Returns what takes that back. Absent: the driver is not closed by itself.
   */
  onEnd?(ended: () => void): () => void
  /** Closes what the driver opened by itself and nobody uses now; it opens it again when it is needed. */
  rest?(): Promise<void>
}

/** The name of a hold's holder. */
export const holderOf = ({ front, number }: Claim): string => `${front}:${number}`
