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
  readonly held: Set<number>
  /** What to tell first. */
  news: 'revoking' | 'assigned' | undefined
  /** Takes part in the next sharing out. */
  ready: boolean
  closed: boolean
  wake: () => void
}

const deliverAtOnce = 1_000

export function createGroup(topic: Topic, fromBeginning: boolean): Group {
  const { partitions } = topic
  const committed = partitions.map((records) => (fromBeginning ? 0 : records.length))
  const places: Place[] = []
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
      const records = (partitions[partition] ?? []).slice(position, position + deliverAtOnce)
      if (records.length === 0 || place.held.has(partition)) continue
      const nextOffset = position + records.length
      // Behind the others, so that each gets its turn.
      place.assigned.delete(partition)
      place.assigned.set(partition, nextOffset)
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
          if (place.assigned.has(partition) && !place.closed) committed[partition] = offset
        }
      },
      lag: async () => partitions.reduce((sum, records, id) => sum + records.length - (committed[id] as number), 0),
      close: async () => leave(place),
    }
  }

  return {
    join() {
      const place: Place = {
        assigned: new Map(),
        held: new Set(),
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
      signal.removeEventListener('abort', done)
      resolve()
    }
    place.wake = done
    signal.addEventListener('abort', done, { once: true })
  })
}
