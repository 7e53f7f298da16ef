import { exponentialBackoff } from '../core/backoff.js'
import type { Clock } from '../core/clock.js'
import { StoreUnavailableError } from '../core/errors.js'
import type { Marking } from './driver.js'
import type { Entry, Unborn } from './entry.js'
import { doesNotAnswer, type Far, type Wish } from './far.js'

/** A change of a key, and what this process answers for the key until the far tier has it. */
export interface Change<V> {
  readonly key: string
  /** `undefined`: it is deleted. */
  readonly set: { readonly stored: Unborn; readonly entry: Entry<V> } | undefined
}

/** The changes that this process makes in the far tier: those under way, and those that failed and are repeated. */
export interface Changes<V> {
  /** Rejects if the far tier did not take it; then it is repeated until it does, or something newer comes. */
  make(change: Change<V>): Promise<void>
  mark(marking: Marking): Promise<void>
  /**
   * Resolves when no change of the key is under way. `undefined` if none is. One that is repeated keeps nobody waiting: it
   * is among those that were missed until the far tier has it.
   */
  settled(key: string): Promise<unknown> | undefined
  /** The far tier has not taken the last change of the key yet: what is there must not be answered. */
  missed(key: string): Change<V> | undefined
  /** The far tier has not heard yet that entries with one of these tags have ended. */
  missedAny(tags: readonly string[]): boolean
  /** Tries at once what failed. */
  retry(): void
  close(): Promise<void>
}

interface Missed<V> {
  readonly number: number
  readonly change: Change<V>
  readonly wish: Wish
  readonly wishedAtMs: number
}

interface Key<V> {
  /** The newest change that the far tier has, by number. */
  done: number
  /** The newest that failed. */
  missed: Missed<V> | undefined
  readonly underWay: Set<Promise<unknown>>
}

const backoff = exponentialBackoff({ baseMs: 100, maxMs: 1_000 })

/** A set that is older is repeated as a delete: a tier remembers deletes no longer, and there may have been one since. */
const oldestSetMs = 60_000

/** More keys than these are not kept apart; everything is cleared instead. */
const mostMissed = 10_000

export interface ChangesOptions {
  readonly far: Far
  readonly clock: Clock
  readonly onError: (error: unknown) => void
  /** A change that was to be repeated gave way to a newer one of somebody else. */
  readonly onOvertaken: (key: string) => void
}

export function createChanges<V>({ far, clock, onError, onOvertaken }: ChangesOptions): Changes<V> {
  const keys = new Map<string, Key<V>>()
  const marksUnderWay = new Set<Promise<unknown>>()
  const missedTags = new Set<string>()
  let missedClear = false
  let missedKeys = 0
  let numbers = 0
  let attempts = 0
  let cancelTimer: (() => void) | undefined
  let retrying: Promise<void> | undefined
  let closed = false

  function keyOf(name: string): Key<V> {
    let key = keys.get(name)
    if (!key) {
      key = { done: 0, missed: undefined, underWay: new Set() }
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

  function forget(key: Key<V>): void {
    if (!key.missed) return
    key.missed = undefined
    missedKeys--
  }

  async function attempt(key: Key<V>, number: number, wish: Wish): Promise<boolean> {
    const done = await far.change(wish)
    key.done = Math.max(key.done, number)
    if (key.missed && key.missed.number <= number) forget(key)
    return done
  }

  function miss(key: Key<V>, missed: Missed<V>): void {
    if (closed || key.done > missed.number || (key.missed && key.missed.number > missed.number)) return
    if (!key.missed) missedKeys++
    key.missed = missed
    if (missedKeys > mostMissed) missEverything()
    schedule()
  }

  function missEverything(): void {
    missedClear = true
    forgetUntil(numbers)
  }

  /** The tier has been cleared: what had to be told it before has no meaning any more. */
  function forgetUntil(number: number): void {
    for (const [name, key] of keys) {
      if (key.missed && key.missed.number <= number) forget(key)
      tidy(name, key)
    }
  }

  const anythingMissed = (): boolean => missedKeys > 0 || missedClear || missedTags.size > 0

  function schedule(): void {
    if (closed || cancelTimer || retrying || !anythingMissed()) return
    cancelTimer = clock.after(backoff(++attempts), () => {
      cancelTimer = undefined
      start()
    })
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
    if (missedClear) {
      await far.mark({ verb: 'clear' })
      missedClear = false
    }
    if (missedTags.size > 0) {
      const tags = [...missedTags]
      await far.mark({ verb: 'tags', tags })
      for (const tag of tags) missedTags.delete(tag)
    }
    const outcomes = await Promise.allSettled([...keys].map(([name, key]) => repeatKey(name, key)))
    const failed = outcomes.find(({ status }) => status === 'rejected') as PromiseRejectedResult | undefined
    if (failed) throw failed.reason
  }

  async function repeatKey(name: string, key: Key<V>): Promise<void> {
    const { missed } = key
    // What is under way is newer.
    if (!missed || key.underWay.size > 0) return
    const { wish, wishedAtMs, number } = missed
    const tooOld = wish.verb === 'set' && (wish.asOfMs === undefined || clock.nowMs() - wishedAtMs > oldestSetMs)
    const again: Wish = tooOld ? { verb: 'delete', key: name, asOfMs: undefined } : wish
    const done = await attempt(key, number, again).finally(() => tidy(name, key))
    if (!done || tooOld) onOvertaken(name)
  }

  /** What was set and not stored yet has ended: it is deleted in its place. */
  function unset(concerns: (tags: readonly string[]) => boolean): void {
    for (const [name, key] of keys) {
      const { missed } = key
      if (!missed?.change.set || !concerns(missed.change.set.stored.tags)) continue
      const wish: Wish = { verb: 'delete', key: name, asOfMs: undefined }
      key.missed = { ...missed, change: { key: name, set: undefined }, wish }
    }
  }

  return {
    async make(change) {
      const { key: name, set } = change
      const key = keyOf(name)
      const number = ++numbers
      const wishedAtMs = clock.nowMs()
      const asOfMs = far.timeOf(name)
      const wish: Wish = set
        ? { verb: 'set', key: name, asOfMs, entry: set.stored }
        : { verb: 'delete', key: name, asOfMs }
      try {
        if (!far.answers(name)) throw doesNotAnswer()
        const done = await track(key.underWay, attempt(key, number, wish))
        // Whoever changed it since the wish did so while this call was under way: this one may as well come last.
        if (!done) await track(key.underWay, attempt(key, number, { ...wish, asOfMs: far.timeOf(name) }))
      } catch (error) {
        // When it is repeated it must not outlive marks that were made since now.
        const again = wish.verb === 'set' ? { ...wish, bornBy: far.born() ?? 'unknown' } : wish
        if (error instanceof StoreUnavailableError) miss(key, { number, change, wish: again as Wish, wishedAtMs })
        throw error
      } finally {
        tidy(name, key)
      }
    },
    async mark(marking) {
      const number = ++numbers
      const { verb } = marking
      unset((tags) => verb === 'clear' || tags.some((tag) => marking.tags.includes(tag)))
      try {
        if (!far.answersMarks()) throw doesNotAnswer()
        await track(marksUnderWay, far.mark(marking))
        if (verb === 'clear') {
          missedClear = false
          forgetUntil(number)
        }
      } catch (error) {
        if (error instanceof StoreUnavailableError && !closed) {
          if (verb === 'clear') missEverything()
          else for (const tag of marking.tags) missedTags.add(tag)
          schedule()
        }
        throw error
      }
    },
    settled(name) {
      const underWay = keys.get(name)?.underWay
      if ((underWay?.size ?? 0) === 0 && marksUnderWay.size === 0) return undefined
      return Promise.allSettled([...(underWay ?? []), ...marksUnderWay])
    },
    missed: (name) => keys.get(name)?.missed?.change,
    missedAny: (tags) => missedClear || (missedTags.size > 0 && tags.some((tag) => missedTags.has(tag))),
    retry() {
      if (closed || !anythingMissed()) return
      cancelTimer?.()
      cancelTimer = undefined
      start()
    },
    async close() {
      closed = true
      cancelTimer?.()
      if (anythingMissed()) start()
      await retrying
    },
  }
}
