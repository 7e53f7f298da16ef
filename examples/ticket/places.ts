import { createHmac, randomBytes, timingSafeEqual } from 'node:crypto'
import { inTime, isDuplicate } from '../shared/database.js'
import type { TicketDatabase } from './tables.js'

/** A place in line: which order of which show may come in, and from when. */
export interface Place {
  readonly showId: string
  readonly orderId: string
  /** Milliseconds since 1970 by the clock that the servers share. */
  readonly dueAtMs: number
}

/** Writes and reads places. Everybody who has the key reads those of everybody else. */
export interface Places {
  /** The place as text: `<due time>.<HMAC-SHA256 over show, order and due time>`. */
  issue(place: Place): string
  /** The due time of a place for this order of this show; `undefined`: it is for another, or forged. */
  read(text: string, showId: string, orderId: string): number | undefined
}

const shape = /^([0-9a-z]{1,11})\.([A-Za-z0-9_-]{43})$/

export function createPlaces(key: string): Places {
  // Neither a show's id nor an order's has a space.
  const sign = ({ showId, orderId, dueAtMs }: Place): Buffer =>
    createHmac('sha256', key).update(`place ${showId} ${orderId} ${dueAtMs}`).digest()
  return {
    issue: (place) => `${place.dueAtMs.toString(36)}.${sign(place).toString('base64url')}`,
    read(text, showId, orderId) {
      const [, due = '', signature = ''] = shape.exec(text) ?? []
      const dueAtMs = parseInt(due, 36)
      if (!Number.isSafeInteger(dueAtMs)) return undefined
      const given = Buffer.from(signature, 'base64url')
      return timingSafeEqual(given, sign({ showId, orderId, dueAtMs })) ? dueAtMs : undefined
    },
  }
}

/** The key that all servers on a database share. Whoever starts first makes it. */
export async function keptPlaceKey(db: TicketDatabase): Promise<string> {
  const name = 'place-key'
  const kept = () => db.selectFrom('secrets').select('value').where('name', '=', name).executeTakeFirst()
  const known = await inTime(kept())
  if (known) return known.value
  const value = randomBytes(32).toString('base64url')
  try {
    await inTime(db.insertInto('secrets').values({ name, value }).execute())
    return value
  } catch (error) {
    if (!isDuplicate(error)) throw error
    return ((await inTime(kept())) as { value: string }).value
  }
}
