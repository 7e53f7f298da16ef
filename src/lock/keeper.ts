import type { Clock } from '../core/clock.js'
import { outsideRequests } from '../core/context.js'
import type { Claim, LockReply } from './driver.js'
import { Grant, type Hold, type Observation } from './grant.js'

/** An answer, with the moment from which its `heldMs` count. */
export interface Answer {
  readonly reply: LockReply
  readonly sentMs: number
}

/** To whom a hold is granted. */
interface Caller {
  readonly renews: boolean
  readonly observation: Observation | undefined
}

/**
 * Keeps the holds of a process: renews them, and declares them lost in time. A deadline lies a twentieth of the TTL (a
 * second at most) before the moment from which the backend may grant the key to others: for clocks that run at different
 * speeds, and for timers that are late.
 */
export interface Keeper {
  /** Begins to keep what was granted to a caller; `undefined` if its time is over already. */
  keep(claim: Claim, answer: Answer, caller: Caller): Hold | undefined
  /** Whether the hold still counts. Looks at the clock, and declares it lost if it must. */
  isHeld(hold: Hold): boolean
  /** Forgets a hold that is about to be released. */
  letGo(hold: Hold): void
  /** Tells the holder that its hold is over, and forgets it. `onLost` is not called: the caller frees the key. */
  end(hold: Hold, why: string): void
  readonly holds: ReadonlySet<Hold>
}

export function createKeeper(options: {
  readonly clock: Clock
  /** Holds last as long as a session of the driver, whatever their TTL. */
  readonly bySession: boolean
  readonly renew: (claim: Claim) => Promise<Answer>
  /** The hold has been declared lost, and is kept no longer. */
  readonly onLost: (hold: Hold) => void
}): Keeper {
  const { clock, bySession, renew, onLost } = options
  const holds = new Set<Hold>()
  let timer: { readonly atMs: number; readonly cancel: () => void } | undefined

  const deadlineOf = (sentMs: number, heldMs: number): number => sentMs + heldMs - Math.min(heldMs / 20, 1_000)

  /** One timer, for the first hold that needs something. A lock that somebody forgot does not keep the process alive. */
  function schedule(atMs: number): void {
    if (timer && timer.atMs <= atMs) return
    timer?.cancel()
    // It serves all holds, so it runs in the context of none of their callers.
    timer = { atMs, cancel: outsideRequests(() => clock.after(atMs - clock.nowMs(), tick, true)) }
  }

  function tick(): void {
    timer = undefined
    const nowMs = clock.nowMs()
    let nextMs = Infinity
    for (const hold of holds) {
      if (nowMs >= hold.deadlineMs) expire(hold)
      // Those that are due soon go along, so that the renewals of a process share a trip.
      else if (hold.renewAtMs - nowMs <= hold.heldMs / 12) void extend(hold)
      nextMs = Math.min(nextMs, hold.deadlineMs, hold.renewAtMs)
    }
    if (holds.size > 0) schedule(nextMs)
  }

  async function extend(hold: Hold): Promise<void> {
    hold.renewAtMs = Infinity
    try {
      const { reply, sentMs } = await renew(hold.claim)
      if (!holds.has(hold)) return
      if (!reply.ok) return lose(hold, 'the backend no longer knows it')
      plan(hold, sentMs, reply.heldMs as number)
    } catch (error) {
      // Whatever it was, the deadline stands; there may be time for another try.
      hold.failure = error
      hold.renewAtMs = clock.nowMs() + Math.min(1_000, hold.heldMs / 10)
      if (holds.has(hold)) schedule(hold.renewAtMs)
    }
  }

  function plan(hold: Hold, sentMs: number, heldMs: number): void {
    hold.failure = undefined
    hold.heldMs = heldMs
    hold.deadlineMs = deadlineOf(sentMs, heldMs)
    hold.renewAtMs = hold.renews ? sentMs + heldMs / 3 : Infinity
    schedule(Math.min(hold.deadlineMs, hold.renewAtMs))
  }

  function forget(hold: Hold): void {
    holds.delete(hold)
    if (holds.size > 0) return
    timer?.cancel()
    timer = undefined
  }

  function end(hold: Hold, why: string, cause?: unknown): void {
    forget(hold)
    hold.grant.lose(why, cause)
  }

  function lose(hold: Hold, why: string, cause?: unknown): void {
    if (!holds.has(hold)) return
    end(hold, why, cause)
    onLost(hold)
  }

  function expire(hold: Hold): void {
    const { claim, heldMs, renews, failure } = hold
    const term = bySession ? `the ${Math.round(heldMs)} ms that its session lasts` : `its TTL of ${claim.ttlMs} ms`
    if (!renews) return lose(hold, `${term} ended, and it is not renewed`)
    lose(hold, `it was not renewed in time, within ${term}${textOf(failure)}`, failure)
  }

  function isHeld(hold: Hold): boolean {
    if (holds.has(hold) && clock.nowMs() >= hold.deadlineMs) expire(hold)
    return holds.has(hold)
  }

  return {
    holds,
    keep(claim, { reply, sentMs }, { renews, observation }) {
      const heldMs = reply.heldMs as number
      if (clock.nowMs() >= deadlineOf(sentMs, heldMs)) return undefined
      const hold: Hold = {
        claim,
        renews,
        firstToken: reply.token,
        heldMs,
        deadlineMs: 0,
        renewAtMs: 0,
        handovers: 0,
        failure: undefined,
        grant: undefined as unknown as Grant,
        isHeld,
      }
      hold.grant = new Grant(hold, reply.token, observation)
      holds.add(hold)
      plan(hold, sentMs, heldMs)
      return hold
    },
    isHeld,
    letGo: forget,
    end,
  }
}

const textOf = (failure: unknown): string => (failure instanceof Error ? `: ${failure.message}` : '')
