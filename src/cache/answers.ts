import type { Change, Changes } from './changes.js'
import type { Settings } from './check.js'
import { isPassing, type Entries, type Entry } from './entry.js'
import type { Far, Found } from './far.js'
import type { AnsweredAs, Caller, Flight } from './flight.js'
import type { Near } from './near.js'
import type { CacheStats } from './types.js'

/** What those who wait for a flight may be answered with besides what its load brings. */
export interface Answers<V> {
  /** What was found, unless it cannot be read, or a mark has ended it that the far tier may not have heard of yet. */
  ofFound(stamp: number, found: Found): Entry<V> | undefined
  /** "There is none", as another process' load has found that the flight has waited for. */
  ofWait(flight: Flight<V>, found: Found): Entry<V> | undefined
  /** What this process has set and the far tier has not taken yet. */
  ofMissed(missed: Change<V>): Entry<V> | undefined
  /** What is at hand and may be answered without the far tier. */
  alone(key: string): Entry<V> | undefined
  /** Answers all who wait with an entry, and who comes until the flight ends. */
  offer(flight: Flight<V>, entry: Entry<V>): void
  /** What is answered at once while a flight is under way. */
  meanwhile(flight: Flight<V>, nowMs: number): Entry<V> | undefined
  /** Answers one caller, and counts it. */
  give(caller: Caller<V>, entry: Entry<V>, as: AnsweredAs): void
}

export interface AnswersParts<V> {
  readonly settings: Pick<Settings<V>, 'clock'>
  readonly stats: { -readonly [K in keyof CacheStats]: CacheStats[K] }
  readonly near: Near<V>
  readonly far: Far | undefined
  readonly changes: Changes<V> | undefined
  readonly entries: Entries<V>
}

/** Whether the far tier is to be asked, as far as is known. */
export const canBeAsked = <V>(far: Far, near: Near<V>, key: string, nowMs: number): boolean =>
  far.answers(key) || near.isBehind(nowMs)

/** As what an answer with the entry counts, if it is no load's. */
export const ageOf = <V>(entry: Entry<V>, nowMs: number): 'hits' | 'stale' =>
  nowMs < entry.freshUntilMs ? 'hits' : 'stale'

export function createAnswers<V>({ settings, stats, near, far, changes, entries }: AnswersParts<V>): Answers<V> {
  const { clock } = settings

  const mayAnswer = (entry: Entry<V>, nowMs: number): boolean =>
    nowMs < entry.staleUntilMs && near.standing(entry, nowMs) === 'current'

  /** While the far tier does not answer. */
  const mayAnswerAlone = (entry: Entry<V>, nowMs: number): boolean =>
    mayAnswer(entry, nowMs) || (nowMs < entry.staleUntilMs && near.standing(entry, nowMs) === 'unconfirmed')

  /** Whether a mark ends what was found at `stamp`, as the far tier knows or may not have heard yet. */
  const hasEnded = (stamp: number, { ended }: Found, tags: readonly string[]): boolean =>
    ended || near.isUnmarked(stamp) || changes?.missedAny(tags) === true

  function ofFound(stamp: number, found: Found): Entry<V> | undefined {
    const { entry, sentMs } = found
    if (!entry || isPassing(entry) || hasEnded(stamp, found, entry.tags)) return undefined
    return entries.found(entry, sentMs, stamp)
  }

  function give(caller: Caller<V>, entry: Entry<V>, as: AnsweredAs): void {
    stats[as]++
    let value: V | undefined
    try {
      value = entries.valueOf(entry)
    } catch (error) {
      return caller.reject(error)
    }
    caller.resolve(value, as)
  }

  function offer(flight: Flight<V>, entry: Entry<V>): void {
    flight.fallback = entry
    const as = ageOf(entry, clock.nowMs())
    flight.settle((waiter) => give(waiter, entry, as))
  }

  /** Others may have changed the old value of a flight: the far tier is asked what may be answered meanwhile. */
  function lookAside(far: Far, flight: Flight<V>): void {
    const { key } = flight
    if (flight.phase === 'turn') return flight.wake?.()
    if (flight.phase !== 'load' || flight.looksAside) return
    flight.looksAside = true
    const { stamp } = near
    far.read(key, false, undefined, undefined).then(
      (found) => {
        flight.looksAside = false
        if (flight.ended || flight.overtaken) return
        if (stamp < near.missedAt) return lookAside(far, flight)
        const entry = changes?.missed(key) ? undefined : ofFound(stamp, found)
        if (entry && near.standing(entry, clock.nowMs()) !== 'ended') offer(flight, entry)
        else flight.fallback = undefined
      },
      (error: unknown) => {
        flight.looksAside = false
        far.failed(key, error)
        const { fallback } = flight
        const nowMs = clock.nowMs()
        if (fallback && !flight.ended && !near.isBehind(nowMs) && mayAnswerAlone(fallback, nowMs))
          offer(flight, fallback)
      },
    )
  }

  return {
    ofFound,
    ofWait({ stamp, waitsOver }, found) {
      const { entry } = found
      if (waitsOver === undefined || !entry || !isPassing(entry) || entry.sinceMs <= waitsOver) return undefined
      return hasEnded(stamp, found, entry.tags) ? undefined : entries.nothing(stamp)
    },
    ofMissed: ({ set }) => (set && mayAnswerAlone(set.entry, clock.nowMs()) ? set.entry : undefined),
    alone: (key) => (far ? near.alone(key, clock.nowMs()) : undefined),
    offer,
    meanwhile(flight, nowMs) {
      const { fallback, key } = flight
      if (!fallback) return undefined
      if (!mayAnswer(fallback, nowMs)) {
        if (near.standing(fallback, nowMs) === 'ended' || nowMs >= fallback.staleUntilMs) return undefined
        if (far && canBeAsked(far, near, key, nowMs)) {
          lookAside(far, flight)
          return undefined
        }
        if (!mayAnswerAlone(fallback, nowMs)) return undefined
      }
      return fallback
    },
    give,
  }
}
