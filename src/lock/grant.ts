import { keepContext } from '../core/context.js'
import { LockLostError } from '../core/errors.js'
import type { Claim } from './driver.js'

/** What the backend holds for this process. It may pass from caller to caller while it lasts. */
export interface Hold {
  readonly claim: Claim
  readonly renews: boolean
  readonly firstToken: bigint | undefined
  /** How long the backend keeps it after a renewal. */
  heldMs: number
  /** By the monotonic clock of this process. From then on the hold counts as lost. */
  deadlineMs: number
  /** When to ask for a renewal; Infinity while one is under way or none is wanted. */
  renewAtMs: number
  /** How often it was passed on. */
  handovers: number
  /** Why the last try to renew it failed, if it did. */
  failure: unknown
  /** Who has it now. */
  grant: Grant
  /** Looks at the clock, and declares the hold lost if its time is over. The same function for all holds. */
  readonly isHeld: (hold: Hold) => boolean
}

/** What events say of a call. Made for calls that begin while somebody listens to `spillway:lock.hold`. */
export interface Observation {
  /** Runs what tells of the call in its async context. */
  readonly tellIn: (tell: () => void) => void
  readonly askedMs: number
  grantedMs: number | undefined
}

/** A hold while one caller has it; leases that re-enter share it. */
export class Grant {
  leases = 1
  private lost: LockLostError | undefined
  private controller: AbortController | undefined
  private abort: ((reason: LockLostError) => void) | undefined

  constructor(
    readonly hold: Hold,
    readonly token: bigint | undefined,
    readonly observation: Observation | undefined,
  ) {}

  /**
   * Made when it is asked for: an AbortController costs more than the rest of a hand-over. Its listeners run in the async
   * context of whoever asked first, which is the holder, and not in that of the timer that ends the hold.
   */
  get signal(): AbortSignal {
    if (!this.controller) {
      const controller = new AbortController()
      this.controller = controller
      if (this.lost) controller.abort(this.lost)
      else {
        const { hold } = this
        looking(controller.signal, () => void hold.isHeld(hold))
        this.abort = keepContext((reason) => controller.abort(reason))
      }
    }
    return this.controller.signal
  }

  /** Why the hold ended before its release, if it did. */
  get loss(): LockLostError | undefined {
    return this.lost
  }

  lose(why: string, cause?: unknown): void {
    const message = `lock: the hold of ${JSON.stringify(this.hold.claim.key)} ended: ${why}`
    this.lost = new LockLostError(message, cause === undefined ? undefined : { cause })
    this.abort?.(this.lost)
  }
}

/**
 * Makes a signal look before it answers. After a process was stopped, or a turn of the event loop took long, code runs on
 * before the timers do: whoever asks a signal that was handed out long ago must not be told what was true then.
 */
function looking(signal: AbortSignal, look: () => void): void {
  const known = AbortSignal.prototype
  Object.defineProperties(signal, {
    aborted: {
      get() {
        look()
        return Reflect.get<AbortSignal, 'aborted'>(known, 'aborted', signal)
      },
    },
    throwIfAborted: {
      value() {
        look()
        known.throwIfAborted.call(signal)
      },
    },
  })
}
