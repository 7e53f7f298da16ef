import type { RateLimiter } from 'spillway/ratelimit'
import type { Room } from './options.js'
import type { Places } from './places.js'

/** A place in line, as its owner is told of it. */
export interface PlaceInLine {
  readonly place: string
  readonly dueAtMs: number
  readonly dueInMs: number
  /** From then on it cannot be used. */
  readonly lapsesAtMs: number
  /** About how many people are let in before. */
  readonly ahead: number
}

/** Why an order is not let in now. */
export type RoomRefusal =
  | { readonly kind: 'forged' | 'full' }
  | ({ readonly kind: 'inLine' } & PlaceInLine)
  | { readonly kind: 'early'; readonly dueAtMs: number; readonly dueInMs: number }
  | { readonly kind: 'lapsed'; readonly lapsedAtMs: number }

/** The turn of an order that is let in, or that has a place in line; without a turn there is only a `refusal`. */
export interface Turn {
  /** Absent: the order is let in. */
  readonly refusal?: RoomRefusal
  /** Lets the next person have it. */
  giveBack(): void
}

export interface WaitingRoom {
  /** Lets an order in, now or with a place that is due; otherwise gives it a place in line. */
  enter(showId: string, orderId: string, place: string | undefined): Promise<Turn>
}

/** A line longer than this takes nobody more. */
const longestWaitMs = 3_600_000

const nothing = (): void => undefined
/** Without a turn, or with one that a place stands for. */
export const letIn: Turn = { giveBack: nothing }
const refused = (refusal: RoomRefusal): Turn => ({ refusal, giveBack: nothing })

/**
 * The room of a show. `limiter` has a token for each person it lets in; who comes when there is none gets the next one that
 * is not promised yet, and a place that says when it is due. A place is kept by nobody: its signature shows that it is real.
 * It is for one order, so using it twice asks for the same order twice, which changes nothing.
 */
export function createWaitingRoom(
  { perSecond, lapseMs }: Room,
  limiter: Pick<RateLimiter, 'reserve'>,
  places: Places,
  nowMs: () => number,
): WaitingRoom {
  function check(text: string, showId: string, orderId: string): Turn {
    const dueAtMs = places.read(text, showId, orderId)
    if (dueAtMs === undefined) return refused({ kind: 'forged' })
    const dueInMs = dueAtMs - nowMs()
    if (dueInMs > 0) return refused({ kind: 'early', dueAtMs, dueInMs: Math.ceil(dueInMs) })
    return -dueInMs < lapseMs ? letIn : refused({ kind: 'lapsed', lapsedAtMs: dueAtMs + lapseMs })
  }

  return {
    async enter(showId, orderId, place) {
      if (place !== undefined) return check(place, showId, orderId)
      const reserved = await limiter.reserve(showId, { maxWaitMs: longestWaitMs })
      if (!reserved) return refused({ kind: 'full' })
      // A turn that cannot be given back is lost, as a place is that nobody uses.
      const giveBack = (): void => void reserved.cancel().catch(nothing)
      if (reserved.dueInMs <= 0) return { giveBack }
      const dueAtMs = Math.ceil(nowMs() + reserved.dueInMs)
      const refusal = {
        kind: 'inLine',
        place: places.issue({ showId, orderId, dueAtMs }),
        dueAtMs,
        dueInMs: Math.ceil(reserved.dueInMs),
        lapsesAtMs: dueAtMs + lapseMs,
        ahead: Math.ceil((reserved.dueInMs / 1_000) * perSecond) - 1,
      } as const
      return { refusal, giveBack }
    },
  }
}
