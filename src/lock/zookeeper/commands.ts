import { ClosedError, StoreUnavailableError } from '../../core/errors.js'
import type { Trip } from '../../core/group-commit.js'
import type { Claim, LockCommand, LockReply } from '../driver.js'
import { refused, type Attempts } from './attempt.js'
import { LinkLost, type Link } from './link.js'
import type { Places } from './places.js'
import { isRefusal, NotALock } from './refusal.js'
import type { Session } from './session.js'

/** The commands of one key, over as many connections as it takes. */
export interface Commands {
  /** In order: what one command does, the next one finds. `sinceMs` is when the first of them was to be sent. */
  carryOut(commands: readonly LockCommand[], trip: Trip, sinceMs: number): Promise<(LockReply | Error)[]>
}

const failure = (error: unknown, applied: 'no' | 'unknown'): StoreUnavailableError =>
  new StoreUnavailableError(`lock: ${(error as Error).message}`, { applied, cause: error })

export function createCommands(options: {
  readonly session: Session
  readonly places: Places
  readonly attempts: Attempts
}): Commands {
  const { session, places, attempts } = options

  /**
   * A try whose answer was lost with the connection goes on with the next one, if somebody still waits for it: it finds
   * what it has left behind.
   */
  async function onLink<T>(trip: Trip, attempt: (link: Link) => Promise<T>): Promise<T> {
    for (;;) {
      const link = session.link ?? (await session.connected(trip.signal))
      // A command before it may have outlived the trip. Its claim was given back since, and would now be made anew.
      if (trip.signal.aborted) throw new LinkLost('nobody waits for it any more')
      try {
        return await attempt(link)
      } catch (error) {
        if (!(error instanceof LinkLost) || trip.signal.aborted) throw error
      }
    }
  }

  async function acquire(claim: Claim, trip: Trip, sinceMs: number): Promise<LockReply | Error> {
    try {
      return await onLink(trip, (link) => attempts.acquire(claim, link, sinceMs))
    } catch (error) {
      if (!isRefusal(error) && !(error instanceof NotALock)) throw error
      // A step was refused for good. When those before it are taken back, nothing was applied.
      const applied = await places.release(claim).then(
        () => 'no' as const,
        () => 'unknown' as const,
      )
      return failure(error, applied)
    }
  }

  async function release(claim: Claim, next: Claim | undefined, trip: Trip, sinceMs: number): Promise<LockReply> {
    const released = places.release(claim)
    // What it leaves behind is taken back: the front does not hear of it.
    const tried = next && acquire(next, trip, sinceMs).catch(() => void places.release(next).catch(() => undefined))
    const ok = await released
    const reply = await tried
    return reply && !(reply instanceof Error) ? { ok, next: reply } : { ok }
  }

  async function carryOutOne(command: LockCommand, trip: Trip, sinceMs: number): Promise<LockReply | Error> {
    const { verb, claim } = command
    try {
      if (verb === 'acquire') return await acquire(claim, trip, sinceMs)
      if (verb === 'renew') return await onLink(trip, (link) => attempts.renew(claim, link, sinceMs))
      return await release(claim, command.next, trip, sinceMs)
    } catch (error) {
      if (error instanceof ClosedError) return error
      return failure(error, verb !== 'acquire' && isRefusal(error) ? 'no' : 'unknown')
    }
  }

  return {
    async carryOut(commands, trip, sinceMs) {
      const replies: (LockReply | Error)[] = []
      /** So many permits, or more, are not to be had before the next release. Tries that came together share a refusal. */
      let refusedFrom = Infinity
      while (replies.length < commands.length) {
        const start = replies.length
        const { verb, claim } = commands[start] as LockCommand
        if (verb === 'acquire' && !claim.waits && claim.permits >= refusedFrom && !places.get(claim)) {
          replies.push(refused)
          continue
        }
        let end = start + 1
        // Renewals change nothing for each other and go out together.
        while (verb === 'renew' && commands[end]?.verb === 'renew') end++
        const run = commands.slice(start, end)
        const answers = await Promise.all(run.map((command) => carryOutOne(command, trip, sinceMs)))
        replies.push(...answers)
        if (verb === 'release') refusedFrom = Infinity
        else if (verb === 'acquire') refusedFrom = Math.min(refusedFrom, refusedAfter(claim, answers[0]))
      }
      return replies
    },
  }
}

/** How many permits are surely not to be had after this answer to an acquire. */
function refusedAfter({ permits, of }: Claim, answer: LockReply | Error | undefined): number {
  if (!answer || answer instanceof Error || answer.withdrawn) return Infinity
  if (!answer.ok) return permits
  return permits >= of ? 1 : Infinity
}
