import type { Clock } from '../core/clock.js'
import { keepContext, outsideRequests } from '../core/context.js'
import { channels, type LockHoldEvent } from '../core/diagnostics.js'
import type { LockKind } from './driver.js'
import type { Grant, Observation } from './grant.js'

type Outcome = LockHoldEvent['outcome']

/** Tells who listens to `spillway:lock.hold`, and builds nothing while nobody does. */
export interface HoldEvents {
  /** To be called when a call begins; `undefined` while nobody listens. */
  observe(): Observation | undefined
  granted(grant: Grant): void
  released(grant: Grant): void
  lost(grant: Grant): void
  /** A call got nothing, or the store failed. */
  ended(
    key: string,
    outcome: 'refused' | 'gave-up' | 'failed',
    observation: Observation | undefined,
    error?: unknown,
  ): void
}

export function createHoldEvents(name: string, kind: LockKind, clock: Clock): HoldEvents {
  const isHeard = (): boolean => channels.lockHold.hasSubscribers

  function publish(key: string, outcome: Outcome, more: Partial<LockHoldEvent>): void {
    channels.lockHold.publish({ name, kind, key, outcome, fencingToken: undefined, ...more })
  }

  /** Tells in the context of the call that was granted, although another call, or a timer, brings it about. */
  function tellIn(observation: Observation | undefined, tell: () => void): void {
    if (observation) observation.tellIn(tell)
    else outsideRequests(tell)
  }

  function heldFor({ token, observation }: Grant): Partial<LockHoldEvent> {
    const grantedMs = observation?.grantedMs
    return { fencingToken: token, ...(grantedMs === undefined ? {} : { heldMs: clock.nowMs() - grantedMs }) }
  }

  return {
    observe() {
      if (!isHeard()) return undefined
      return { tellIn: keepContext((tell: () => void) => tell()), askedMs: clock.nowMs(), grantedMs: undefined }
    },
    granted({ hold, token, observation }) {
      if (!isHeard()) return
      const waited = observation && { waitedMs: (observation.grantedMs = clock.nowMs()) - observation.askedMs }
      tellIn(observation, () => publish(hold.claim.key, 'granted', { fencingToken: token, ...waited }))
    },
    released(grant) {
      if (isHeard()) publish(grant.hold.claim.key, 'released', heldFor(grant))
    },
    lost(grant) {
      if (!isHeard()) return
      tellIn(grant.observation, () => publish(grant.hold.claim.key, 'lost', { ...heldFor(grant), error: grant.loss }))
    },
    ended(key, outcome, observation, error) {
      if (!isHeard()) return
      const waited = observation && { waitedMs: clock.nowMs() - observation.askedMs }
      publish(key, outcome, { ...waited, ...(error === undefined ? {} : { error }) })
    },
  }
}
