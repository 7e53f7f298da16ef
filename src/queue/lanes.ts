import { createHeap } from './heap.js'

/** One waiting or running item. Its lane is the order it keeps. */
export interface Entry<Item> {
  readonly item: Item
  readonly bytes: number
  readonly lane: Lane<Item>
  /** Its place in the order of arrival. */
  readonly sequence: number
}

/** Items of one key, in order. Nobody but {@link Lanes} changes it. */
export interface Lane<Item> {
  readonly key: string | undefined
  /** In order, from `head` on: taking from the front moves nothing. */
  waiting: Entry<Item>[]
  head: number
  /** The bytes of what waits. */
  bytes: number
  /** Put back while others were out: older than everything that waits. */
  returned: Entry<Item>[]
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
  add(key: string | undefined, item: Item, bytes: number): void
  /** Takes up to `max` items of up to `maxBytes` together, at least one, in the order of their arrival. */
  take(max: number, maxBytes: number): Entry<Item>[]
  /** The entry is done with. */
  finish(entry: Entry<Item>): void
  /** The entry goes back to where it stood in its lane, to be taken again. */
  putBack(entry: Entry<Item>): void
  /** Forgets every waiting item that is not wanted. */
  keep(wanted: (item: Item) => boolean): void
  /** How many items may be taken, and their bytes. */
  readonly ready: number
  readonly readyBytes: number
  /** The item that `take` would give first. */
  oldest(): Item | undefined
}

const longestGap = 1_024

export function createLanes<Item>(): Lanes<Item> {
  const byKey = new Map<string, Lane<Item>>()
  // Lanes by their first waiting item. A lane may be in it with a rank that is no longer right: then it is passed over.
  const heap = createHeap<Lane<Item>>()
  let ready = 0
  let readyBytes = 0
  let sequence = 0
  let rounds = 0

  const firstOf = (lane: Lane<Item>): Entry<Item> | undefined => lane.waiting[lane.head]

  function shift(lane: Lane<Item>): void {
    lane.bytes -= (firstOf(lane) as Entry<Item>).bytes
    lane.head++
    if (lane.head < longestGap || lane.head * 2 < lane.waiting.length) return
    lane.waiting = lane.waiting.slice(lane.head)
    lane.head = 0
  }

  function setReady(lane: Lane<Item>, isReady: boolean): void {
    lane.ready = isReady
    const sign = isReady ? 1 : -1
    ready += sign * (lane.waiting.length - lane.head)
    readyBytes += sign * lane.bytes
  }

  function settle(lane: Lane<Item>): void {
    if (lane.out > 0 || lane.ready) return
    if (lane.returned.length > 0) {
      const returned = lane.returned.sort((a, b) => a.sequence - b.sequence)
      lane.waiting = returned.concat(lane.waiting.slice(lane.head))
      lane.head = 0
      for (const { bytes } of returned) lane.bytes += bytes
      lane.returned = []
    }
    const first = firstOf(lane)
    if (first) {
      setReady(lane, true)
      heap.push(first.sequence, lane)
    } else if (lane.key !== undefined && byKey.get(lane.key) === lane) byKey.delete(lane.key)
  }

  return {
    add(key, item, bytes) {
      let lane = key === undefined ? undefined : byKey.get(key)
      if (!lane) {
        lane = { key, waiting: [], head: 0, bytes: 0, returned: [], out: 0, ready: false, round: 0 }
        if (key !== undefined) byKey.set(key, lane)
      }
      lane.waiting.push({ item, bytes, lane, sequence: sequence++ })
      lane.bytes += bytes
      if (lane.ready) {
        ready++
        readyBytes += bytes
      } else settle(lane)
    },
    take(max, maxBytes) {
      const taken: Entry<Item>[] = []
      const lanes: Lane<Item>[] = []
      const round = ++rounds
      let bytes = 0
      while (taken.length < max) {
        const next = heap.pop()
        if (!next) break
        const { rank, value: lane } = next
        const entry = firstOf(lane)
        if (entry?.sequence !== rank || !(lane.ready || lane.round === round)) continue
        bytes += entry.bytes
        if (taken.length > 0 && bytes > maxBytes) {
          if (lane.ready) heap.push(rank, lane)
          break
        }
        if (lane.ready) {
          setReady(lane, false)
          lane.round = round
          lanes.push(lane)
        }
        shift(lane)
        lane.out++
        taken.push(entry)
        const following = firstOf(lane)
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
      lane.returned.push(entry)
      lane.out--
      settle(lane)
    },
    keep(wanted) {
      // A lane without a key has one item: it waits, and then the heap has it, or it is out.
      const lanes = new Set([...byKey.values(), ...heap.clear()])
      ready = 0
      readyBytes = 0
      for (const lane of lanes) {
        const isWanted = ({ item }: Entry<Item>): boolean => wanted(item)
        lane.waiting = lane.waiting.slice(lane.head).filter(isWanted)
        lane.head = 0
        lane.bytes = lane.waiting.reduce((sum, { bytes }) => sum + bytes, 0)
        lane.returned = lane.returned.filter(isWanted)
        lane.ready = false
        settle(lane)
      }
    },
    get ready() {
      return ready
    },
    get readyBytes() {
      return readyBytes
    },
    oldest() {
      for (let next = heap.peek(); next; next = heap.peek()) {
        const { rank, value: lane } = next
        const first = firstOf(lane)
        if (lane.ready && first?.sequence === rank) return first.item
        heap.pop()
      }
      return undefined
    },
  }
}
