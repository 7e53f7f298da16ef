import { createHeap } from './heap.js'

/** One waiting or running item. Its lane is the order it keeps. */
export interface Entry<Item> {
  readonly item: Item
  readonly lane: Lane<Item>
  /** Its place in the order of arrival. */
  readonly sequence: number
}

/** Items of one key, in order. Nobody but {@link Lanes} changes it. */
export interface Lane<Item> {
  readonly key: string | undefined
  readonly waiting: Entry<Item>[]
  /** Entries taken and not yet returned. While there are any, nothing else of the lane is taken. */
  out: number
  ready: boolean
  /** The round of `take` that took from it last. */
  round: number
}

/**
 * Keeps the order of keys while many things run at once: what is taken of a key comes back before more of it is taken.
 * Items without a key are free of each other. Of what may be taken, the oldest comes first; so what is taken one by one,
 * each returned before the next, comes in the order of arrival.
 */
export interface Lanes<Item> {
  add(key: string | undefined, item: Item): void
  /** Takes up to `max` items, in the order of their arrival; unwanted ones are dropped on the way. */
  take(max: number, wanted: (item: Item) => boolean): Entry<Item>[]
  /** The entry is done with. */
  finish(entry: Entry<Item>): void
  /** The entry goes back to where it stood in its lane, to be taken again. */
  putBack(entry: Entry<Item>): void
  /** How many items `take` would look at: an upper bound of what it gives. */
  readonly ready: number
  /** The item that `take` would look at first. */
  oldest(): Item | undefined
}

export function createLanes<Item>(): Lanes<Item> {
  const byKey = new Map<string, Lane<Item>>()
  // Lanes by their first waiting item. A lane may be in it with a rank that is no longer right: then it is passed over.
  const heap = createHeap<Lane<Item>>()
  let ready = 0
  let sequence = 0
  let rounds = 0

  function settle(lane: Lane<Item>): void {
    if (lane.out > 0 || lane.ready) return
    const [first] = lane.waiting
    if (first) {
      lane.ready = true
      ready += lane.waiting.length
      heap.push(first.sequence, lane)
    } else if (lane.key !== undefined) byKey.delete(lane.key)
  }

  return {
    add(key, item) {
      let lane = key === undefined ? undefined : byKey.get(key)
      if (!lane) {
        lane = { key, waiting: [], out: 0, ready: false, round: 0 }
        if (key !== undefined) byKey.set(key, lane)
      }
      lane.waiting.push({ item, lane, sequence: sequence++ })
      if (lane.ready) ready++
      else settle(lane)
    },
    take(max, wanted) {
      const taken: Entry<Item>[] = []
      const lanes: Lane<Item>[] = []
      const round = ++rounds
      while (taken.length < max) {
        const next = heap.pop()
        if (!next) break
        const lane = next.value
        if (lane.waiting[0]?.sequence !== next.rank || !(lane.ready || lane.round === round)) continue
        if (lane.ready) {
          lane.ready = false
          ready -= lane.waiting.length
          lane.round = round
          lanes.push(lane)
        }
        const entry = lane.waiting.shift() as Entry<Item>
        if (wanted(entry.item)) {
          lane.out++
          taken.push(entry)
        }
        const [following] = lane.waiting
        if (following) heap.push(following.sequence, lane)
      }
      for (const lane of lanes) settle(lane)
      return taken
    },
    finish({ lane }) {
      lane.out--
      settle(lane)
    },
    putBack(entry) {
      const { lane } = entry
      lane.out--
      const at = lane.waiting.findIndex((other) => other.sequence > entry.sequence)
      lane.waiting.splice(at < 0 ? lane.waiting.length : at, 0, entry)
      settle(lane)
    },
    get ready() {
      return ready
    },
    oldest() {
      for (let next = heap.peek(); next; next = heap.peek()) {
        const { rank, value: lane } = next
        if (lane.ready && lane.waiting[0]?.sequence === rank) return lane.waiting[0].item
        heap.pop()
      }
      return undefined
    },
  }
}
