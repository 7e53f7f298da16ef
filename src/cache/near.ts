import type { Entry } from './entry.js'
import type { LocalStore } from './driver.js'

/** Marks of tags that are kept apart. */
const mostTags = 10_000

/**
 * What this process knows by itself: the entries at hand, what has changed, and since when it has been told of changes
 * that others make. Time is counted in changes here: an entry has the stamp of the moment before its load or its trip
 * began, and whatever happened since then may concern it.
 */
export class Near<V> {
  /** The newest stamp. */
  stamp = 1
  /** Entries from here on are known to be as others have left them. */
  trustedFrom: number
  /**
   * Until when, by the clock: past it others' changes may wait to be read, since this process was busy or stopped. `heard`
   * and every answer of the bus move it on.
   */
  trustedUntilMs: number
  /** When the bus was lost for the last time. What is older is never answered. */
  lostAt = 0
  private readonly tagStamps = new Map<string, number>()
  /** Of the tags that are not kept apart, the newest stamp. */
  private tagFloor = 0

  constructor(
    readonly store: LocalStore<Entry<V>> | undefined,
    private readonly ttlMs: number,
    hasBus: boolean,
  ) {
    this.trustedFrom = hasBus ? Infinity : 0
    this.trustedUntilMs = hasBus ? 0 : Infinity
  }

  /** Whether others' changes are told to this process. */
  get isTold(): boolean {
    return this.trustedFrom !== Infinity
  }

  get(key: string): Entry<V> | undefined {
    return this.store?.get(key)
  }

  /** Keeps an entry unless something has happened to its tags since it was begun. */
  keep(key: string, entry: Entry<V>, nowMs: number): void {
    if (!this.store) return
    const known = this.store.get(key)
    if (known && known.stamp > entry.stamp) return
    if (entry.staleUntilMs <= nowMs || this.isOutdated(entry)) return void this.store.delete(key)
    const kept = this.ttlMs === Infinity ? entry : entry.within(nowMs + this.ttlMs)
    if (kept.body === undefined) kept.answer = Promise.resolve(kept.value)
    this.store.set(key, kept)
  }

  isOutdated({ tags, stamp }: Entry<V>): boolean {
    for (const tag of tags) if (this.tagStamp(tag) > stamp) return true
    return false
  }

  private tagStamp(tag: string): number {
    return this.tagStamps.get(tag) ?? this.tagFloor
  }

  keysChanged(keys: readonly string[]): void {
    this.stamp++
    if (this.store) for (const key of keys) this.store.delete(key)
  }

  tagsChanged(tags: readonly string[]): void {
    const stamp = ++this.stamp
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

  heard(): void {
    this.trustedFrom = ++this.stamp
  }

  lost(): void {
    this.lostAt = ++this.stamp
    this.trustedFrom = Infinity
  }

  /** An entry that may be answered while the far tier cannot be asked. */
  alone(key: string, nowMs: number): Entry<V> | undefined {
    const entry = this.store?.get(key)
    return entry && entry.stamp >= this.lostAt && entry.staleUntilMs > nowMs && !this.isOutdated(entry)
      ? entry
      : undefined
  }
}
