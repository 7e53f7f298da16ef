import { randomUUID } from 'node:crypto'
import { exponentialBackoff } from '../core/backoff.js'
import type { Clock } from '../core/clock.js'
import { StoreUnavailableError } from '../core/errors.js'
import type { Marking } from './driver.js'
import type { Entry, Unborn } from './entry.js'
import type { Far } from './far.js'
import { asLastDelete, type Wish } from './wish.js'

/** A change of a key, and what this process answers for the key until the far tier has it. */
export interface Change<V> {
  readonly key: string
  /** `undefined`: it is deleted. */
  readonly set: { readonly stored: Unborn; readonly entry: Entry<V> } | undefined
  /** It is one of very many. */
  readonly paced?: boolean
}

/** An end of tags, or of everything. */
export type End = { readonly verb: 'tags'; readonly tags: readonly string[] } | { readonly verb: 'clear' }

/** The changes that this process makes in the far tier: those under way, and those that failed and are repeated. */
export interface Changes<V> {
  /** Rejects if the far tier did not take it; then it is repeated until it does, or something newer comes. */
  make(change: Change<V>): Promise<void>
  mark(end: End): Promise<void>
  /**
   * Resolves when no change of the key is under way. `undefined` if none is. One that is repeated keeps nobody waiting: it
   * is among those that were missed until the far tier has it.
   */
  settled(key: string): Promise<unknown> | undefined
  /** The far tier has not taken the last change of the key yet: what is there must not be answered. */
  missed(key: string): Change<V> | undefined
  /** Others have changed these keys, or `undefined` for all. */
  heard(keys: readonly string[] | undefined): void
  /** The far tier has not heard yet that entries with one of these tags have ended. */
  missedAny(tags: readonly string[]): boolean
  /** Tries at once what failed. */
  retry(): void
  /** Settles when the repetition that runs has ended. `undefined` if none does. */
  repeated(): Promise<void> | undefined
  close(): Promise<void>
}

interface Missed<V> {
  readonly change: Change<V>
  wish: Wish
}

interface Key<V> {
  readonly sent: { stampMs: number; number: number }
  /** The newest change that was asked for. */
  newest: Wish | undefined
  /** Others have changed the key since then: what was set is not answered here, and the far tier decides what counts. */
  isDoubted: boolean
  /** The newest change that the far tier has, by number. */
  done: number
  /** The newest that failed. */
  missed: Missed<V> | undefined
  readonly underWay: Set<Promise<unknown>>
}

const backoff = exponentialBackoff({ baseMs: 100, maxMs: 1_000 })

/**
 * A set that is older becomes a delete: a tier remembers deletes no longer, and entries for as long as they live, so
 * there may have been another change since.
 */
const oldestSetMs = ({ freshMs, staleMs }: Unborn): number => Math.max(1_000, Math.min(60_000, (freshMs + staleMs) / 2))

/** More keys than these are not kept apart; everything is cleared instead. */
const mostMissed = 10_000

/** More bytes of values than these are not kept: what would be set is deleted instead. */
const mostMissedBytes = 32 * 1_048_576

/** So many keys are repeated at once, which fill a trip. */
const mostRepeated = 1_000

export interface ChangesOptions {
  readonly far: Far
  readonly clock: Clock
  readonly onError: (error: unknown) => void
  /** A change that was to be repeated gave way to a newer one of somebody else. */
  readonly onOvertaken: (key: string) => void
  /** Marks that were missed are made: what was read of the far tier before then may not have known them. */
  readonly onMarked: () => void
}

export function createChanges<V>({ far, clock, onError, onOvertaken, onMarked }: ChangesOptions): Changes<V> {
  const keys = new Map<string, Key<V>>()
  const marksUnderWay = new Set<Promise<unknown>>()
  /** Settles with all marks that have been under way so far. */
  let marksSettled: Promise<unknown> = Promise.resolve()
  /** Tags that were to be ended, each with the number of that change, which is in the id of the mark as well. */
  const missedTags = new Map<string, number>()
  /** The number of the clear that failed. */
  let missedClear: number | undefined
  let missedKeys = 0
  let missedBytes = 0
  const run = randomUUID()
  let numbers = 0
  let attempts = 0
  let cancelTimer: (() => void) | undefined
  let retrying: Promise<void> | undefined
  let closed = false

  function keyOf(name: string): Key<V> {
    let key = keys.get(name)
    if (!key) {
      key = {
        sent: { stampMs: -Infinity, number: 0 },
        newest: undefined,
        isDoubted: false,
        done: 0,
        missed: undefined,
        underWay: new Set(),
      }
      keys.set(name, key)
    }
    return key
  }

  function tidy(name: string, key: Key<V>): void {
    if (key.underWay.size === 0 && !key.missed && keys.get(name) === key) keys.delete(name)
  }

  async function track<T>(under: Set<Promise<unknown>>, work: Promise<T>): Promise<T> {
    under.add(work)
    return work.finally(() => under.delete(work))
  }

  function trackMark<T>(work: Promise<T>): Promise<T> {
    marksSettled = Promise.allSettled([marksSettled, work])
    return track(marksUnderWay, work)
  }

  const isNewest = (key: Key<V>, { number }: Wish): boolean => key.newest?.number === number

  function putMissed(key: Key<V>, missed: Missed<V> | undefined): void {
    missedKeys += Number(missed !== undefined) - Number(key.missed !== undefined)
    missedBytes -= bytesOf(key.missed)
    key.missed = missed
    if (missed && missedBytes + bytesOf(missed) > mostMissedBytes) {
      key.missed = asDelete(missed)
      if (isNewest(key, missed.wish)) key.newest = key.missed.wish
    }
    missedBytes += bytesOf(key.missed)
  }

  async function settleFor(key: Key<V>, wish: Wish): Promise<boolean> {
    const done = await attempt(key, wish)
    key.done = Math.max(key.done, wish.number)
    if (key.missed && key.missed.wish.number <= wish.number) putMissed(key, undefined)
    return done
  }

  /**
   * What was changed after this was asked for stays, unless this is a delete or a set that is too old to be made: then it
   * goes, which costs a load at the most.
   */
  async function attempt(key: Key<V>, wish: Wish): Promise<boolean> {
    if (!isOld(wish)) {
      let done = await far.change(wish)
      // Its time has proved to be that of a clock which has gone: it is asked for anew.
      if (!done && wish.asOfMs === undefined) done = await far.change(wish)
      if (done || (wish.verb === 'set' && !isOld(wish))) return done
    }
    if (!isNewest(key, wish)) return false
    const ended = await far.change(asLastDelete(wish))
    return wish.verb === 'delete' && ended
  }

  const isOld = (wish: Wish): boolean =>
    wish.verb === 'set' && clock.nowMs() - wish.wishedAtMs > oldestSetMs(wish.entry)

  function miss(key: Key<V>, missed: Missed<V>): void {
    const { wish } = missed
    if (closed || key.done > wish.number || (key.missed && key.missed.wish.number > wish.number)) return
    putMissed(key, wish.verb === 'set' && wish.hasEnded ? asDelete(missed) : missed)
    if (missedKeys > mostMissed) missEverything(++numbers)
    schedule()
  }

  function missEverything(number: number): void {
    missedClear = number
    forgetUntil(number)
  }

  /** The tier has been cleared: what had to be told it before has no meaning any more. */
  function forgetUntil(number: number): void {
    for (const [name, key] of keys) {
      if (key.missed && key.missed.wish.number <= number) putMissed(key, undefined)
      tidy(name, key)
    }
    for (const [tag, at] of missedTags) if (at <= number) missedTags.delete(tag)
  }

  const anyMarkMissed = (): boolean => missedClear !== undefined || missedTags.size > 0

  const anythingMissed = (): boolean => missedKeys > 0 || anyMarkMissed()

  function schedule(): void {
    if (closed || cancelTimer || retrying || !anythingMissed()) return
    const again = (): void => {
      cancelTimer = undefined
      start()
    }
    // The end of the process ends it: whoever asked for the change knows that it has failed.
    cancelTimer = clock.after(backoff(++attempts), again, true)
  }

  function start(): void {
    retrying ??= repeat()
      .catch((error: unknown) => {
        if (!(error instanceof StoreUnavailableError)) onError(error)
      })
      .finally(() => {
        retrying = undefined
        if (anythingMissed()) schedule()
        else attempts = 0
      })
  }

  async function repeat(): Promise<void> {
    await repeatMarks()
    const all = [...keys].filter(([, { missed }]) => missed)
    for (let at = 0; at < all.length; at += mostRepeated) {
      const some = all.slice(at, at + mostRepeated).map(([name, key]) => repeatKey(name, key))
      const failed = (await Promise.allSettled(some)).find(({ status }) => status === 'rejected')
      if (failed) throw (failed as PromiseRejectedResult).reason
    }
  }

  async function repeatMarks(): Promise<void> {
    const clear = missedClear
    if (clear !== undefined) {
      await remark({ verb: 'clear', ids: [idOf(clear)] })
      if (missedClear === clear) missedClear = undefined
    }
    if (missedTags.size === 0) return
    const ends = [...missedTags]
    await remark({ verb: 'tags', tags: ends.map(([tag]) => tag), ids: [...new Set(ends.map(([, at]) => idOf(at)))] })
    for (const [tag, at] of ends) if (missedTags.get(tag) === at) missedTags.delete(tag)
  }

  const idOf = (number: number): string => `${run}:${number}`

  async function remark(marking: Marking): Promise<void> {
    const now = await trackMark(far.mark(marking))
    onMarked()
    // Sets that are still to be repeated are not concerned by it. They are born after it, unless others' marks came between.
    for (const { missed } of keys.values()) {
      if (missed?.wish.verb !== 'set') continue
      const { bornBy } = missed.wish
      if (typeof bornBy !== 'object' || bornBy.epoch !== now.epoch || bornBy.count !== now.count - 1) continue
      missed.wish = { ...missed.wish, bornBy: now }
    }
  }

  async function repeatKey(name: string, key: Key<V>): Promise<void> {
    const { missed } = key
    // What is under way is newer.
    if (!missed || key.underWay.size > 0) return
    const { wish } = missed
    const done = await settleFor(key, wish).finally(() => tidy(name, key))
    if (!isNewest(key, wish) || wish.verb === 'delete') return
    // Marks that others have made since then may have ended it.
    const { bornBy } = wish
    const mayHaveEnded = typeof bornBy !== 'object' || bornBy.count !== far.born()?.count
    if (!done || mayHaveEnded || key.isDoubted) onOvertaken(name)
  }

  /** What was set and is not stored yet has ended: it is deleted in its place. */
  function unset(concerns: (tags: readonly string[]) => boolean): void {
    for (const key of keys.values()) {
      const { newest, missed } = key
      if (newest?.verb === 'set' && concerns(newest.entry.tags)) newest.hasEnded = true
      if (missed?.wish.verb === 'set' && concerns(missed.wish.entry.tags)) putMissed(key, asDelete(missed))
    }
  }

  async function reach(key: Key<V>, wish: Wish, change: Change<V>): Promise<void> {
    const { key: name, set } = change
    const born = far.born() ?? 'unknown'
    try {
      far.expectChanges(name)
      // The far tier is to have marks that were asked for before, so that they do not end what is set now.
      if (set && anyMarkMissed()) await repeatMarks()
      const done = await settleFor(key, wish)
      if (isNewest(key, wish) && !done) onOvertaken(name)
    } catch (error) {
      // When it is repeated it must not outlive marks that were made since it was asked for.
      const again: Wish = wish.verb === 'set' ? { ...wish, bornBy: born } : wish
      if (error instanceof StoreUnavailableError) miss(key, { change, wish: again })
      throw error
    }
  }

  async function reachAll(end: End, number: number): Promise<void> {
    try {
      far.expectMarks()
      await far.mark({ ...end, ids: [idOf(number)] })
      if (end.verb === 'clear') forgetUntil(number)
    } catch (error) {
      if (error instanceof StoreUnavailableError && !closed) {
        if (end.verb === 'tags') for (const tag of end.tags) missedTags.set(tag, number)
        if (end.verb === 'clear' || missedTags.size > mostMissed) missEverything(number)
        schedule()
      }
      throw error
    }
  }

  return {
    // Under way until it is made, or is among those that are missed: nobody sees the time between.
    make(change) {
      const { key: name, set, paced } = change
      const key = keyOf(name)
      const asked = { key: name, wishedAtMs: clock.nowMs(), number: ++numbers, sent: key.sent }
      const wish: Wish = set ? { ...asked, verb: 'set', entry: set.stored, paced } : { ...asked, verb: 'delete', paced }
      key.newest = wish
      key.isDoubted = false
      return track(key.underWay, reach(key, wish, change)).finally(() => tidy(name, key))
    },
    mark(end) {
      const number = ++numbers
      unset((tags) => end.verb === 'clear' || tags.some((tag) => end.tags.includes(tag)))
      return trackMark(reachAll(end, number))
    },
    settled(name) {
      const underWay = keys.get(name)?.underWay
      if ((underWay?.size ?? 0) === 0 && marksUnderWay.size === 0) return undefined
      return Promise.allSettled([...(underWay ?? []), marksSettled])
    },
    missed(name) {
      const key = keys.get(name)
      return key?.isDoubted && key.missed ? { key: name, set: undefined } : key?.missed?.change
    },
    heard(names) {
      for (const name of names ?? keys.keys()) {
        const key = keys.get(name)
        if (key) key.isDoubted = true
      }
    },
    missedAny: (tags) => missedClear !== undefined || (missedTags.size > 0 && tags.some((tag) => missedTags.has(tag))),
    retry() {
      if (closed || !anythingMissed()) return
      cancelTimer?.()
      cancelTimer = undefined
      start()
    },
    repeated: () => retrying,
    async close() {
      closed = true
      cancelTimer?.()
      if (anythingMissed()) start()
      await retrying
    },
  }
}

function bytesOf<V>(missed: Missed<V> | undefined): number {
  const body = missed?.wish.verb === 'set' ? missed.wish.entry.body : undefined
  return body?.length ?? 0
}

/** What ends the set, in its place in the order of changes. */
function asDelete<V>(missed: Missed<V>): Missed<V> {
  const { key, wishedAtMs, number, sent, asOfMs } = missed.wish
  const wish: Wish = { verb: 'delete', key, wishedAtMs, number, sent, ...(asOfMs === undefined ? {} : { asOfMs }) }
  return { change: { key, set: undefined }, wish }
}
