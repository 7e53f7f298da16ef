import type { Grant, TellIn } from './grant.js'

/** What a caller asks for, checked. */
export interface Wish {
  readonly permits: number
  readonly ttlMs: number
  readonly renews: boolean
  readonly tellIn: TellIn
}

export interface Waiter extends Wish {
  readonly resolve: (grant: Grant) => void
  readonly reject: (error: Error) => void
}

interface Node {
  readonly waiter: Waiter
  previous: Node | undefined
  next: Node | undefined
}

/**
 * Callers in the order in which they came. A linked list: an array would move all of tens of thousands of waiters each time
 * one of them is served or leaves.
 */
export class Waiters implements Iterable<Waiter> {
  private readonly nodes = new Map<Waiter, Node>()
  private head: Node | undefined
  private tail: Node | undefined

  get first(): Waiter | undefined {
    return this.head?.waiter
  }

  get size(): number {
    return this.nodes.size
  }

  push(waiter: Waiter): void {
    const node: Node = { waiter, previous: this.tail, next: undefined }
    if (this.tail) this.tail.next = node
    else this.head = node
    this.tail = node
    this.nodes.set(waiter, node)
  }

  /** Whether it was there. */
  remove(waiter: Waiter): boolean {
    const node = this.nodes.get(waiter)
    if (!node) return false
    this.nodes.delete(waiter)
    if (node.previous) node.previous.next = node.next
    else this.head = node.next
    if (node.next) node.next.previous = node.previous
    else this.tail = node.previous
    return true
  }

  /** Removes all of them. */
  takeAll(): Waiter[] {
    const all = [...this]
    this.nodes.clear()
    this.head = this.tail = undefined
    return all
  }

  *[Symbol.iterator](): Iterator<Waiter> {
    for (let node = this.head; node; node = node.next) yield node.waiter
  }
}
