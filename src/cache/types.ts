import type { BackgroundListener } from '../core/background.js'
import type { Clock } from '../core/clock.js'
import type { Codec } from '../core/codec.js'

/** How a cache loads and keeps values. Durations are in milliseconds. */
export interface CacheOptions<V> {
  /**
   * Sets this cache's keys apart from those of every other name on the same tiers: `products.get('7')` and `users.get('7')`
   * are two values. Caches of one name share their values, so it names a kind of value, and is the same in every process.
   * Also the cache's name in events. A well-formed string of 1 to 8,192 bytes of UTF-8.
   */
  readonly name: string
  /**
   * Fetches one value; `undefined` means that there is none, and `null` is a value like any other. One run at a time per key
   * in this process, whatever fails. `signal` aborts when the cache is closed, and never because a caller has stopped waiting.
   */
  readonly load: (key: string, context: LoadContext) => Promise<V | undefined> | V | undefined
  /** Fetches many, for `getMany` and for gets that miss together. What the answer lacks, the source has not. */
  readonly loadMany?:
    | ((keys: readonly string[], context: LoadContext) => Promise<ReadonlyMap<string, V>> | ReadonlyMap<string, V>)
    | undefined
  /** How long a value is fresh. `Infinity`: until it is changed. */
  readonly ttlMs: number
  /** Share of `ttlMs`, 0 to 1, by which an expiry may come earlier, at random, so that entries do not expire together. @defaultValue 0.1 */
  readonly jitter?: number | undefined
  /**
   * How long past its expiry a value is still answered at once, to every caller, while one background load runs or the
   * source fails. A source that fails is asked again after 100 ms, then less and less often, up to every ten seconds.
   * @defaultValue 0
   */
  readonly staleMs?: number | undefined
  /** How long "there is none" is remembered. @defaultValue 0 */
  readonly absentTtlMs?: number | undefined
  /**
   * XFetch's beta: a value is loaded again shortly before it expires, by chance, the likelier the nearer the end and the
   * longer the load. So a hot value never makes anybody wait. Above 1 is earlier, 0 turns it off. After Vattani et al.,
   * "Optimal Probabilistic Cache Stampede Prevention", VLDB 2015.
   * @defaultValue 1
   */
  readonly earlyRefresh?: number | undefined
  /**
   * How long a caller waits for a load; then it gets a WaitTimeoutError. The load goes on, and its value is kept.
   * @defaultValue Infinity
   */
  readonly loadTimeoutMs?: number | undefined
  /**
   * One load per key across all processes that share the farthest tier: the others wait for its value. A living loader
   * keeps its turn however long it takes; after a crash another takes over within this time. A failed load fails the
   * callers of its own process; the others try in turn. It must be longer than any pause of a process.
   * @defaultValue each process loads by itself
   */
  readonly fleetLoadMs?: number | undefined
  /** What the value belongs to, for `invalidateTag`. */
  readonly tags?: ((key: string, value: V) => readonly string[]) | undefined
  /**
   * How a value becomes bytes. Required where JSON would not give it back as it was: where `V` has a date, a map, a set, bytes
   * or a class in it, and in generic code, which cannot know (`codec: jsonCodec<V>()`).
   * @defaultValue jsonCodec()
   */
  readonly codec?: Codec<V> | undefined
  /**
   * What memory answers while the bus is lost, which tells of other processes' changes. `'ask'`: nothing older than the loss;
   * the far tier is asked. `'trust'`: all that is still within its own time. That is for values that nobody changes or
   * invalidates, and that only grow old: an outage then costs no load.
   * @defaultValue 'ask'
   */
  readonly whenBusIsLost?: 'ask' | 'trust' | undefined
  /** Longest wait for a tier; past it the next tier, then the source, answers. @defaultValue 1_000 */
  readonly timeoutMs?: number | undefined
  /**
   * Told what fails while nobody waits for it: background loads, a tier that is away, changes that are repeated. What it
   * throws, or rejects with, becomes a process warning. @defaultValue process warnings, each text at most once a minute
   */
  readonly onBackgroundError?: BackgroundListener | undefined
  /** @defaultValue systemClock */
  readonly clock?: Clock | undefined
  /** Chance, from 0 to 1, for jitter and early refresh. @defaultValue Math.random */
  readonly random?: (() => number) | undefined
}

/** What a load is told. */
export interface LoadContext {
  /** Aborts when the cache is closed. */
  readonly signal: AbortSignal
}

/** How a value is looked up. */
export interface GetOptions {
  /** On abort the call rejects with its reason. The load goes on for others. */
  readonly signal?: AbortSignal | undefined
}

/** How a value is put in. */
export interface SetOptions {
  /** Instead of the cache's own. */
  readonly ttlMs?: number | undefined
}

/** What a cache has done since it was made. */
export interface CacheStats {
  /** Answers that were fresh in some tier. */
  readonly hits: number
  /** Answers for which the source was asked, failed ones included. */
  readonly misses: number
  /** Answers past their expiry. */
  readonly stale: number
  /** Calls of `load` and `loadMany`. */
  readonly loads: number
  readonly loadFailures: number
}

/**
 * A read-through cache. `get` answers from the nearest tier that knows, and loads what none does.
 *
 * A value is what the codec makes of it, whichever tier answers, and no caller can change it for another: plain data is
 * handed to all of them frozen, and anything else (dates, maps, bytes, objects with a class, which a codec of your own
 * may make) is decoded for each of them.
 *
 * Keys and tags are well-formed strings of 1 to 8,192 bytes of UTF-8. A wrong argument is a TypeError or a
 * RangeError; a call after `close`, or waiting when it comes, is a ClosedError.
 */
export interface Cache<V> extends AsyncDisposable {
  /**
   * The value, or `undefined` if the source has none. Rejects with what the load threw, with WaitTimeoutError after
   * `loadTimeoutMs`, or with `signal.reason` on abort, which leaves the load running for others. A tier that is away makes
   * nobody fail.
   */
  get(key: string, options?: GetOptions): Promise<V | undefined>
  /** Answers in the order asked, duplicates kept; one `loadMany` for all that miss. Fails if one of the keys does. */
  getMany(keys: readonly string[], options?: GetOptions): Promise<(V | undefined)[]>
  /**
   * Puts a value in. Wins over every load that began before, on any process.
   *
   * With a far tier that is away, `set`, `setMany`, `delete`, `invalidateTag` and `clear` change this process' memory, reject with
   * StoreUnavailableError, and are repeated when the tier is back: a set unless something newer came, the others in any
   * case, which may cost a load. Only the end of this process prevents that. While connected, other processes see a change
   * within a second.
   */
  set(key: string, value: V, options?: SetOptions): Promise<void>
  /**
   * Puts many values in, each as by `set`, in shared round trips: to seed a cache, or to store what a bulk query brought. Of
   * entries of one key the last counts. A wrong entry is an error before anything is changed; where the far tier takes some
   * of them and not others, the call rejects with the first failure.
   */
  setMany(entries: Iterable<readonly [key: string, value: V]>, options?: SetOptions): Promise<void>
  /** Removes values. Takes arrays as well: a call holds no more than about 100,000 arguments. A load that began before never brings them back, on any process, and a get after it starts a fresh one. */
  delete(...keys: readonly (string | readonly string[])[]): Promise<void>
  /** Ends every value that has the tag. As `delete` for loads that are under way. */
  invalidateTag(tag: string): Promise<void>
  /** Ends every value. What is in a far tier stays there, unused, until its time is over. */
  clear(): Promise<void>
  stats(): CacheStats
  /** Aborts loads, turns later calls away, and lets go of tiers. Clients stay open: they are yours. */
  close(): Promise<void>
}
