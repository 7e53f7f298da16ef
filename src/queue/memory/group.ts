import { onAbort } from '../../core/abort.js'
import type { Clock } from '../../core/clock.js'
import { ClosedError } from '../../core/errors.js'
import type { Delivery, QueueMember } from '../driver.js'
import type { Topic } from './topic.js'

/** A consumer group of a topic. */
export interface Group {
  join(): QueueMember
}

interface Place {
  /** Partition to the offset that is delivered next. */
  assigned: Map<number, number>
  /** Partitions of the present assignment that the front has enough of. */
  held: Set<number>
  /** Records delivered since the event loop last turned. */
  sinceTurn: number
  /** What to tell first. */
  news: 'revoking' | 'assigned' | undefined
  /** Takes part in the next sharing out. */
  ready: boolean
  closed: boolean
  wake: () => void
}

const deliverAtOnce = 1_000
const bytesAtOnce = 2 ** 20
const deliverPerTurn = 2_000

export function createGroup(topic: Topic, fromBeginning: boolean, clock: Clock): Group {
  const { partitions } = topic
  const committed = partitions.map(({ start, end }) => (fromBeginning ? start : end))
  const places: Place[] = []
  topic.addReader(committed)
  topic.watch(() => places.forEach(({ wake }) => wake()))

  /** Members are asked to let go, and the last one that does gets everybody a new share. */
  function shareOutAnew(): void {
    for (const place of places) {
      place.ready = place.assigned.size === 0
      place.news = place.ready ? undefined : 'revoking'
      place.wake()
    }
    shareOut()
  }

  function shareOut(): void {
    if (!places.every(({ ready }) => ready)) return
    for (const [i, place] of places.entries()) {
      place.assigned = new Map()
      place.held = new Set()
      for (let id = i; id < partitions.length; id += places.length) place.assigned.set(id, committed[id] as number)
      place.news = 'assigned'
      place.ready = false
      place.wake()
    }
  }

  function tell(place: Place): Delivery | undefined {
    const { news } = place
    place.news = undefined
    if (news === 'assigned') return { type: 'assigned', partitions: [...place.assigned.keys()] }
    return news && { type: 'revoking' }
  }

  function deliver(place: Place): Delivery | undefined {
    for (const [partition, position] of place.assigned) {
      if (place.held.has(partition)) continue
      const records = partitions[partition]?.read(position, deliverAtOnce, bytesAtOnce) ?? []
      const last = records.at(-1)
      if (!last) continue
      const nextOffset = last.offset + 1
      // Behind the others, so that each gets its turn.
      place.assigned.delete(partition)
      place.assigned.set(partition, nextOffset)
      place.sinceTurn += records.length
      return { type: 'records', partition, records, nextOffset }
    }
    return undefined
  }

  function leave(place: Place): void {
    if (place.closed) return
    place.closed = true
    place.wake()
    places.splice(places.indexOf(place), 1)
    shareOutAnew()
  }

  function membership(place: Place): QueueMember {
    let letGo = false
    return {
      async next(signal) {
        // Until now the share was still this member's, so that it could commit what it had finished.
        if (letGo) {
          letGo = false
          place.news = undefined
          place.assigned = new Map()
          place.ready = true
          shareOut()
        }
        // Handlers that wait for nothing would let this go on for as long as there are messages, and nothing else.
        if (place.sinceTurn >= deliverPerTurn) {
          await new Promise<void>((resolve) => void clock.after(0, resolve))
          place.sinceTurn = 0
        }
        for (;;) {
          if (place.closed) throw new ClosedError('the member has left its group')
          signal.throwIfAborted()
          const delivery = tell(place) ?? (place.ready ? undefined : deliver(place))
          if (delivery) {
            letGo = delivery.type === 'revoking'
            return delivery
          }
          await woken(place, signal)
        }
      },
      hold(partition, held) {
        if (held) place.held.add(partition)
        else place.held.delete(partition)
        place.wake()
      },
      async commit(positions) {
        for (const [partition, offset] of positions) {
          if (!place.assigned.has(partition) || place.closed) continue
          committed[partition] = offset
          topic.release(partition)
        }
      },
      lag: async () => partitions.reduce((sum, { end }, id) => sum + end - (committed[id] as number), 0),
      close: async () => leave(place),
    }
  }

  return {
    join() {
      const place: Place = {
        assigned: new Map(),
        held: new Set(),
        sinceTurn: 0,
        news: undefined,
        ready: true,
        closed: false,
        wake: () => undefined,
      }
      places.push(place)
      shareOutAnew()
      return membership(place)
    },
  }
}

function woken(place: Place, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const done = (): void => {
      place.wake = () => undefined
      unwatch()
      resolve()
    }
    const unwatch = onAbort(signal, done)
    place.wake = done
  })
}
