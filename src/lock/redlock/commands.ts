import type { Clock } from '../../core/clock.js'
import { StoreUnavailableError } from '../../core/errors.js'
import { redisScript } from '../../core/redis-script.js'
import type { Claim, LockReply } from '../driver.js'
import { createDeadline } from './deadline.js'
import mutexSource from './mutex.lua'
import { absencesOf, type LockNode } from './node.js'
import { Round, type Question } from './round.js'
import { answerWithin, heldFor, pollMs, standBackMs, wantedMs } from './times.js'
import { acquired, majorityOf, wasHeld } from './votes.js'

const script = redisScript(mutexSource)

/** The commands over a majority of nodes. What each sends has left for all nodes when it returns its promise. */
export interface Commands {
  /** Counts from `sentMs` whether it came in time. */
  acquire(claim: Claim, sentMs: number, verb?: 'acquire' | 'next'): Promise<LockReply>
  renew(claim: Claim): Promise<LockReply>
  release(claim: Claim): Promise<LockReply>
}

export function createCommands(nodes: readonly LockNode[], clock: Clock, nodeTimeoutMs: number): Commands {
  const majority = majorityOf(nodes.length)
  /** Where a claim may be. */
  const reached = new WeakMap<Claim, Set<LockNode>>()
  let attempts = 0

  function roundOf(verb: Question['verb'], claim: Claim): Round {
    const { key, front, number, ttlMs, waits } = claim
    const question = {
      verb,
      script,
      keys: keysOf(key, front),
      front,
      number,
      attempt: ++attempts,
      ttlMs,
      wantedMs: waits ? wantedMs : 0,
      undo: waits ? 'undo' : 'release',
    } as const
    const withinMs = verb === 'acquire' || verb === 'next' ? answerWithin(nodeTimeoutMs, ttlMs) : nodeTimeoutMs
    const known = reached.get(claim) ?? new Set<LockNode>()
    reached.set(claim, known)
    const deadline = createDeadline(clock, withinMs)
    return new Round(nodes, question, deadline, () => createDeadline(clock, nodeTimeoutMs), known)
  }

  function fault(verb: string, { key }: Claim, why: string, failures: Error[], applied: 'no' | 'unknown') {
    const message = [`lock: Redlock could not ${verb} ${JSON.stringify(key)}: ${why}, ${majority} decide`]
    const names = failures.map((failure) => failure.message)
    return new StoreUnavailableError([...message, ...names].join('; '), {
      applied,
      cause: new AggregateError(failures),
    })
  }

  const failed = (verb: string, claim: Claim, round: Round): StoreUnavailableError => {
    const { yes, no } = round.count()
    // The votes for an acquire have been taken back.
    const isApplied = verb !== 'acquire' && yes > 0
    const applied = isApplied || round.isUncertain ? 'unknown' : 'no'
    return fault(verb, claim, `${yes + no} of ${nodes.length} nodes answered`, round.failures, applied)
  }

  /** What could not be decided is not even begun. */
  function assertMajority(verb: string, claim: Claim): void {
    const absent = absencesOf(nodes)
    const present = nodes.length - absent.length
    if (present >= majority) return
    throw fault(verb, claim, `${present} of ${nodes.length} nodes can be asked`, absent, 'no')
  }

  return {
    async acquire(claim, sentMs, verb = 'acquire') {
      const heldMs = heldFor(claim.ttlMs)
      if (heldMs <= 0) throw new RangeError(`ttlMs must be more than Redlock allows for clocks, got ${claim.ttlMs}`)
      assertMajority('acquire', claim)
      const round = roundOf(verb, claim)
      await round.ask()
      const verdict = await round.verdict(acquired)
      if (verdict === 'granted' && clock.nowMs() - sentMs < heldMs) return { ok: true, heldMs }
      await round.undo()
      if (verdict === 'fault') throw failed('acquire', claim, round)
      // A grant that came too late is a refusal, too: it was this process that was held up, for nodes are given less time.
      const retryAfterMs = round.isAfterOthers ? standBackMs : pollMs(Math.random())
      return { ok: false, retryAfterMs, ...(round.isWithdrawn ? { withdrawn: true } : {}) }
    },
    async renew(claim) {
      assertMajority('renew', claim)
      const round = roundOf('renew', claim)
      await round.ask()
      const verdict = await round.verdict(wasHeld)
      if (verdict === 'fault') throw failed('renew', claim, round)
      return verdict === 'yes' ? { ok: true, heldMs: heldFor(claim.ttlMs) } : { ok: false }
    },
    async release(claim) {
      const round = roundOf('release', claim)
      await round.ask()
      const verdict = await round.verdict(wasHeld)
      if (verdict === 'fault') throw failed('release', claim, round)
      return { ok: verdict === 'yes' }
    },
  }
}

/** The lock has the name that it would have in any implementation of Redlock. */
function keysOf(key: string, front: string): [lock: string, latch: string, wanted: string] {
  return [key, `spillway:redlock:${key}:latch:${front}`, `spillway:redlock:${key}:wanted`]
}
