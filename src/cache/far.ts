import type { Clock } from '../core/clock.js'
import { StoreUnavailableError } from '../core/errors.js'
import { createGroupCommit, NothingApplied, type Trip } from '../core/group-commit.js'
import { createBreaker, type Breaker } from './breaker.js'
import type { Born, FoundEntry, Marking, Marks, SharedStore, TierFound, TierRead, Turn, TurnEnd } from './driver.js'
import type { Unborn } from './entry.js'
import { createPace } from './pace.js'
import { createTierTimes } from './tier-times.js'
import { toChange, type Wish } from './wish.js'

/** What a read brought. */
export interface Found {
  /** It is past its time if `freshMs` is not above 0. */
  readonly entry: FoundEntry | undefined
  /** A mark has ended the entry: it is not to be answered. */
  readonly ended: boolean
  readonly turn: Turn | undefined
  readonly busyMs: number | undefined
  /** Why no turn can be taken. */
  readonly refused: unknown
  /** When the trip began, by this process' clock: the entry's times count from here. */
  readonly sentMs: number
  /** The marks of that moment. A load that begins now is born then. */
  readonly marks: Marks
}

export interface FarOptions {
  /** The cache's. */
  readonly name: string
  readonly store: SharedStore
  readonly origin: string
  readonly clock: Clock
  readonly timeoutMs: number
  readonly leaseMs: number
  /** Whether loads share turns. */
  readonly shared: boolean
  readonly onBreak: (error: unknown) => void
}

/**
 * The far tier as the rest of the front sees it: calls that share trips, entries that no mark has ended, and two breakers: a
 * store that is full or read-only refuses what is written, and still answers what is in it.
 */
export interface Far {
  /** Whether it answers reads, as far as is known. */
  answers(key: string): boolean
  /** Throws StoreUnavailableError unless it takes changes of the key, as far as is known. */
  expectChanges(key: string): void
  /** The same of what every key has in common, the marks. */
  expectMarks(): void
  /**
   * `takes`: takes the turn if nothing fresh is found, or with `over` also from a fresh entry that is no newer than that.
   * `replaces`: a turn of ours that is given up. `paced`: it is one of very many, and its time counts from when it is sent.
   */
  read(
    key: string,
    takes: boolean,
    over: number | undefined,
    replaces: string | undefined,
    paced?: boolean,
  ): Promise<Found>
  /** A read has failed. */
  failed(key: string, error: unknown): void
  /** Whether the turn was still there, so that the entry is stored; `undefined` stores that there is none. */
  fill(key: string, turn: Turn, entry: Unborn | undefined, born: Born, paced: boolean): Promise<boolean>
  renew(key: string, turn: Turn): Promise<boolean>
  /** Lets others load. Nobody waits for it; if it fails, the lease ends. */
  release(key: string, turn: Turn): void
  /** One attempt. False if something newer was there. */
  change(wish: Wish): Promise<boolean>
  /** One attempt. Answers where the marks stand then. */
  mark(marking: Marking): Promise<Marks>
  /** The newest marks that are known. */
  born(): Born | undefined
  /** A sign of life: it is asked again. */
  isBack(): void
  close(): Promise<void>
}

/** So many fill the trips that may be under way at once. */
const mostPaced = 2_000

export function createFar({ name, store, origin, clock, timeoutMs, leaseMs, shared, onBreak }: FarOptions): Far {
  let told: unknown
  const tell = (error: unknown): void => {
    if (error !== told) onBreak((told = error))
  }
  const reading = createBreaker(clock, tell)
  const writing = createBreaker(clock, tell)
  /** Errors by which the tier itself has said no. */
  const refusals = new WeakSet<Error>()
  const pace = createPace(mostPaced)
  const times = createTierTimes(clock, timeoutMs)
  const trips = { module: 'cache', name, timeoutMs, clock }
  const laneOf = (key: string): string | number => store.lane?.(key) ?? 0
  const marksLane = store.lane ? 'marks' : 0
  const byKey = { ...trips, lane: store.lane && (({ key }: { readonly key: string }) => laneOf(key)) }
  let known: Born | undefined
  /** With lanes the marks lie in another, and are asked for at the same time. */
  const marksApart = store.lane !== undefined
  let readTrips = 0

  const markReads = createGroupCommit<readonly string[], TagMarks>({
    ...trips,
    verb: 'read marks',
    async run(wanted, trip) {
      const tags = [...new Set(wanted.flat())]
      const marks = await store.marks(origin, tags, undefined, trip)
      known = marks
      const byTag = Object.assign(new Map(tags.map((tag, i) => [tag, marks.tags[i] ?? 0])), { marks })
      return wanted.map(() => byTag)
    },
  })
  const markings = createGroupCommit<Marking, Marks>({
    ...trips,
    verb: 'mark',
    async run(wanted, trip) {
      const clears = wanted.filter(({ verb }) => verb === 'clear')
      const ends = wanted.filter((one) => one.verb === 'tags')
      const idsOf = (markings: readonly Marking[]): string[] => markings.flatMap(({ ids }) => ids)
      const cleared =
        clears.length > 0
          ? await answered(store.marks(origin, [], { verb: 'clear', ids: idsOf(clears) }, trip))
          : undefined
      const tags = [...new Set(ends.flatMap((one) => one.tags))]
      const ended =
        tags.length > 0
          ? await answered(store.marks(origin, [], { verb: 'tags', tags, ids: idsOf(ends) }, trip))
          : undefined
      known = ended ?? cleared
      return wanted.map(({ verb }) => (verb === 'clear' ? cleared : ended) as Marks)
    },
  })
  const reads = createGroupCommit<TierRead, Found>({
    ...byKey,
    verb: 'read',
    // While the tier answers one trip, this process unpacks the last.
    maxInFlight: 2,
    async run(wanted, trip) {
      const sentMs = clock.nowMs()
      const lane = laneOf((wanted[0] as TierRead).key)
      const apart = marksApart ? markReads.call([]) : undefined
      apart?.catch(() => undefined)
      const read = await store.read(wanted, { id: `${origin}:${++readTrips}`, leaseMs, shared }, trip)
      times.learn(lane, sentMs, read.atMs)
      const marks = read.marks ?? (await (apart ?? marksFor(trip, none))).marks
      known = marks
      const tags = tagsOf(read.found)
      const tagMarks = tags.length > 0 ? await marksFor(trip, tags) : undefined
      reading.worked(lane)
      learnOfWrites(lane, read.found)
      return read.found.map((one) => (one instanceof Error ? one : toFound(one, marks, tagMarks, sentMs)))
    },
    onUnwanted({ key }, { turn }) {
      if (turn) release(key, turn)
    },
  })
  const ends = createGroupCommit<TurnEnd, boolean>({
    ...byKey,
    verb: 'end turns',
    run: (wanted, trip) => answered(store.end(wanted, trip)),
  })
  const changes = createGroupCommit<Wish, boolean>({
    ...byKey,
    verb: 'change',
    async run(wanted, trip) {
      const [{ key }] = wanted as readonly [Wish, ...Wish[]]
      const lane = laneOf(key)
      const sets = wanted.some(({ verb }) => verb === 'set')
      const asked: TierRead = { key, takes: false }
      trip.blames?.(() => markReads.why(none) ?? reads.why(asked))
      const [marks] = await Promise.all([
        sets ? markReads.call([]).then((read) => read.marks) : undefined,
        times.isKnown(lane) ? undefined : reads.call(asked),
      ]).catch(notSent)
      const sentMs = clock.nowMs()
      const current: Wish[] = []
      const isCurrent = wanted.map((wish) => {
        const { sent, wishedAtMs, number } = wish
        // A change that was asked for later has been sent before this one, which has waited.
        if (number < sent.number) return false
        wish.asOfMs ??= sent.stampMs = times.stamp(lane, wishedAtMs, sent.stampMs)
        sent.number = number
        current.push(wish)
        return true
      })
      if (current.length === 0) return wanted.map(() => true)
      const sent = current.map((one) => toChange(one, marks))
      const made = await answered(store.change(origin, sent, trip))
      times.learn(lane, sentMs, made.atMs + 1)
      for (const [i, wish] of current.entries()) {
        if (made.done[i] === false && times.isOutdated(lane, wish.wishedAtMs, wish.asOfMs as number)) delete wish.asOfMs
      }
      const replies = made.done.values()
      return isCurrent.map((asked) => (asked ? (replies.next().value as boolean | Error) : true))
    },
  })

  /** Reads marks within another trip, which waits for what they wait for. */
  function marksFor(trip: Trip, tags: readonly string[]): Promise<TagMarks> {
    trip.blames?.(() => markReads.why(tags))
    return markReads.call(tags)
  }

  function learnOfWrites(lane: string | number, found: readonly (TierFound | Error)[]): void {
    for (const one of found) {
      if (one instanceof Error) continue
      const { turn, refused } = one
      if (turn) writing.worked(lane)
      if (!refused) continue
      const why = 'cache: the far tier can be read, but takes nothing'
      return writing.failed(lane, new StoreUnavailableError(why, { applied: 'no', cause: refused }))
    }
  }

  /** Makes a call when it is its turn, unless the lane has failed meanwhile. */
  function inTurn<T>(breaker: Breaker, lane: string | number, call: () => Promise<T>): Promise<T> {
    return pace.run(() => {
      const failure = breaker.failure(lane)
      return failure === undefined ? call() : Promise.reject(doesNotAnswer(failure))
    })
  }

  function read(read: TierRead): Promise<Found> {
    const lane = laneOf(read.key)
    const refused = read.takes ? writing.failure(lane) : undefined
    return refused === undefined ? reads.call(read) : readOnly(read.key, lane, refused)
  }

  function fill(key: string, turn: Turn, entry: Unborn | undefined, born: Born): Promise<boolean> {
    return ends.call({ verb: 'fill', key, turn, shared, entry: entry && { ...entry, born } })
  }

  /** Takes a turn whatever is there, and gives it back. Nobody who finds something fresh minds. */
  async function tryTurn(key: string): Promise<void> {
    const { turn, refused } = await reads.call({ key, takes: true, over: Number.MAX_SAFE_INTEGER })
    if (turn) release(key, turn)
    if (refused) throw refused as Error
  }

  async function tryRead(key: string): Promise<void> {
    await reads.call({ key, takes: false })
    writing.retry(laneOf(key), () => tryTurn(key))
  }

  /** Reads without a turn, since none can be taken. */
  async function readOnly(key: string, lane: string | number, refused: unknown): Promise<Found> {
    const found = await reads.call({ key, takes: false })
    if (found.entry && !found.ended && found.entry.freshMs > 0) return found
    writing.allows(lane, () => tryTurn(key))
    return { ...found, refused }
  }

  /** Notes an error by which the tier refuses: it answers, so that it may be read. */
  async function answered<T>(call: Promise<T>): Promise<T> {
    try {
      return await call
    } catch (error) {
      if (error instanceof NothingApplied) refusals.add(error.reason)
      throw error
    }
  }

  /** Reports to the breakers how a call that writes has ended. */
  async function watched<T>(lane: string | number, call: Promise<T>): Promise<T> {
    try {
      const reply = await call
      writing.worked(lane)
      reading.worked(lane)
      return reply
    } catch (error) {
      if (error instanceof StoreUnavailableError) {
        writing.failed(lane, error)
        if (!refusals.has(error.cause as Error)) reading.failed(lane, error)
      }
      throw error
    }
  }

  function release(key: string, turn: Turn): void {
    ends.call({ verb: 'release', key, turn, shared }).catch(() => undefined)
  }

  return {
    answers: (key) => reading.allows(laneOf(key), () => tryRead(key)),
    expectChanges(key) {
      const lane = laneOf(key)
      if (!writing.allows(lane, () => tryTurn(key))) throw doesNotAnswer(writing.failure(lane))
    },
    expectMarks() {
      const probe = (): Promise<unknown> => (marksApart ? markReads.call([]) : tryTurn('marks'))
      if (!writing.allows(marksLane, probe)) throw doesNotAnswer(writing.failure(marksLane))
    },
    read(key, takes, over, replaces, paced) {
      const wanted = { key, takes, over, replaces }
      return paced ? inTurn(reading, laneOf(key), () => read(wanted)) : read(wanted)
    },
    failed(key, error) {
      if (!(error instanceof StoreUnavailableError)) return
      const lane = laneOf(key)
      reading.failed(lane, error)
      // It may have been the turn that was not taken in time.
      writing.failed(lane, error)
    },
    fill(key, turn, entry, born, paced) {
      const lane = laneOf(key)
      const call = (): Promise<boolean> => watched(lane, fill(key, turn, entry, born))
      return paced ? inTurn(writing, lane, call) : call()
    },
    renew: (key, turn) => watched(laneOf(key), ends.call({ verb: 'renew', key, turn, shared, leaseMs })),
    release,
    change(wish) {
      const lane = laneOf(wish.key)
      const call = (): Promise<boolean> => watched(lane, changes.call(wish))
      return wish.paced ? inTurn(writing, lane, call) : call()
    },
    mark: (marking) => watched(marksLane, markings.call(marking)),
    born: () => known,
    isBack() {
      reading.reset()
      writing.reset()
    },
    async close() {
      await Promise.all([reads, ends, changes, markings].map((one) => one.close()))
      await markReads.close()
    },
  }
}

/** The marks of tags, and where all marks stood when they were read: a clear since then has taken them away. */
type TagMarks = ReadonlyMap<string, number> & { readonly marks: Marks }

const none: readonly string[] = []

function tagsOf(found: readonly (TierFound | Error)[]): readonly string[] {
  let tags: string[] | undefined
  for (const one of found) {
    if (!(one instanceof Error) && one.entry && one.entry.tags.length > 0) (tags ??= []).push(...one.entry.tags)
  }
  return tags ?? none
}

function toFound(
  { entry, turn, busyMs, refused }: TierFound,
  marks: Marks,
  tagMarks: TagMarks | undefined,
  sentMs: number,
): Found {
  return {
    entry,
    ended: entry !== undefined && hasEnded(entry, tagMarks?.marks ?? marks, tagMarks),
    turn,
    busyMs,
    refused,
    sentMs,
    marks,
  }
}

/** Whether a mark has ended the entry since it was born. */
function hasEnded({ born: { epoch, count }, tags }: FoundEntry, marks: Marks, tagMarks: TagMarks | undefined): boolean {
  if (epoch !== marks.epoch || count > marks.count || count < marks.cleared) return true
  if (tags.length === 0) return false
  return count < marks.floor || tags.some((tag) => (tagMarks?.get(tag) ?? 0) > count)
}

/** What had to be asked before was not answered, so the change itself was never sent. */
function notSent(error: unknown): never {
  if (!(error instanceof StoreUnavailableError)) throw error
  throw new StoreUnavailableError(`cache: the marks could not be read${because(error)}`, {
    applied: 'no',
    cause: error,
  })
}

/** Of a call that was not sent, since an earlier one has failed. */
function doesNotAnswer(failure: unknown): StoreUnavailableError {
  // What it all came from, so that the causes do not grow into a chain.
  let cause = failure
  while (cause instanceof StoreUnavailableError && cause.cause !== undefined) cause = cause.cause
  return new StoreUnavailableError(`cache: the far tier does not answer${because(cause)}`, { applied: 'no', cause })
}

const because = (cause: unknown): string => (cause instanceof Error ? `: ${cause.message}` : '')
