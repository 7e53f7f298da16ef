import type { Clock } from '../core/clock.js'

/**
 * A held lock, or held permits. Release it, or let `await using` do so.
 *
 * A lease can end before that: its process was stopped for too long, the backend fell silent, somebody deleted the key.
 * `signal` tells. Work that must not overlap passes `signal` on, and hands `fencingToken` to the resource that it writes
 * to, so that the resource can refuse a holder that has not noticed yet.
 */
export interface Lease extends AsyncDisposable {
  readonly key: string
  /**
   * Grows with every grant of `key`, over holders, crashes and restarts. A re-entered lease has that of the lease it
   * re-entered. `undefined` where the backend cannot fence (Redlock).
   *
   * Tokens order exclusive holds: mutexes and writers, also a writer and the readers before and after it. Holds that are
   * shared (permits of a semaphore, readers) have tokens of their own each, but those that are held at the same time have
   * no order, and calls may return in another order than their tokens.
   */
  readonly fencingToken: bigint | undefined
  /**
   * Aborts with LockLostError when the hold ends before its release: by a monotonic deadline of this process that lies
   * before the moment from which the backend may grant the key to others, whether the backend is heard or not. A process
   * that was stopped past it learns at once on waking; fencing covers what it does until then.
   */
  readonly signal: AbortSignal
  /**
   * Ends the hold. Resolves to whether it was still held; asked again, to the same answer. Never frees the lock of
   * another holder. Rejects with StoreUnavailableError if the backend cannot be asked: then renewal has stopped, and the
   * TTL frees the key. Disposing does the same and never throws.
   */
  release(): Promise<boolean>
}

/** How to hold. */
export interface HoldOptions {
  /**
   * How long the key stays taken when the process that holds it dies, in milliseconds from the last renewal. On ZooKeeper
   * the session time-out decides instead.
   * @defaultValue `ttlMs` of the lock, by default 30_000
   */
  readonly ttlMs?: number | undefined
  /** Extends the hold every third of its TTL. Without it the hold is lost when the TTL has passed. @defaultValue true */
  readonly renew?: boolean | undefined
  /**
   * A lease of the same key from the same lock that is still held: the new lease joins its hold, at once and without a
   * trip, and the key is freed when all leases of the hold are released.
   */
  readonly reenter?: Lease | undefined
}

/** How to wait. */
export interface WaitOptions {
  /** WaitTimeoutError when so much time has passed; 0 tries once. @defaultValue Infinity */
  readonly maxWaitMs?: number | undefined
  /** Leaves when it aborts; the call rejects with the signal's reason. */
  readonly signal?: AbortSignal | undefined
}

/** Mutual exclusion by key. Most callers want {@link Lock.run}. */
export interface Lock extends AsyncDisposable {
  /** Tries once. `null` when the key is held, or when somebody in this process waits for it already. */
  tryAcquire(key: string, options?: HoldOptions): Promise<Lease | null>
  /**
   * Waits until the key is granted. Waiters are woken, they do not poll (across processes Redlock's can only poll). Within
   * a process first come is first served, on ZooKeeper everywhere. Rejects with WaitTimeoutError after `maxWaitMs`, with
   * the reason of `signal`, with StoreUnavailableError when the backend fails, with ClosedError after `close`; who leaves
   * leaves no trace.
   */
  acquire(key: string, options?: HoldOptions & WaitOptions): Promise<Lease>
  /**
   * Acquires, runs `body`, releases. `body` may be synchronous. It is not begun on a hold that has run out. Its value or
   * error is the call's, whatever becomes of the release.
   */
  run<T>(key: string, body: (lease: Lease) => Promise<T> | T, options?: HoldOptions & WaitOptions): Promise<T>
  /**
   * Rejects waiters with ClosedError, and ends what is still held: the `signal` of each lease aborts (LockLostError)
   * before `close` returns its promise, and its key is freed after that. Does not wait for bodies of `run` to return.
   */
  close(): Promise<void>
}

/** Options of every kind of lock. */
export interface LockOptions {
  /**
   * What metrics and events call the lock. It sets no keys apart: locks over the same keys exclude each other whatever
   * their names.
   * @defaultValue `'lock'`, `'read-write-lock'` or `'semaphore'`
   */
  readonly name?: string | undefined
  /** @defaultValue 30_000 */
  readonly ttlMs?: number | undefined
  /** How long the backend may take to answer one call; waiting for others is not counted. @defaultValue 1_000 */
  readonly timeoutMs?: number | undefined
  /**
   * How many times in a row one process may pass a key between its own callers, with no trip to the backend, before it
   * lets other processes in. Every hand-over has a fencing token of its own.
   * @defaultValue 0
   */
  readonly localHandovers?: number | undefined
  /** @defaultValue systemClock */
  readonly clock?: Clock | undefined
}

/**
 * Many readers or one writer, by key. Who waits is served in order within a process, so readers that come after a waiting
 * writer wait behind it. A writer's lease may be re-entered by either side, a reader's by readers only.
 */
export interface ReadWriteLock extends AsyncDisposable {
  readonly read: Lock
  readonly write: Lock
  /** Closes both, as {@link Lock.close} does. */
  close(): Promise<void>
}

/** A number of permits by key. A lease holds one or more of them. */
export interface Semaphore extends AsyncDisposable {
  /** Tries once. `null` when too few permits are left, or when somebody in this process waits for some already. */
  tryAcquire(key: string, options?: HoldOptions & { readonly permits?: number | undefined }): Promise<Lease | null>
  /** Waits for `permits` permits, 1 by default, all or none. Rejects as {@link Lock.acquire} does. */
  acquire(key: string, options?: HoldOptions & WaitOptions & { readonly permits?: number | undefined }): Promise<Lease>
  /** Ends waits and holds, as {@link Lock.close} does. */
  close(): Promise<void>
}

/** Options of a semaphore. All processes that share a key give the same number of permits. */
export interface SemaphoreOptions extends LockOptions {
  readonly permits: number
}
