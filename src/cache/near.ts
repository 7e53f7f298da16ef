import type { Entry } from './entry.js'
import type { LocalStore } from './driver.js'
import { standing, type Standing } from './standing.js'

/** Ends of tags that are kept apart. */
const mostTags = 10_000

/** What began less than this ago, by the clock, is no older than what this process promises to have heard. */
const promisedMs = 1_000

/**
 * What this process knows by itself: the entries at hand, what has changed, and since when it has been told of changes
 * that others make. Time is counted in changes here: an entry has the stamp of the moment before its load or its round
 * trip began, and whatever happened since then may concern it. `standing` decides what that means for an answer.
 */
export class Near<V> {
  /** The newest stamp. */
  stamp = 1
  /** When the bus was last lost, or came back. Changes of others before that may have been missed. */
  missedAt = 0
  /**
   * Until when, by the clock, changes of others are heard: past it they may wait to be read, since this process was busy or
   * stopped. Every answer of the bus moves it on.
   */
  toldUntilMs: number
  /** The newest stamp of the end of any tag. */
  tagsEndedAt = 0
  /** When a mark was made last that the far tier had missed. */
  private markedAt = 0
  private readonly tagStamps = new Map<string, number>()
  /** Of the tags that are not kept apart, the newest stamp. */
  private tagFloor = 0

  constructor(
    readonly store: LocalStore<Entry<V>> | undefined,
    private readonly ttlMs: number,
    hasBus: boolean,
    /** No change can be missed, because others make none (`whenBusIsLost: 'trust'`). */
    private readonly trusts = false,
  ) {
    this.toldUntilMs = hasBus ? -Infinity : Infinity
  }

  /**
   * Changes of others are heard as a rule, and nothing has been read for too long: this process was busy or stopped. What it
   * knew of its connections then says little.
   */
  isBehind(nowMs: number): boolean {
    return nowMs >= this.toldUntilMs && this.toldUntilMs !== -Infinity
  }

  private isTold(nowMs: number): boolean {
    return nowMs < this.toldUntilMs || this.trusts
  }

  get(key: string): Entry<V> | undefined {
    return this.store?.get(key)
  }

  standing(entry: Entry<V>, nowMs: number): Standing {
    const endedAt = entry.tags.length === 0 ? 0 : this.endedAt(entry.tags)
    return standing(entry.stamp, endedAt, this.missedAt, this.isTold(nowMs))
  }

  /** Of what a look-up or a load that runs will bring, its tags aside, which are not known yet. */
  standingOfRun(stamp: number, beganMs: number, nowMs: number): Standing {
    const isTold = this.isTold(nowMs) || nowMs - beganMs < promisedMs
    return standing(stamp, 0, this.missedAt, isTold)
  }

  /** Keeps an entry unless it is not to be answered any more. */
  keep(key: string, entry: Entry<V>, nowMs: number): void {
    if (!this.store) return
    const known = this.store.get(key)
    if (known && known.stamp > entry.stamp) return
    const stands = this.standing(entry, nowMs)
    if (entry.staleUntilMs <= nowMs || stands === 'ended' || stands === 'doubtful') return void this.store.delete(key)
    const kept = this.ttlMs === Infinity ? entry : entry.within(nowMs + this.ttlMs)
    if (kept.body === undefined) kept.answer = Promise.resolve(kept.value)
    this.store.set(key, kept)
  }

  /** When one of the tags was ended for the last time; 0 for never. */
  endedAt(tags: readonly string[]): number {
    let newest = 0
    for (const tag of tags) newest = Math.max(newest, this.tagStamps.get(tag) ?? this.tagFloor)
    return newest
  }

  keysChanged(keys: readonly string[]): void {
    this.stamp++
    if (this.store) for (const key of keys) this.store.delete(key)
  }

  tagsChanged(tags: readonly string[]): void {
    const stamp = ++this.stamp
    this.tagsEndedAt = stamp
    for (const tag of tags) {
      this.tagStamps.delete(tag)
      this.tagStamps.set(tag, stamp)
    }
    for (const [oldest, at] of this.tagStamps) {
      if (this.tagStamps.size <= mostTags) break
      this.tagStamps.delete(oldest)
      this.tagFloor = at
    }
  }

  cleared(): void {
    this.stamp++
    this.store?.clear()
    this.tagStamps.clear()
  }

  /** What the far tier has been asked for before now may lack a mark. */
  marked(): void {
    this.markedAt = ++this.stamp
  }

  isUnmarked(stamp: number): boolean {
    return stamp < this.markedAt
  }

  heard(): void {
    this.mayHaveMissed()
  }

  lost(): void {
    this.mayHaveMissed()
    this.toldUntilMs = -Infinity
  }

  private mayHaveMissed(): void {
    this.stamp++
    if (!this.trusts) this.missedAt = this.stamp
  }

  /** An entry that may be answered while the far tier cannot be asked. */
  alone(key: string, nowMs: number): Entry<V> | undefined {
    const entry = this.store?.get(key)
    if (!entry || entry.staleUntilMs <= nowMs) return undefined
    const stands = this.standing(entry, nowMs)
    return stands === 'current' || stands === 'unconfirmed' ? entry : undefined
  }
}
