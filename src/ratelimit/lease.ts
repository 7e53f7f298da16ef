import type { Clock } from '../core/clock.js'
import { outsideRequests } from '../core/context.js'
import type { Trip } from '../core/group-commit.js'
import type { Limit, Outcome } from './bucket.js'
import type { BucketStore } from './driver.js'
import { fullMs, untilMs, wholeTokens, type Decision, type GiveBack, type TakeRequest } from './runs.js'

/** How many takes in a row believe the last look at the clock: looking costs more than all the rest of a take. */
const takesPerLook = 64

/** The bucket as it was when a block came, which is all that the process knows of it. */
interface View {
  readonly outcome: Outcome
  readonly whole: number
  readonly fullInMs: number
}

/** Tokens that this process has taken ahead for one key, all with one take. */
interface Block {
  left: number
  believed: number
  readonly expiresMs: number
  readonly view: View
}

/** What the calls of one key in a trip want, and have got. */
interface Need {
  readonly key: string
  wanted: number
  /** The block that was there, and what these calls have of it, which they spend first. */
  old: Block | undefined
  left: number
  /** What came instead. */
  taken: number
  askedMs: number
  view: View | undefined
}

/** Spends tokens of blocks, and gets new blocks for calls that a block cannot serve. */
export interface Lease {
  /** Takes from the key's block with no trip; `undefined` when only a trip can tell. */
  spend(key: string, cost: number): Decision | undefined
  /** Serves calls, with new blocks for the keys that need one, all of them in one trip. */
  serve(requests: readonly TakeRequest[], trip: Trip): Promise<Decision[]>
  /** Tokens of the key's block. */
  left(key: string): number
  /** Puts what a request got back into the key's block, or into the bucket if the block is gone. */
  putBack(request: TakeRequest, tokens: number): void
  /** Forgets the key's block, unspent. */
  drop(key: string): void
  /** Gives every block's rest back to its bucket; so do blocks that arrive later. */
  close(): void
}

const newNeed = (key: string): Need => ({
  key,
  wanted: 0,
  old: undefined,
  left: 0,
  taken: 0,
  askedMs: 0,
  view: undefined,
})

export function createLease(options: {
  readonly store: BucketStore
  readonly limits: readonly Limit[]
  readonly tokens: number
  readonly leaseMs: number
  readonly clock: Clock
  readonly giveBack: (unused: GiveBack) => void
  /** Blocks that are kept at most; with more, the one that was asked for first goes back. */
  readonly mostBlocks?: number
}): Lease {
  const { store, limits, tokens, leaseMs, clock, giveBack, mostBlocks = 100_000 } = options
  // In the order in which they came, which is about the order in which they end.
  const blocks = new Map<string, Block>()
  let cancelTimer: (() => void) | undefined
  let closed = false

  function drop(key: string): Block | undefined {
    const block = blocks.get(key)
    blocks.delete(key)
    if (blocks.size === 0) {
      cancelTimer?.()
      cancelTimer = undefined
    }
    return block
  }

  function giveBackRest(key: string, { outcome }: View, left: number): void {
    if (left > 0) giveBack({ key, tokens: left, outcome, spent: outcome.taken })
  }

  function end(key: string): void {
    const block = drop(key)
    if (block) giveBackRest(key, block.view, block.left)
  }

  function endExpired(): void {
    cancelTimer = undefined
    const nowMs = clock.nowMs()
    for (const [key, { expiresMs }] of blocks) {
      if (expiresMs > nowMs) break
      end(key)
    }
    watch()
  }

  /** One timer for all blocks, set for the first. It keeps no process alive. */
  function watch(): void {
    const [first] = blocks.values()
    if (!first || cancelTimer || first.expiresMs === Infinity) return
    const leftMs = Math.max(0, first.expiresMs - clock.nowMs())
    cancelTimer = outsideRequests(() => clock.after(leftMs, endExpired, true))
  }

  function keep(key: string, left: number, expiresMs: number, view: View): void {
    // A trip that nobody waited for any more may end after the one that took its place.
    if (closed || blocks.has(key)) return giveBackRest(key, view, left)
    blocks.set(key, { left, believed: takesPerLook, expiresMs, view })
    if (blocks.size > mostBlocks) for (const [first] of blocks) return end(first)
    watch()
  }

  const viewOf = (outcome: Outcome): View => ({
    outcome,
    whole: Math.max(0, wholeTokens(limits, outcome.levels) - outcome.taken),
    fullInMs: fullMs(limits, outcome.levels, outcome.taken),
  })

  function refusal(missing: number, left: number, { outcome, whole, fullInMs }: View): Decision {
    const retryAfterMs = untilMs(limits, outcome.levels, outcome.taken, missing)
    return { allowed: false, granted: 0, remaining: left + whole, retryAfterMs, fullInMs }
  }

  /** Takes what is wanted out of the block. One that has not so much is used up here, out of reach of `spend`. */
  function spendBlock(need: Need): void {
    const { key, wanted } = need
    const block = blocks.get(key)
    if (!block) return
    if (clock.nowMs() >= block.expiresMs) return end(key)
    if (block.left < wanted) drop(key)
    need.old = block
    need.view = block.view
    need.left = Math.min(block.left, wanted)
    block.left -= need.left
  }

  function giveBackExpired(need: Need): void {
    const { key, old, left } = need
    if (!old || left === 0 || clock.nowMs() < old.expiresMs) return
    giveBackRest(key, old.view, left)
    need.left = 0
  }

  /** One trip for a block for each; answers which of them need another. */
  async function takeBlocks(needs: readonly Need[], trip: Trip): Promise<Need[]> {
    const askedMs = clock.nowMs()
    const runs = needs.map(({ key, wanted, left, taken }) => {
      const cost = Math.max(tokens, wanted - left - taken)
      return { key, cost, count: 1, atMost: true, withinUs: 0 }
    })
    const outcomes = await store.take(limits, runs, trip)
    return needs.filter((need, i) => {
      const outcome = outcomes[i] as Outcome
      giveBackExpired(need)
      need.askedMs = askedMs
      need.taken += outcome.taken
      need.view = viewOf(outcome)
      return need.left + need.taken < need.wanted && outcome.taken === runs[i]?.cost
    })
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
      const needs = new Map<string, Need>()
      for (const { key, cost } of requests) {
        let need = needs.get(key)
        if (!need) needs.set(key, (need = newNeed(key)))
        need.wanted += cost
      }
      for (const need of needs.values()) spendBlock(need)
      try {
        let short = [...needs.values()].filter(({ left, wanted }) => left < wanted)
        while (short.length > 0) {
          short = await takeBlocks(short, trip)
          if (short.length > 0 && trip.signal.aborted) break
        }
      } catch (error) {
        for (const { key, old, left, taken, view } of needs.values()) {
          if (old) giveBackRest(key, old.view, left)
          if (view) giveBackRest(key, view, taken)
        }
        throw error
      }
      const decisions = requests.map((request): Decision => {
        const { key, cost, atMost } = request
        const need = needs.get(key) as Need
        const view = need.view as View
        const left = need.left + need.taken
        const granted = left >= cost ? cost : atMost ? left : 0
        if (granted === 0) return refusal((atMost ? 1 : cost) - left, left, view)
        const fromOld = Math.min(granted, need.left)
        need.left -= fromOld
        need.taken -= granted - fromOld
        request.outcome = view.outcome
        request.spent = view.outcome.taken
        const remaining = left - granted + view.whole + (blocks.get(key)?.left ?? 0)
        return { allowed: true, granted, remaining, fullInMs: view.fullInMs }
      })
      for (const { key, old, left, taken, askedMs, view } of needs.values()) {
        if (old && left > 0) giveBackRest(key, old.view, left)
        if (taken > 0) keep(key, taken, askedMs + leaseMs, view as View)
      }
      return decisions
    },
    left: (key) => blocks.get(key)?.left ?? 0,
    putBack({ key, outcome, spent }, count) {
      const block = blocks.get(key)
      if (block) block.left += count
      else giveBack({ key, tokens: count, outcome, spent })
    },
    drop: (key) => void drop(key),
    close() {
      closed = true
      for (const key of [...blocks.keys()]) end(key)
    },
  }
}
