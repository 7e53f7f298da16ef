import { exponentialBackoff } from '../core/backoff.js'
import type { BackgroundReport } from '../core/background.js'
import { sleep, type Clock } from '../core/clock.js'
import { bounded } from './bounded.js'
import { isPermanent, type Delivery, type QueueMember } from './driver.js'

export interface MembershipOptions {
  readonly join: () => Promise<QueueMember>
  readonly take: (delivery: Delivery) => Promise<void>
  /** The membership is lost for now: nothing may be started until partitions are assigned again. */
  readonly onLost: () => void
  /** A backend that has just started may refuse the first tries. */
  readonly startMs: number
  readonly report: BackgroundReport
  readonly clock: Clock
}

/** A place in a group, taken again with back-off whenever it is lost. */
export interface Membership {
  readonly current: QueueMember | undefined
  /** Resolves at the first assignment; rejects if there is none: at the first failure after `startMs`. */
  readonly started: Promise<void>
  /** Resolves after `leave`; rejects with an error that joining again cannot cure. */
  readonly ended: Promise<void>
  /** Gives the place up. A backend that does not answer is not waited for longer than {@link leaveMs}. */
  leave(): Promise<void>
}

/** Leaving a group is a courtesy to its other members: a backend that is away does not keep anyone from going. */
export const leaveMs = 5_000

const rejoin = exponentialBackoff({ baseMs: 100, maxMs: 10_000 })

export function keepMembership({ join, take, onLost, startMs, report, clock }: MembershipOptions): Membership {
  const leaving = new AbortController()
  let current: QueueMember | undefined
  let attempt = 0
  let onStarted: () => void
  const assigned = new Promise<void>((resolve) => (onStarted = resolve))

  /** Takes part until the membership is lost. */
  async function serve(member: QueueMember): Promise<never> {
    for (;;) {
      const delivery = await member.next(leaving.signal)
      await take(delivery)
      if (delivery.type !== 'assigned') continue
      attempt = 0
      onStarted()
    }
  }

  async function run(): Promise<void> {
    const giveUpMs = clock.nowMs() + startMs
    let everAssigned = false
    void assigned.then(() => (everAssigned = true))
    while (!leaving.signal.aborted) {
      try {
        current = await join()
        await serve(current)
      } catch (error) {
        if (!leaving.signal.aborted) {
          onLost()
          if (isPermanent(error) || (!everAssigned && clock.nowMs() > giveUpMs)) throw error
          if (everAssigned) report(error)
        }
      } finally {
        const last = current
        current = undefined
        if (last) await bounded(last.close(), leaveMs, clock)
      }
      attempt++
      await sleep(rejoin(attempt), { clock, signal: leaving.signal }).catch(() => undefined)
    }
  }

  const ended = run()
  const failed = ended.then(() => new Promise<never>(() => undefined))
  const started = Promise.race([assigned, failed])
  started.catch(() => undefined)
  ended.catch(() => undefined)
  return {
    get current() {
      return current
    },
    started,
    ended,
    async leave() {
      leaving.abort()
      await bounded(ended, 2 * leaveMs, clock)
    },
  }
}
