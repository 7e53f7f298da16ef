import { durationMs } from '../../core/check.js'
import { systemClock, type Clock } from '../../core/clock.js'
import { StoreUnavailableError } from '../../core/errors.js'
import { knownOptions } from '../../core/options.js'
import type { RedisClient } from '../../core/redis-client.js'
import type { Claim, LockCommand, LockDriver, LockReply } from '../driver.js'
import { createWindow } from '../window.js'
import { checkedNodes } from './check.js'
import { createCommands } from './commands.js'
import { absencesOf, createGathering } from './node.js'
import { checkRedlockPackage } from './round.js'
import { isForOthers } from './times.js'
import { majorityOf } from './votes.js'

/** So many keys are tried for at a time: of a herd that is sent at once, no node could answer within its time. */
const triesAtOnce = 100

/** How to treat the nodes. */
export interface RedlockOptions {
  /**
   * How long a node may take to answer before it counts as failed, in milliseconds; for an acquire half the TTL at most.
   * A try that a silent node decides takes up to twice as long, which `timeoutMs` of the lock has to leave room for.
   * @defaultValue 300
   */
  readonly nodeTimeoutMs?: number | undefined
  /** @defaultValue systemClock */
  readonly clock?: Clock | undefined
}

/**
 * Locks that a majority of independent Redis servers grants, by the Redlock algorithm and on the package `redlock`
 * (5.0.0-beta.2: npm's `latest` is an older one). A minority of the servers may be dead, silent or cut off, and nobody
 * notices. Give one client for each server, none of them a replica of another, and an odd number of them: a fourth server
 * raises the majority to three, so four tolerate one failure, as three do. An even number works as if one more were down.
 *
 * A server whose client is not connected counts as failed. Only the first call, and those that would miss a majority, wait
 * for clients that are connecting, as long as a server may take to answer.
 *
 * It cannot fence: `fencingToken` is `undefined`, for servers that know nothing of each other have no number that grows.
 * Mutual exclusion rests on time: on clocks that run at nearly the same speed, on `Lease.signal` being heeded, and on
 * servers that do not forget. One that comes back empty within a TTL may grant a key that is held; a renewal takes the key
 * there again, and `appendfsync always` or staying away for a TTL prevents it.
 *
 * Processes poll each other's locks, every 50 to 150 ms. One that passes a key from caller to caller may do so 64 times in
 * a row, then it stays away for 200 ms if others have been refused lately.
 *
 * A lock is a string with a TTL at the key itself, like that of other implementations of Redlock, and excludes them; it
 * does not make way for them, since they cannot say that they wait. After a release, a small key stays for 20 s.
 *
 * Redis, "Distributed Locks with Redis"; doubts about it: Kleppmann, "How to do distributed locking", 2016.
 *
 * @throws TypeError for what is no client of one server, RangeError for no nodes or the same client twice, Error where
 * another version of `redlock` is installed.
 */
export function redlockLock(nodes: readonly RedisClient[], options?: RedlockOptions): LockDriver {
  checkRedlockPackage()
  const known = { nodeTimeoutMs: true, clock: true } as const
  const { clock = systemClock, ...rest } = knownOptions<RedlockOptions>('redlockLock', options, known)
  const nodeTimeoutMs = durationMs('nodeTimeoutMs', rest.nodeTimeoutMs ?? 300, 1)
  const servers = checkedNodes(nodes)
  const window = createWindow(triesAtOnce)
  const gather = createGathering(servers, majorityOf(servers.length), nodeTimeoutMs, clock)
  const commands = createCommands(servers, clock, nodeTimeoutMs)
  /** How many times in a row a claim's process had passed the key on when the claim got it. */
  const turns = new WeakMap<Claim, number>()

  async function releaseAndTry(claim: Claim, next: Claim, sentMs: number): Promise<LockReply> {
    const turn = (turns.get(claim) ?? 0) + 1
    // Each node carries the two out in this order, so the second need not wait for the first.
    const released = commands.release(claim)
    const tried = commands.acquire(next, sentMs, isForOthers(turn) ? 'next' : 'acquire').catch(() => undefined)
    const reply = await released
    const answer = await tried
    if (answer?.ok) turns.set(next, turn)
    return answer ? { ...reply, next: answer } : reply
  }

  function carryOut(command: LockCommand, sentMs: number): Promise<LockReply> {
    const { verb, claim } = command
    if (verb === 'acquire') return commands.acquire(claim, sentMs)
    if (verb === 'renew') return commands.renew(claim)
    return command.next ? releaseAndTry(claim, command.next, sentMs) : commands.release(claim)
  }

  /** Tries that came together share one: where it is granted or refused, none of the others can be granted. */
  function carryOutAll(batch: readonly LockCommand[], sentMs: number): Promise<(LockReply | Error)[]> {
    let first: Promise<LockReply> | undefined
    return Promise.all(
      batch.map((command) => {
        const isTry = command.verb === 'acquire' && !command.claim.waits
        const reply = isTry && first ? first.then(refusedLike, notTried) : carryOut(command, sentMs)
        if (isTry) first ??= reply
        return reply.catch((error: Error) => error)
      }),
    )
  }

  return {
    fences: false,
    shares: false,
    // A node that is slow must hold up only those whose key it decides.
    lane: (_, key) => key,
    async commit(batch, trip) {
      const calledMs = clock.nowMs()
      const tries = batch.every(({ verb }) => verb === 'acquire')
      const waiting = tries ? window.enter(() => trip.signal) : undefined
      if (waiting) await waiting
      try {
        const sentMs = waiting ? clock.nowMs() : calledMs
        trip.blames?.(() => absencesOf(servers)[0])
        await gather(trip)
        trip.sending()
        const replies = await carryOutAll(batch, sentMs)
        return waiting ? replies.map((reply) => countedFrom(calledMs - sentMs, reply)) : replies
      } finally {
        if (tries) window.leave()
      }
    },
  }
}

/** Holds count from when they were asked for here, which the wait for others delayed. */
function countedFrom(offsetMs: number, reply: LockReply | Error): LockReply | Error {
  if (reply instanceof Error || reply.heldMs === undefined) return reply
  return { ...reply, heldMs: reply.heldMs - offsetMs }
}

const refusedLike = ({ retryAfterMs = 0 }: LockReply): LockReply => ({ ok: false, retryAfterMs })

const notTried = (cause: unknown): never => {
  throw new StoreUnavailableError((cause as Error).message, { applied: 'no', cause })
}
