import type { Trip } from '../core/group-commit.js'

/**
 * A place that keeps entries. `createCache` takes one or two, from nearest to farthest: `memoryTier`, `redisTier`, or another
 * that opens a {@link SharedStore}. Caches of one name share entries there; those of different names have nothing in common.
 */
export interface CacheTier {
  /**
   * The entries of one name, with their marks, turns and bus: nothing of them is seen or ended by another name. Does no I/O.
   * All that open the same name share what is in it. `report` is told of faults that no call can be told of, such as a
   * missing right to publish.
   */
  open(name: string, report: (error: unknown) => void): SharedStore
}

/** What a tier keeps under a key. */
export interface StoredEntry {
  /** What the codec made of the value; `undefined` says that the source has none. */
  readonly body: string | Uint8Array | undefined
  /** It is fresh for so long from now. `Infinity`: always. */
  readonly freshMs: number
  /** And may be answered for so long after that, while it is loaded anew or the source fails. */
  readonly staleMs: number
  /** How long its load took; 0 if it was set. */
  readonly loadMs: number
  /** The marks as they were before its load began. A mark made since then ends it. */
  readonly born: Born
  readonly tags: readonly string[]
}

/** An entry as it was found: fresh if `freshMs` is above 0, else stale for `staleMs`. */
export interface FoundEntry extends Omit<StoredEntry, 'body'> {
  readonly body: Uint8Array | undefined
  /** When its load began, or it was set, by the tier's clock. Serves to tell entries of a key apart. */
  readonly sinceMs: number
}

/** Where the marks of a tier stood. */
export interface Born {
  /** Random, made when the tier's marks were. Marks that were lost come back under another. */
  readonly epoch: string
  /** How many marks had been made. */
  readonly count: number
}

/**
 * What ends entries without touching them: each invalidation of a tag, and each clear, counts one further and leaves the
 * count as its mark. An entry lives while it was born after all marks that concern it.
 */
export interface Marks extends Born {
  /** The count of the last clear. */
  readonly cleared: number
  /** Marks of tags are kept up to a number; of those that were given up, this is the newest. */
  readonly floor: number
  /** Of the tags asked for, in their order; 0 where there is none. */
  readonly tags: readonly number[]
}

/**
 * The right to store what a load brings. A miss hands it out; a change of the key takes it back. So a load that began
 * before a change cannot undo it, and while one process has the turn of its own the others can wait for its value.
 *
 * After the leases of Nishtala et al., "Scaling Memcache at Facebook", NSDI 2013.
 */
export interface Turn {
  readonly id: string
  /** Of several loads that share a turn, which: what a later one brought is not replaced by an earlier one. */
  readonly number: number
  /** When it was taken, by the tier's clock. */
  readonly sinceMs: number
}

/** How the reads of a trip take turns. */
export interface TurnTerms {
  /** First part of the ids of the turns that are taken. Used for no other trip. */
  readonly id: string
  /** How long a turn lasts without a renewal. */
  readonly leaseMs: number
  /** Whether loads of a key may run side by side. Then they share a turn; else there is one, and others are told to wait. */
  readonly shared: boolean
}

export interface TierRead {
  readonly key: string
  /** Takes the turn if nothing fresh is found. */
  readonly takes: boolean
  /** Takes the turn also if an entry that is no newer than this is fresh (`FoundEntry.sinceMs`). */
  readonly over?: number | undefined
  /** A turn that this process itself has, and gives up for this one. */
  readonly replaces?: string | undefined
}

/** What the reads of a trip came to. */
export interface TierReads {
  readonly found: readonly (TierFound | Error)[]
  /** Where the marks stood, if the store can tell in the same trip. */
  readonly marks?: Marks | undefined
  /** The time of the tier. */
  readonly atMs: number
}

export interface TierFound {
  /** Not one that is past its time. Whether marks have ended it is the reader's to see. */
  readonly entry?: FoundEntry | undefined
  readonly turn?: Turn | undefined
  /** Another has the turn, for so long at most unless it is renewed. Its end will be told (`TierListener.turnEnded`). */
  readonly busyMs?: number | undefined
  /** Why the turn could not be taken, where the store can be read and not be written. */
  readonly refused?: Error | undefined
}

/** How a turn ends, or goes on. Each may arrive twice. */
export type TurnEnd = { readonly key: string; readonly turn: Turn; readonly shared: boolean } & (
  | {
      readonly verb: 'fill'
      /** `undefined`: the source has none, and that is not to be remembered. What is there goes. */
      readonly entry: StoredEntry | undefined
    }
  | { readonly verb: 'release' }
  | { readonly verb: 'renew'; readonly leaseMs: number }
)

/** A change of one key. It takes the turn away from every load that is under way. May arrive twice, and late. */
export type KeyChange = {
  readonly key: string
  /**
   * When the change was asked for, by the tier's clock, or a little later. It is not made if a change that was asked for
   * after that is there, or an entry whose load began after that; nor is a set that is older than a minute or half its
   * entry's life, because what was changed since then may be forgotten. `undefined`: it comes last in any case.
   */
  readonly asOfMs: number | undefined
} & ({ readonly verb: 'delete' } | { readonly verb: 'set'; readonly entry: StoredEntry })

/** What became of the changes of a trip. */
export interface TierChanges {
  /** Of each whether it was made: not if a newer one was there. */
  readonly done: readonly (boolean | Error)[]
  /** The time of the tier. */
  readonly atMs: number
}

/** A mark to make: of tags, or of everything. */
export type Marking = {
  /** Which marks these are, each of which may be asked for several times. If all of them were made, none is made again. */
  readonly ids: readonly string[]
} & ({ readonly verb: 'tags'; readonly tags: readonly string[] } | { readonly verb: 'clear' })

/** What others did, as the bus tells it. Calls may be lost until `heard`, and after `lost`. */
export interface TierListener {
  readonly keysChanged: (keys: readonly string[]) => void
  readonly tagsChanged: (tags: readonly string[]) => void
  readonly cleared: () => void
  /** The turn of a key that somebody waits for has ended. */
  readonly turnEnded: (key: string) => void
  readonly heard: () => void
  readonly lost: () => void
}

/** A standing wish to be told. */
export interface TierListening {
  /** Resolves once all is told that had happened when it was called. */
  check(): Promise<void>
  /** Starts anew, since nothing arrives. */
  reopen(): void
  close(): void
}

/**
 * What a tier does with the entries of one name, which several processes may share: one attempt per call, no waiting, no retry, times by its own
 * clock. Batches are answered in order; an `Error` in a place fails that request alone. Calls `trip.sending()` right
 * before a request leaves the process. `origin` names the front that makes a change, which is not told of it.
 *
 * `cacheContract` of `spillway/cache/contract` is what a tier must pass.
 */
export interface SharedStore {
  /** Keys of different lanes never come in one batch. Absent: all may. */
  readonly lane?: ((key: string) => string | number) | undefined
  read(reads: readonly TierRead[], terms: TurnTerms, trip: Trip): Promise<TierReads>
  /** Answers whether the turn was still there. */
  end(ends: readonly TurnEnd[], trip: Trip): Promise<readonly (boolean | Error)[]>
  change(origin: string, changes: readonly KeyChange[], trip: Trip): Promise<TierChanges>
  /** Makes a mark, if one is given, and answers where the marks stand, those of `tags` among them. */
  marks(origin: string, tags: readonly string[], marking: Marking | undefined, trip: Trip): Promise<Marks>
  listen(origin: string, listener: TierListener): TierListening
}

/** The entries of one process, at hand without a trip. What is in them is the front's. */
export interface LocalStore<Entry extends object> {
  get(key: string): Entry | undefined
  set(key: string, entry: Entry): void
  delete(key: string): void
  clear(): void
}

/**
 * A tier in the memory of this process. As the nearest tier its values are at hand without a trip, and each cache has its
 * own, whatever its name. Farther away it is a shared tier like any other: the readable specification of what those do.
 */
export interface MemoryTier extends CacheTier {
  /** How long an entry stays at hand at the most. */
  readonly ttlMs: number
  /** What it opens has no faults to report. */
  readonly open: (name: string) => SharedStore
  /** Room for the entries of one cache, as its nearest tier. */
  readonly local: <Entry extends object>() => LocalStore<Entry>
}

/** Whether a tier can be the nearest, at hand. */
export const isMemoryTier = (tier: CacheTier): tier is MemoryTier => 'local' in tier
