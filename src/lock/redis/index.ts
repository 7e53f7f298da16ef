import { StoreUnavailableError } from '../../core/errors.js'
import { redisLane } from '../../core/redis-client.js'
import { redisScript, runScript } from '../../core/redis-script.js'
import { holderOf, type Claim, type LockCommand, type LockDriver, type LockReply } from '../driver.js'
import mutexSource from './mutex.lua'
import { channelOf, mutexKeys, permitKeys, sharesSlot } from './names.js'
import permitsSource from './permits.lua'
import { createWakeups, type RedisLockClient } from './subscriber.js'

export type { RedisLockClient, RedisSubscriber } from './subscriber.js'

const mutexScript = redisScript(mutexSource)
const permitsScript = redisScript(permitsSource)

/** A release has woken other processes, which come first; who is subscribed is woken with them, long before this. */
const afterOthersMs = 50

/** A lock without a TTL is somebody else's, and its end may never be told. */
const foreverMs = 30_000

/**
 * Locks in Redis 6.2 or newer, or Valkey, on one server or on the master of a key's slot. Mutexes have the layout of
 * Redisson's RLock and RFencedLock, so that a JVM service with Redisson and this one exclude each other on one key:
 * a hash with a TTL at the key itself, a fencing counter and a channel beside it. Read-write locks and semaphores have
 * keys of their own.
 *
 * Your client stays yours; the driver opens one more like it to be woken on, and closes that with the lock or when yours
 * ends. What a release that is sent twice needs stays in Redis for 20 seconds.
 *
 * Redis replicates asynchronously: a failover may forget a lock, and grant it again. Fencing tokens may then repeat, too.
 *
 * @throws RangeError for a client with a `keyPrefix`, which would tear Redisson's names apart.
 */
export function redisLock(redis: RedisLockClient): LockDriver {
  const prefix = (redis.options as { readonly keyPrefix?: unknown } | undefined)?.keyPrefix
  if (prefix !== undefined && prefix !== '') {
    throw new RangeError(`a lock needs a client without keyPrefix, got ${JSON.stringify(prefix)}`)
  }
  const wakeups = createWakeups(redis)

  /**
   * How many of a channel's subscribers wait for the claim's front alone: one that another lock object shares speaks for
   * that as well. On a Cluster a release sees the subscribers of one node only.
   */
  function ownSubscribers({ kind, key, front }: Claim): number {
    if (redis.isCluster === true) return -1
    return wakeups.hearsFor(front, channelOf(kind, key)) ? 1 : 0
  }

  /** The arguments of a command; a release with a `next` becomes two. */
  function argumentsOf({ verb, claim }: LockCommand | { verb: 'next'; claim: Claim }): (string | number)[] {
    const { number, ttlMs, permits, of, tokens, waits } = claim
    const extra = verb === 'release' ? ownSubscribers(claim) : verb === 'renew' ? 0 : tokens
    return claim.kind === 'mutex'
      ? [verb, number, ttlMs, extra]
      : [verb, number, ttlMs, permits, of, extra, waits ? 1 : 0]
  }

  return {
    fences: true,
    shares: true,
    checkKey(kind, key) {
      if (kind !== 'mutex' || redis.isCluster !== true || sharesSlot(key)) return
      throw new RangeError(
        `on a Cluster the braces of ${JSON.stringify(key)} put the names of its lock into different slots`,
      )
    },
    ...(redis.isCluster === true
      ? { lane: (kind, key) => redisLane(redis, kind === 'mutex' ? key : channelOf(kind, key)) }
      : {}),
    async commit(commands, trip) {
      const { kind, front } = (commands[0] as LockCommand).claim
      const keys: string[] = []
      const args: (string | number)[] = [front]
      for (const command of commands) {
        const next = command.verb === 'release' ? command.next : undefined
        for (const part of next ? [command, { verb: 'next', claim: next } as const] : [command]) {
          const { key } = part.claim
          keys.push(...(kind === 'mutex' ? mutexKeys(key, front) : permitKeys(kind, key, holderOf(part.claim))))
          args.push(...argumentsOf(part))
        }
      }
      const script = kind === 'mutex' ? mutexScript : permitsScript
      const reply = await runScript(redis, script, keys, args, trip)
      wakeups.revive()
      return toReplies(commands, reply as (number | string)[])
    },
    watch: ({ kind, key, front }, wake) => wakeups.watch(channelOf(kind, key), front, wake),
    async rest() {
      wakeups.rest()
    },
  }
}

function toReplies(commands: readonly LockCommand[], reply: readonly (number | string)[]): (LockReply | Error)[] {
  let at = 0
  const read = (claim: Claim, verb?: LockCommand['verb']): LockReply | Error => {
    // A client may be set to hand numbers out as strings.
    const code = Number(reply[at++])
    const value = reply[at++] as number | string
    if (code === -1) return refused(claim, String(value))
    if (verb === 'release') return { ok: code === 1 }
    if (verb === 'renew') return code === 1 ? { ok: true, heldMs: claim.ttlMs } : { ok: false }
    if (code === 1) return { ok: true, heldMs: claim.ttlMs, token: BigInt(value) }
    if (code === 2) return { ok: false, withdrawn: true }
    if (code === 3) return { ok: false, retryAfterMs: afterOthersMs, others: Number(value) }
    const leftMs = Number(value)
    return { ok: false, retryAfterMs: leftMs < 0 ? foreverMs : leftMs, queued: code === 4 }
  }
  return commands.map((command) => {
    const first = read(command.claim, command.verb)
    if (command.verb !== 'release' || !command.next) return first
    const next = read(command.next)
    if (first instanceof Error || next instanceof Error) return first
    return { ...first, next }
  })
}

/** Redis carried out the other commands of the trip, and nothing of this one. */
function refused({ key }: Claim, why: string): StoreUnavailableError {
  return new StoreUnavailableError(`lock: Redis cannot lock ${JSON.stringify(key)}: ${why}`, { applied: 'no' })
}
