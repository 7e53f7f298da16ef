import type { Clock } from '../core/clock.js'
import type { Trip } from '../core/group-commit.js'
import type { Limit, Level, Outcome } from './bucket.js'
import type { RateLimitDriver } from './driver.js'
import { fullMs, untilMs, wholeTokens, type Decision, type TakeRequest } from './runs.js'

/** How many takes in a row believe the last look at the clock: looking costs more than all the rest of a take. */
const takesPerLook = 64

/** The bucket as it was when a block came, which is all that the process knows of it. */
interface View {
  readonly levels: readonly Level[]
  readonly spent: number
  readonly whole: number
  readonly fullInMs: number
}

/** Tokens that this process has taken ahead for one key. */
interface Block {
  left: number
  believed: number
  readonly expiresMs: number
  readonly cancelTimer: () => void
  readonly view: View
}

/** Spends tokens of blocks, and gets new blocks for calls that a block cannot serve. */
export interface Lease {
  /** Takes from the key's block with no trip; `undefined` when only a trip can tell. */
  spend(key: string, cost: number): Decision | undefined
  /** Serves calls of one key, with one trip for a new block if it needs one. */
  serve(requests: readonly TakeRequest[], trip: Trip): Promise<Decision[]>
  /** Tokens of the key's block. */
  left(key: string): number
  /** Puts tokens back into the key's block, or into the bucket if the block is gone. */
  putBack(key: string, tokens: number): void
  /** Forgets the key's block, unspent. */
  drop(key: string): void
  /** Gives every block's rest back to its bucket; so do blocks that arrive later. */
  close(): void
}

export function createLease(options: {
  readonly driver: RateLimitDriver
  readonly limits: readonly Limit[]
  readonly tokens: number
  readonly leaseMs: number
  readonly clock: Clock
  readonly giveBack: (key: string, tokens: number) => void
}): Lease {
  const { driver, limits, tokens, leaseMs, clock, giveBack } = options
  const blocks = new Map<string, Block>()
  let closed = false

  function drop(key: string): Block | undefined {
    const block = blocks.get(key)
    block?.cancelTimer()
    blocks.delete(key)
    return block
  }

  function end(key: string): void {
    const left = drop(key)?.left ?? 0
    if (left > 0) giveBack(key, left)
  }

  function keep(key: string, left: number, expiresMs: number, view: View): void {
    const cancelTimer = clock.after(Math.max(0, expiresMs - clock.nowMs()), () => end(key))
    blocks.set(key, { left, believed: takesPerLook, expiresMs, cancelTimer, view })
    if (closed) end(key)
  }

  const viewOf = ({ levels, taken }: Outcome): View => ({
    levels,
    spent: taken,
    whole: Math.max(0, wholeTokens(limits, levels) - taken),
    fullInMs: fullMs(limits, levels, taken),
  })

  function refusal(missing: number, left: number, { levels, spent, whole, fullInMs }: View): Decision {
    const retryAfterMs = untilMs(limits, levels, spent, missing)
    return { allowed: false, granted: 0, remaining: left + whole, retryAfterMs, fullInMs }
  }

  return {
    spend(key, cost) {
      const block = blocks.get(key)
      if (block === undefined || block.left < cost) return undefined
      if (block.believed-- === 0) {
        if (clock.nowMs() >= block.expiresMs) {
          end(key)
          return undefined
        }
        block.believed = takesPerLook
      }
      block.left -= cost
      const { whole, fullInMs } = block.view
      return { allowed: true, granted: cost, remaining: block.left + whole, fullInMs }
    },
    async serve(requests, trip) {
      const { key } = requests[0] as TakeRequest
      const wanted = requests.reduce((sum, { cost }) => sum + cost, 0)
      // Out of reach of `spend` until these calls are served.
      const old = drop(key)
      let { left, expiresMs, view } = old ?? { left: 0, expiresMs: 0, view: undefined }
      const giveBackExpired = (): void => {
        if (left === 0 || clock.nowMs() < expiresMs) return
        giveBack(key, left)
        left = 0
      }
      try {
        giveBackExpired()
        for (let dry = false; left < wanted && !dry && !trip.signal.aborted;) {
          const askedMs = clock.nowMs()
          const cost = Math.max(tokens, wanted - left)
          const [outcome] = await driver.take(limits, [{ key, cost, count: 1, atMost: true, withinUs: 0 }], trip)
          const { taken } = outcome as Outcome
          giveBackExpired()
          if (left === 0) expiresMs = askedMs + leaseMs
          left += taken
          view = viewOf(outcome as Outcome)
          dry = taken < cost
        }
      } catch (error) {
        if (left > 0) giveBack(key, left)
        throw error
      }
      const known = view as View
      const decisions = requests.map(({ cost, atMost }): Decision => {
        const granted = left >= cost ? cost : atMost ? left : 0
        if (granted === 0) return refusal((atMost ? 1 : cost) - left, left, known)
        left -= granted
        return { allowed: true, granted, remaining: left + known.whole, fullInMs: known.fullInMs }
      })
      if (left > 0) keep(key, left, expiresMs, known)
      return decisions
    },
    left: (key) => blocks.get(key)?.left ?? 0,
    putBack(key, count) {
      const block = blocks.get(key)
      if (block) block.left += count
      else giveBack(key, count)
    },
    drop: (key) => void drop(key),
    close() {
      closed = true
      for (const key of [...blocks.keys()]) end(key)
    },
  }
}
