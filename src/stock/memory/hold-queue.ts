interface Hold {
  readonly endsAtMs: number
}

/** Holds in the order in which they end. Those that were settled before count no more. */
export interface HoldQueue<H extends Hold> {
  add(hold: H): void
  /** Takes the holds out that have ended by then. */
  takeUntil(nowMs: number): readonly H[]
  /** When the next one ends; `Infinity` if there is none. */
  firstEndMs(): number
}

/** A binary heap: holds of any lengths cost a logarithm each. */
export function createHoldQueue<H extends Hold>(isHeld: (hold: H) => boolean): HoldQueue<H> {
  const heap: H[] = []
  const endAt = (place: number): number => heap[place]?.endsAtMs ?? Infinity

  function removeFirst(): void {
    const last = heap.pop() as H
    if (heap.length === 0) return
    let place = 0
    for (;;) {
      const left = 2 * place + 1
      const child = endAt(left) <= endAt(left + 1) ? left : left + 1
      if (last.endsAtMs <= endAt(child)) break
      heap[place] = heap[child] as H
      place = child
    }
    heap[place] = last
  }

  /** The next hold to end. */
  function next(): H | undefined {
    while (heap[0] && !isHeld(heap[0])) removeFirst()
    return heap[0]
  }

  return {
    add(hold) {
      let place = heap.length
      while (place > 0) {
        const parent = (place - 1) >>> 1
        if (endAt(parent) <= hold.endsAtMs) break
        heap[place] = heap[parent] as H
        place = parent
      }
      heap[place] = hold
    },
    takeUntil(nowMs) {
      const ended: H[] = []
      for (let hold = next(); hold && hold.endsAtMs <= nowMs; hold = next()) {
        ended.push(hold)
        removeFirst()
      }
      return ended
    },
    firstEndMs: () => next()?.endsAtMs ?? Infinity,
  }
}
