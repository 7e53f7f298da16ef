import type { Grant, Observation } from './grant.js'

/** What a caller asks for, checked. */
export interface Wish {
  readonly permits: number
  readonly ttlMs: number
  readonly renews: boolean
  readonly observation: Observation | undefined
}

/** A caller that waits. It is its own place in the list. */
export class Waiter implements Wish {
  readonly permits: number
  readonly ttlMs: number
  readonly renews: boolean
  readonly observation: Observation | undefined
  /** Neighbours in the list, which nobody but {@link Waiters} changes. */
  previous: Waiter | undefined
  next: Waiter | undefined
  list: Waiters | undefined

  constructor(
    { permits, ttlMs, renews, observation }: Wish,
    readonly resolve: (grant: Grant) => void,
    readonly reject: (error: Error) => void,
  ) {
    this.permits = permits
    this.ttlMs = ttlMs
    this.renews = renews
    this.observation = observation
  }
}

/**
 * Callers in the order in which they came. A linked list: an array would move all of tens of thousands of waiters each time
 * one of them is served or leaves.
 */
export class Waiters implements Iterable<Waiter> {
  first: Waiter | undefined
  private last: Waiter | undefined
  size = 0

  push(waiter: Waiter): void {
    waiter.list = this
    waiter.previous = this.last
    if (this.last) this.last.next = waiter
    else this.first = waiter
    this.last = waiter
    this.size++
  }

  /** Whether it was there. */
  remove(waiter: Waiter): boolean {
    if (waiter.list !== this) return false
    const { previous, next } = waiter
    if (previous) previous.next = next
    else this.first = next
    if (next) next.previous = previous
    else this.last = previous
    waiter.list = waiter.previous = waiter.next = undefined
    this.size--
    return true
  }

  /** Removes all of them. */
  takeAll(): Waiter[] {
    const all = [...this]
    for (const waiter of all) this.remove(waiter)
    return all
  }

  *[Symbol.iterator](): Iterator<Waiter> {
    for (let waiter = this.first; waiter; waiter = waiter.next) yield waiter
  }
}
