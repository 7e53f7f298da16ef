import { isJsonCodec } from '../core/codec.js'
import { quietUntilMs, scattered } from './expiry.js'
import { tagsOf, type Settings } from './check.js'
import type { FoundEntry, StoredEntry } from './driver.js'
import { copyOf, freeze, freezeTree, toBytes } from './value.js'

/** A value of this process with its times, by the process' clock. */
export class Entry<V> {
  /** What every caller is given, if they may share it and the entry is at hand. */
  answer: Promise<V | undefined> | undefined = undefined

  constructor(
    readonly value: V | undefined,
    /** The value is decoded from it for each caller; `undefined` if they share it. */
    readonly body: Uint8Array | undefined,
    /** Until then it is answered without a thought. */
    readonly quietUntilMs: number,
    readonly freshUntilMs: number,
    readonly staleUntilMs: number,
    readonly loadMs: number,
    /** Of which entry of the far tier it is a copy. */
    readonly sinceMs: number | undefined,
    readonly tags: readonly string[],
    /** What has changed since then may concern it. */
    readonly stamp: number,
  ) {}

  /** The same, with an end to it. */
  within(untilMs: number): Entry<V> {
    if (this.staleUntilMs <= untilMs) return this
    const until = [this.quietUntilMs, this.freshUntilMs, this.staleUntilMs].map((ms) => Math.min(ms, untilMs))
    const { value, body, loadMs, sinceMs, tags, stamp } = this
    return new Entry(value, body, ...(until as [number, number, number]), loadMs, sinceMs, tags, stamp)
  }
}

/** What is stored of a value, but for its birth, which the far tier knows. */
export type Unborn = Omit<StoredEntry, 'born'>

export interface Entries<V> {
  /**
   * What to store of a value that was loaded or set. `ttlMs` stands in for the cache's own.
   *
   * @throws TypeError if the codec cannot encode the value, or not decode what it made of it.
   */
  stored(key: string, value: V, loadMs: number, ttlMs?: number): Unborn
  /** What to store of "there is none"; `undefined` if that is not remembered. */
  absent(loadMs: number): Unborn | undefined
  /** The same for this process. */
  local(key: string, stored: Unborn, sinceMs: number | undefined, fromMs: number, stamp: number): Entry<V>
  /** What was found in a far tier; `undefined` if it cannot be decoded. */
  found(found: FoundEntry, fromMs: number, stamp: number): Entry<V> | undefined
  /** "There is none" that is not remembered. */
  nothing(stamp: number): Entry<V>
  /** The same as it is stored for the processes that wait for this load. No other get is answered with it. */
  passing(loadMs: number): Unborn
  valueOf(entry: Entry<V>): V | undefined
}

/** Whether "there is none" was stored only for those who waited for the load. */
export const isPassing = ({ body, staleMs }: FoundEntry): boolean => body === undefined && staleMs > 0

/** Longer than a process that waits goes without a look, also if it could not run for some seconds. */
const passingMs = 10_000

const none: readonly string[] = Object.freeze([])

export function createEntries<V>(settings: Settings<V>): Entries<V> {
  const { codec, ttlMs, staleMs, absentTtlMs, jitter, random, earlyRefresh } = settings

  function entry(
    body: Uint8Array | undefined,
    { freshMs, staleMs, loadMs, tags }: Omit<Unborn, 'body'>,
    sinceMs: number | undefined,
    fromMs: number,
    stamp: number,
  ): Entry<V> {
    let value: V | undefined
    let own: Uint8Array | undefined
    if (body !== undefined && isJsonCodec(codec)) {
      value = codec.decode(body)
      freezeTree(value)
    } else if (body !== undefined) {
      // A codec may answer with the very bytes that it is given, or change them.
      value = codec.decode(copyOf(body))
      if (!freeze(value)) {
        own = copyOf(body)
        value = undefined
      }
    }
    const until = fromMs + freshMs
    const quiet = quietUntilMs(until, loadMs, earlyRefresh)
    return new Entry(value, own, quiet, until, until + staleMs, loadMs, sinceMs, tags, stamp)
  }

  return {
    stored(key, value, loadMs, ownTtlMs = ttlMs) {
      const encoded = keepable(key, () => codec.encode(value))
      if (typeof encoded !== 'string' && !(encoded instanceof Uint8Array)) {
        throw new TypeError(`codec.encode must answer with a string or bytes, got ${typeof encoded}`)
      }
      const body = typeof encoded === 'string' ? encoded : copyOf(encoded)
      const tags = tagsOf(settings, key, value)
      return { body, freshMs: scattered(ownTtlMs, jitter, random), staleMs, loadMs, tags }
    },
    absent(loadMs) {
      if (absentTtlMs === 0) return undefined
      return { body: undefined, freshMs: scattered(absentTtlMs, jitter, random), staleMs: 0, loadMs, tags: none }
    },
    local(key, stored, sinceMs, fromMs, stamp) {
      const body = stored.body === undefined ? undefined : toBytes(stored.body)
      return keepable(key, () => entry(body, stored, sinceMs, fromMs, stamp))
    },
    found(found, fromMs, stamp) {
      try {
        return entry(found.body, found, found.sinceMs, fromMs, stamp)
      } catch {
        return undefined
      }
    },
    nothing: (stamp) => new Entry<V>(undefined, undefined, -Infinity, -Infinity, -Infinity, 0, undefined, none, stamp),
    passing: (loadMs) => ({ body: undefined, freshMs: 0, staleMs: passingMs, loadMs, tags: none }),
    valueOf: ({ body, value }) => (body === undefined ? value : codec.decode(copyOf(body))),
  }
}

/** The call that brought the value fails, and not a later get. */
function keepable<T>(key: string, make: () => T): T {
  try {
    return make()
  } catch (cause) {
    const why = isTooDeep(cause) ? 'it is nested too deeply' : cause instanceof Error ? cause.message : String(cause)
    throw new TypeError(`cache: the value of ${JSON.stringify(key)} cannot be kept: ${why}`, { cause })
  }
}

const isTooDeep = (error: unknown): boolean => error instanceof RangeError && error.message.includes('call stack')
