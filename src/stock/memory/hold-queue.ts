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

/** Holds of one length come in the order in which they end, so most are added at the end of the list. */
export function createHoldQueue<H extends Hold>(isHeld: (hold: H) => boolean): HoldQueue<H> {
  let holds: H[] = []
  let first = 0

  /** The next hold to end. */
  function next(): H | undefined {
    for (let hold = holds[first]; hold && !isHeld(hold); hold = holds[first]) first++
    if (first * 2 > holds.length) {
      holds = holds.slice(first)
      first = 0
    }
    return holds[first]
  }

  return {
    add(hold) {
      let low = first
      let high = holds.length
      while (low < high) {
        const middle = (low + high) >>> 1
        if ((holds[middle] as H).endsAtMs <= hold.endsAtMs) low = middle + 1
        else high = middle
      }
      if (low === holds.length) holds.push(hold)
      else holds.splice(low, 0, hold)
    },
    takeUntil(nowMs) {
      const ended: H[] = []
      for (let hold = next(); hold && hold.endsAtMs <= nowMs; hold = next()) {
        ended.push(hold)
        first++
      }
      return ended
    },
    firstEndMs: () => next()?.endsAtMs ?? Infinity,
  }
}
