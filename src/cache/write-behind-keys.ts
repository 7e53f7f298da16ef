import type { Clock } from '../core/clock.js'
import type { Claim, Touch } from './write-behind-driver.js'

interface Own {
  readonly touch: string
  readonly atMs: number
}

/** Keys that this process has touched and that may not be flushed yet. */
export class OwnKeys {
  private readonly touched = new Map<string, Own>()

  constructor(private readonly clock: Clock) {}

  get isEmpty(): boolean {
    return this.touched.size === 0
  }

  add(key: string, touch: string): void {
    this.touched.delete(key)
    this.touched.set(key, { touch, atMs: this.clock.nowMs() })
  }

  /** By a flush that began then. */
  flushed(claims: readonly Claim[], startedMs: number): void {
    for (const { key } of claims) if ((this.touched.get(key)?.atMs ?? Infinity) <= startedMs) this.touched.delete(key)
  }

  /** They are with the other processes now. */
  drop(claims: readonly Claim[]): void {
    for (const { key } of claims) this.touched.delete(key)
  }

  /** They were flushed since these touches. */
  forget(touches: readonly Touch[]): void {
    for (const { key, touch } of touches) if (this.touched.get(key)?.touch === touch) this.touched.delete(key)
  }

  /** They come last, as if they were touched now. */
  postpone(touches: readonly Touch[]): void {
    for (const { key, touch } of touches) if (this.touched.get(key)?.touch === touch) this.add(key, touch)
  }

  /** The newest touch of each of the oldest, if it was before that time. */
  oldest(most: number, beforeMs = Infinity): Touch[] {
    const touches: Touch[] = []
    for (const [key, { touch, atMs }] of this.touched) {
      if (touches.length === most || atMs >= beforeMs) break
      touches.push({ key, touch })
    }
    return touches
  }
}
