import { randomUUID } from 'node:crypto'
import { LRUCache } from 'lru-cache'
import { durationMs, positiveInteger } from '../../core/check.js'
import { systemClock, type Clock } from '../../core/clock.js'
import { requiredOptions } from '../../core/options.js'
import type {
  FoundEntry,
  KeyChange,
  Marking,
  Marks,
  MemoryTier,
  SharedStore,
  StoredEntry,
  TierFound,
  TierListener,
  TierRead,
  TurnEnd,
  TurnTerms,
} from '../driver.js'

/** How a memory tier keeps entries. */
export interface MemoryTierOptions {
  /** Room for entries of each cache: the least recently used goes when there are more. Each name has a room of its own. */
  readonly maxEntries: number
  /** How long an entry stays at hand at the most. @defaultValue as long as the cache's `ttlMs` and `staleMs` allow */
  readonly ttlMs?: number | undefined
  /** @defaultValue systemClock */
  readonly clock?: Clock | undefined
}

interface Kept {
  readonly entry: StoredEntry
  readonly sinceMs: number
  readonly freshUntilMs: number
}

interface Holder {
  readonly id: string
  untilMs: number
  /** Loads that share it, so far. */
  loads: number
  /** Number of the newest load whose value was stored. */
  stored: number
  /** Somebody waits for its end. */
  waited: boolean
  /** Loads share it: who wants a turn of its own may take it. */
  readonly shared: boolean
}

/** How long it is remembered that a key was deleted, so that a set of before does not bring it back. */
const deletedMs = 60_000

/** Marks of tags that are kept apart. */
const mostTags = 10_000

/**
 * Values in the memory of this process, the least recently used out first. As the first tier of a cache it answers
 * without a trip, and each cache has entries of its own, up to `maxEntries`. After another tier it stands for a store that
 * processes share, where each name has its own entries, up to `maxEntries`.
 *
 * @throws TypeError or RangeError for options that are missing, unknown, or make no sense.
 */
export function memoryTier(options: MemoryTierOptions): MemoryTier {
  const known = { maxEntries: true, ttlMs: true, clock: true } as const
  const {
    ttlMs = Infinity,
    clock = systemClock,
    ...rest
  } = requiredOptions<MemoryTierOptions>('memoryTier', options, known)
  const maxEntries = positiveInteger('maxEntries', rest.maxEntries)
  const stores = new Map<string, SharedStore>()
  return {
    ttlMs: durationMs('ttlMs', ttlMs, 1),
    // With `max` instead, it would make room for all of them at once.
    local: <Entry extends object>() => new LRUCache<string, Entry>({ maxSize: maxEntries, sizeCalculation: () => 1 }),
    open(name) {
      let store = stores.get(name)
      if (!store) stores.set(name, (store = createStore(maxEntries, clock)))
      return store
    },
  }
}

function createStore(maxEntries: number, clock: Clock): SharedStore {
  const entries = new Map<string, Kept>()
  const deleted = new Map<string, number>()
  const turns = new Map<string, Holder>()
  const listeners = new Map<TierListener, string>()
  const tagMarks = new Map<string, number>()
  /** Ids of marks that were made. */
  const made = new Map<string, number>()
  const epoch = randomUUID().slice(0, 8)
  let count = 0
  let cleared = 0
  /** Of the tags whose marks are not kept, the newest mark. */
  let floor = 0
  let sweepAtSize = mostTags

  const tell = (origin: string | undefined, what: (listener: TierListener) => void): void => {
    for (const [listener, own] of listeners) if (origin !== own) queueMicrotask(() => what(listener))
  }

  function keep(key: string, entry: StoredEntry, sinceMs: number): void {
    deleted.delete(key)
    entries.delete(key)
    entries.set(key, { entry, sinceMs, freshUntilMs: clock.nowMs() + entry.freshMs })
    for (const oldest of entries.keys()) {
      if (entries.size <= maxEntries) break
      entries.delete(oldest)
    }
  }

  function find(key: string): FoundEntry | undefined {
    const kept = entries.get(key)
    if (!kept) return undefined
    const { entry, sinceMs, freshUntilMs } = kept
    const freshMs = freshUntilMs - clock.nowMs()
    if (freshMs + entry.staleMs <= 0) {
      entries.delete(key)
      return undefined
    }
    entries.delete(key)
    entries.set(key, kept)
    return { ...entry, body: bytes(entry.body), freshMs, sinceMs }
  }

  function holderOf(key: string): Holder | undefined {
    const holder = turns.get(key)
    if (holder && holder.untilMs > clock.nowMs()) return holder
    turns.delete(key)
    return undefined
  }

  /** Shared turns end by time alone. The work is paid for by the turns that were taken since it was done last. */
  function sweepTurns(nowMs: number): void {
    for (const [key, { untilMs }] of turns) if (untilMs <= nowMs) turns.delete(key)
    sweepAtSize = Math.max(mostTags, 2 * turns.size)
  }

  function read({ key, takes, over, replaces }: TierRead, place: number, terms: TurnTerms): TierFound {
    const nowMs = clock.nowMs()
    const entry = find(key)
    const fresh = entry && entry.freshMs > 0 && !(over !== undefined && entry.sinceMs <= over)
    if (fresh || !takes) return { entry }
    const id = `${terms.id}:${place}`
    const holder = holderOf(key)
    if (holder?.id === id) return { entry, turn: { id, number: 1, sinceMs: nowMs } }
    if (holder && holder.id !== replaces) {
      if (terms.shared) {
        holder.loads++
        holder.untilMs = Math.max(holder.untilMs, nowMs + terms.leaseMs)
        return { entry, turn: { id: holder.id, number: holder.loads, sinceMs: nowMs } }
      }
      if (!holder.shared) {
        holder.waited = true
        return { entry, busyMs: holder.untilMs - nowMs }
      }
    }
    const untilMs = nowMs + terms.leaseMs
    turns.set(key, { id, untilMs, loads: 1, stored: 0, waited: false, shared: terms.shared })
    if (turns.size >= sweepAtSize) sweepTurns(nowMs)
    return { entry, turn: { id, number: 1, sinceMs: nowMs } }
  }

  function end(ending: TurnEnd): boolean {
    const { key, turn, shared } = ending
    const holder = holderOf(key)
    if (holder?.id !== turn.id) return false
    if (ending.verb === 'renew') {
      holder.untilMs = Math.max(holder.untilMs, clock.nowMs() + ending.leaseMs)
      return true
    }
    const stale = ending.verb === 'fill' && turn.number < holder.stored
    if (ending.verb === 'fill' && !stale) {
      holder.stored = turn.number
      if (ending.entry) keep(key, ending.entry, turn.sinceMs)
      else entries.delete(key)
    }
    if (!shared) turns.delete(key)
    if (holder.waited) tell(undefined, (listener) => listener.turnEnded(key))
    return !stale
  }

  function change(one: KeyChange): boolean {
    const { key } = one
    const nowMs = clock.nowMs()
    const forgottenMs = nowMs - deletedMs
    forget(deleted, forgottenMs)
    const { asOfMs = Infinity } = one
    const sinceMs = entries.get(key)?.sinceMs ?? deleted.get(key) ?? -Infinity
    if (sinceMs > asOfMs) return false
    const changedMs = Math.max(sinceMs, Math.min(asOfMs, nowMs))
    if (one.verb === 'delete') {
      entries.delete(key)
      deleted.delete(key)
      deleted.set(key, changedMs)
    } else if (asOfMs < nowMs - oldestSetMs(one.entry)) return false
    else keep(key, one.entry, changedMs)
    turns.delete(key)
    return true
  }

  function isNew({ ids }: Marking): boolean {
    const forgottenMs = clock.nowMs() - deletedMs
    forget(made, forgottenMs)
    const unknown = ids.filter((id) => !made.has(id))
    for (const id of unknown) made.set(id, clock.nowMs())
    return ids.length === 0 || unknown.length > 0
  }

  function marksOf(tags: readonly string[]): Marks {
    return { epoch, count, cleared, floor, tags: tags.map((tag) => tagMarks.get(tag) ?? floor) }
  }

  function markTags(tags: readonly string[]): void {
    for (const tag of tags) {
      tagMarks.delete(tag)
      tagMarks.set(tag, count)
    }
    for (const [oldest, mark] of tagMarks) {
      if (tagMarks.size <= mostTags) break
      tagMarks.delete(oldest)
      floor = mark
    }
  }

  return {
    async read(reads, terms, trip) {
      trip.sending()
      return { found: reads.map((one, i) => read(one, i, terms)), marks: marksOf([]), atMs: clock.nowMs() }
    },
    async end(ends, trip) {
      trip.sending()
      return ends.map(end)
    },
    async change(origin, changes, trip) {
      trip.sending()
      const done = changes.map(change)
      const keys = changes.map(({ key }) => key)
      tell(origin, (listener) => listener.keysChanged(keys))
      return { done, atMs: clock.nowMs() }
    },
    async marks(origin, tags, wanted, trip) {
      trip.sending()
      const marking = wanted && isNew(wanted) ? wanted : undefined
      if (marking) count++
      if (marking?.verb === 'clear') {
        cleared = count
        tagMarks.clear()
        tell(origin, (listener) => listener.cleared())
      } else if (marking) {
        markTags(marking.tags)
        tell(origin, (listener) => listener.tagsChanged(marking.tags))
      }
      return marksOf(tags)
    },
    listen(origin, listener) {
      listeners.set(listener, origin)
      listener.heard()
      return {
        check: async () => undefined,
        reopen: () => undefined,
        close: () => void listeners.delete(listener),
      }
    },
  }
}

/** A set that is older may be older than what was set or deleted since, and is forgotten. */
const oldestSetMs = ({ freshMs, staleMs }: StoredEntry): number =>
  Math.max(1_000, Math.min(deletedMs, (freshMs + staleMs) / 2))

/** Deletes the oldest, which come first. */
function forget(known: Map<string, number>, untilMs: number): void {
  for (const [name, atMs] of known) {
    if (atMs >= untilMs) break
    known.delete(name)
  }
}

const utf8 = new TextEncoder()

const bytes = (body: string | Uint8Array | undefined): Uint8Array | undefined =>
  typeof body === 'string' ? utf8.encode(body) : body
