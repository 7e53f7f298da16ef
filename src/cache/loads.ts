import { callTimeout } from '../core/clock.js'
import { ClosedError } from '../core/errors.js'
import { ageOf, canBeAsked, createAnswers } from './answers.js'
import type { Changes } from './changes.js'
import type { Settings } from './check.js'
import type { Born } from './driver.js'
import type { Entries, Entry } from './entry.js'
import { isDueEarly } from './expiry.js'
import { createFailures } from './failures.js'
import type { Far, Found } from './far.js'
import { Flight, type AnsweredAs, type Caller, type Lateness, type Waiter } from './flight.js'
import type { Group, Loader } from './loader.js'
import type { Near } from './near.js'
import { renewTurn, untilWoken } from './turn.js'
import type { CacheStats } from './types.js'

/** Looks keys up in the far tier and loads those that miss: one flight per key at a time. */
export interface Loads<V> {
  /** `caller` joins the flight of the key, or starts one. `nowMs`: when it came. */
  join(key: string, nowMs: number, caller: Caller<V>, signal: AbortSignal | undefined, group?: Group<V>): void
  isUnderWay(key: string): boolean
  /** Loads in the background, unless that is under way or has failed just now. */
  refresh(key: string, entry: Entry<V>): void
  /** A load of these that is under way counts no more. */
  keysChanged(keys: readonly string[]): void
  /** Tags have ended. Whether that concerns a load is known by the tags of what it brings, or of what was there before. */
  tagsChanged(): void
  cleared(): void
  turnEnded(key: string): void
  /** What is being read may be older than what has happened since, and the end of another's turn may have been missed. */
  lookAgain(): void
  close(): void
}

export interface LoadsParts<V> {
  readonly settings: Settings<V>
  readonly stats: { -readonly [K in keyof CacheStats]: CacheStats[K] }
  readonly near: Near<V>
  readonly far: Far | undefined
  readonly changes: Changes<V> | undefined
  readonly entries: Entries<V>
  readonly loader: Loader<V>
  /** How often a turn is renewed. */
  readonly renewMs: number
}

/** The end of another process' turn is told, but the word may be lost; and without the bus none arrives. */
const longestWaitMs = 1_000
const longestDeafWaitMs = 50

/** How long a get waits for a load that it may not be answered by, to learn what the load brings, before it loads itself. */
const patienceMs = 2_000

export function createLoads<V>(parts: LoadsParts<V>): Loads<V> {
  const { settings, stats, near, far, changes, entries, loader, renewMs } = parts
  const { clock, loadTimeoutMs, earlyRefresh, random, report } = settings
  const flights = new Map<string, Flight<V>>()
  /** Loads that a change may have overtaken, and beside which others were started: one for each key at the most. */
  const doubted = new Map<string, Flight<V>>()
  /** Flights that nobody joins any more. */
  const strays = new Set<Flight<V>>()
  const failures = createFailures(clock)
  const answers = createAnswers(parts)
  let closed = false

  const isAsked = (key: string, nowMs: number): boolean => far !== undefined && canBeAsked(far, near, key, nowMs)

  /** `fly` it once it has whom it is for: it may land at once. */
  function newFlight(key: string, over?: number, group?: Group<V>): Flight<V> {
    const flight = new Flight(key, over, doubted.get(key)?.turn?.id, group)
    flights.set(key, flight)
    return flight
  }

  async function fly(flight: Flight<V>, beginsMs: number): Promise<void> {
    const { key, over } = flight
    try {
      for (let nowMs = beginsMs; ; nowMs = clock.nowMs()) {
        flight.phase = 'look'
        flight.lookAgain = false
        flight.woken = false
        flight.begin(near.stamp, nowMs)
        const settled = changes?.settled(key)
        if (settled) {
          await settled
          flight.begin(near.stamp, clock.nowMs())
        }
        let missed = far && changes?.missed(key)
        const repeated = missed?.set && !answers.ofMissed(missed) && changes?.repeated()
        if (repeated) {
          // Others may have changed it since, and the far tier is about to be told.
          await repeated
          flight.begin(near.stamp, clock.nowMs())
          missed = changes?.missed(key)
        }
        const found = far && !missed && isAsked(key, flight.beganMs) ? await ask(far, flight) : undefined
        if (closed) return
        nowMs = clock.nowMs()
        if (!found && near.isBehind(nowMs)) {
          // What was told meanwhile lies unread. The bus is asked for a sign of life just now.
          await untilWoken(flight, longestDeafWaitMs, clock)
          continue
        }
        const entry = found
          ? answers.ofFound(flight.stamp, found)
          : missed
            ? answers.ofMissed(missed)
            : answers.alone(key)
        if (flight.lookAgain) continue
        const none = found && answers.ofWait(flight, found)
        if (none) {
          near.keep(key, none, nowMs)
          return land(flight, none, 'hits')
        }
        if (entry && found) near.keep(key, entry, found.sentMs)
        const isFresh = entry !== undefined && nowMs < entry.freshUntilMs
        if (isFresh && (over === undefined || (found && !found.turn))) {
          land(flight, entry, 'hits')
          return refreshEarly(key, entry, nowMs)
        }
        if (entry && !isFresh) {
          if (failures.isRecent(key)) return land(flight, entry, 'stale')
          answers.offer(flight, entry)
        }
        if (found?.busyMs !== undefined) await anothersTurn(flight, found.busyMs, found.entry?.sinceMs)
        else if (!found || found.turn || hasNone(flight, found)) return await load(flight, found?.marks)
        // Nothing that may be answered, and no turn either: it was not asked for, or what is there looked fresh.
        else takeNext(flight, found.entry?.sinceMs)
        if (closed) return
      }
    } catch (error) {
      fail(flight, error)
    }
  }

  /** `undefined` if the far tier does not answer. */
  function ask(far: Far, flight: Flight<V>): Promise<Found | undefined> | undefined {
    const { key, over, turn, replaces, insists } = flight
    // A key whose load has failed is only looked at, until it turns out that there is no old value to answer with.
    const takes = insists || !failures.isRecent(key)
    return far.read(key, takes, over, turn?.id ?? replaces, flight.group !== undefined).then(
      (found) => {
        flight.turn = found.turn
        return found
      },
      (error: unknown) => {
        if (error instanceof ClosedError) throw error
        far.failed(key, error)
        return undefined
      },
    )
  }

  /** No turn can be had: it was refused, or asked for in vain. */
  const hasNone = ({ insists, over = -Infinity }: Flight<V>, { refused, entry }: Found): boolean =>
    refused !== undefined || (insists && !(entry && entry.sinceMs > over))

  function takeNext(flight: Flight<V>, over: number | undefined): void {
    flight.insists = true
    flight.over = over
  }

  /** Waits for the end of another process' load. */
  async function anothersTurn(flight: Flight<V>, busyMs: number, over = -Infinity): Promise<void> {
    flight.waitsOver ??= over
    flight.group?.leave()
    flight.group = undefined
    flight.enter('turn', loadTimeoutMs, clock)
    await untilWoken(
      flight,
      Math.min(busyMs + 1, clock.nowMs() < near.toldUntilMs ? longestWaitMs : longestDeafWaitMs),
      clock,
    )
  }

  /** `born`: the marks as they were before. `undefined` if the far tier was not there to be asked. */
  async function load(flight: Flight<V>, born: Born | undefined): Promise<void> {
    const { key, group } = flight
    flight.group = undefined
    flight.enter('load', loadTimeoutMs, clock)
    flight.stopRenewing = renewTurn(flight, far, renewMs, clock)
    let entry: Entry<V>
    let stored
    let loaded
    try {
      loaded = await (group ? group.load(key) : loader.load(key))
      const { value, tookMs } = loaded
      stored = value === undefined ? entries.absent(tookMs) : entries.stored(key, value, tookMs)
      const sinceMs = flight.turn?.sinceMs
      entry = stored ? entries.local(key, stored, sinceMs, clock.nowMs(), flight.stamp) : entries.nothing(flight.stamp)
    } finally {
      flight.stopRenewing?.()
    }
    if (closed) return
    failures.forget(key)
    let kept = !flight.turnLost
    if (far && flight.turn && born) {
      const { turn } = flight
      // Without the far tier this process still has it.
      const told = stored ?? (settings.fleetLoadMs === undefined ? undefined : entries.passing(loaded.tookMs))
      kept = await far.fill(key, turn, told, born, group !== undefined).catch(() => true)
      flight.turn = undefined
    }
    if (kept && !flight.overtaken) near.keep(key, entry, clock.nowMs())
    land(flight, entry, 'misses')
  }

  /** Ends a flight: nobody joins it any more, and whoever waits is answered. */
  function land(flight: Flight<V>, entry: Entry<V>, as: AnsweredAs): void {
    leave(flight)
    // Of several ends of a tag only the last is known, so one that came before it may have been between the two.
    const hasEnded = entry.tags.length > 0 && near.endedAt(entry.tags) > flight.stamp
    hand(
      flight.key,
      flight.dismiss(({ late }) => late === 'missed' || (late === 'tags' && hasEnded)),
    )
    flight.settle((waiter) => answers.give(waiter, entry, as))
  }

  /** Makes waiters wait for the flight of the key that runs now, or for a new one. */
  function hand(key: string, waiters: readonly Waiter<V>[]): void {
    if (waiters.length === 0) return
    const known = flights.get(key)
    const flight = known ?? newFlight(key)
    for (const waiter of waiters) {
      waiter.late = known && lateness(known, waiter.stamp, clock.nowMs())
      flight.waiters.push(waiter)
    }
    if (!known) void fly(flight, clock.nowMs())
    else if (waiters.some(({ late }) => late)) growImpatient(known)
  }

  /** Why a get that came at `stamp` may not be answered with what the flight brings, if that can be. */
  function lateness(flight: Flight<V>, stamp: number, nowMs: number): Lateness {
    const stands = near.standingOfRun(flight.stamp, flight.beganMs, nowMs)
    if (stands !== 'current') {
      // What has only been looked up is looked up again.
      if (!restart(flight) && (stands === 'doubtful' || isAsked(flight.key, nowMs))) return 'missed'
    }
    return settings.tags && near.tagsEndedAt > flight.stamp && stamp > flight.stamp ? 'tags' : undefined
  }

  /** Somebody waits for the load who may not be answered by it. */
  function growImpatient(flight: Flight<V>): void {
    if (flight.phase !== 'load' || flight.cancelPatience) return
    // Without a turn nothing will be known of it at its end that is not known now.
    const waitsMs = flight.turn || flight.waiters.every(({ late }) => late !== 'missed') ? patienceMs : 0
    const beside = (): void => {
      flight.cancelPatience = undefined
      if (doubted.has(flight.key) || flights.get(flight.key) !== flight) return
      if (!flight.waiters.some(({ late, settled }) => late && !settled)) return
      doubted.set(flight.key, flight)
      abandon(flight)
    }
    if (waitsMs === 0) beside()
    else flight.cancelPatience = callTimeout(clock, waitsMs, beside)
  }

  function fail(flight: Flight<V>, error: unknown): void {
    const hadLoaded = flight.phase === 'load'
    leave(flight)
    if (closed) return
    if (hadLoaded) failures.note(flight.key)
    let heard = false
    flight.settle((waiter) => {
      heard = true
      stats.misses++
      waiter.reject(error)
    })
    if (!heard) report(error)
  }

  function leave(flight: Flight<V>): void {
    const { key, turn } = flight
    if (flight.ended) return
    flight.ended = true
    if (flights.get(key) === flight) flights.delete(key)
    else strays.delete(flight)
    if (doubted.size > 0 && doubted.get(key) === flight) doubted.delete(key)
    flight.stopRenewing?.()
    flight.cancelPatience?.()
    if (!closed) flight.group?.leave()
    if (turn) far?.release(key, turn)
  }

  function refreshEarly(key: string, entry: Entry<V>, nowMs: number): void {
    if (nowMs < entry.quietUntilMs || !isDueEarly(nowMs, entry.freshUntilMs, entry.loadMs, earlyRefresh, random)) return
    refresh(key, entry)
  }

  function refresh(key: string, entry: Entry<V>): void {
    if (closed || flights.has(key) || failures.isRecent(key)) return
    const nowMs = clock.nowMs()
    const flight = newFlight(key, nowMs < entry.freshUntilMs ? (entry.sinceMs ?? -Infinity) : undefined)
    flight.fallback = entry
    void fly(flight, nowMs)
  }

  function join(
    key: string,
    nowMs: number,
    caller: Caller<V>,
    signal: AbortSignal | undefined,
    group?: Group<V>,
  ): void {
    const known = flights.get(key)
    const answer = known && answers.meanwhile(known, nowMs)
    if (answer) return answers.give(caller, answer, ageOf(answer, nowMs))
    const flight = known ?? newFlight(key, undefined, group)
    const late = known && lateness(known, near.stamp, nowMs)
    flight.join(caller, near.stamp, late, loadTimeoutMs, clock, signal)
    if (!known) void fly(flight, nowMs)
    else if (late) growImpatient(known)
  }

  /** Makes a flight begin anew if it has only looked; says whether it has. */
  function restart(flight: Flight<V>): boolean {
    if (flight.phase === 'load') return false
    flight.lookAgain = true
    flight.wake?.()
    return true
  }

  function overtake(flight: Flight<V>): void {
    flight.fallback = undefined
    if (restart(flight)) return
    flight.overtaken = true
    abandon(flight)
  }

  /** Nobody joins it any more, and who waits for it in vain waits for another. */
  function abandon(flight: Flight<V>): void {
    const { key } = flight
    if (flights.get(key) !== flight) return
    flights.delete(key)
    strays.add(flight)
    hand(
      key,
      flight.dismiss(({ late }) => late !== undefined),
    )
  }

  return {
    join,
    isUnderWay: (key) => flights.has(key),
    refresh,
    keysChanged(keys) {
      for (const key of keys) {
        for (const flight of [flights.get(key), doubted.get(key)]) if (flight) overtake(flight)
        doubted.delete(key)
        failures.forget(key)
      }
    },
    tagsChanged() {
      for (const flight of flights.values()) {
        if (restart(flight) || doubted.has(flight.key)) continue
        const { fallback } = flight
        // What the key had before is the best guess at the tags of what it will have.
        if (!fallback || near.standing(fallback, clock.nowMs()) !== 'ended') continue
        doubted.set(flight.key, flight)
        abandon(flight)
      }
    },
    cleared() {
      for (const flight of [...flights.values(), ...doubted.values()]) {
        overtake(flight)
        const { turn } = flight
        // The marks say whether what it brings was born before the clear. Only who waits for a turn is not to wait for that.
        if (!flight.overtaken || !turn || settings.fleetLoadMs === undefined) continue
        flight.turn = undefined
        flight.turnLost = true
        far?.release(flight.key, turn)
      }
      doubted.clear()
      failures.clear()
    },
    turnEnded(key) {
      const flight = flights.get(key)
      if (!flight) return
      flight.woken = true
      flight.wake?.()
    },
    lookAgain() {
      for (const flight of flights.values()) restart(flight)
    },
    close() {
      closed = true
      for (const flight of [...flights.values(), ...strays]) {
        flight.wake?.()
        leave(flight)
        flight.settle((waiter) => waiter.reject(new ClosedError('cache: closed while waiting')))
      }
    },
  }
}
