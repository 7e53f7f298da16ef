import { backgroundReporter, seldom, type BackgroundListener } from '../../core/background.js'
import { durationMs, objectWith, optionalFunction } from '../../core/check.js'
import { StoreUnavailableError } from '../../core/errors.js'
import { knownOptions } from '../../core/options.js'
import { checkRedisClient, keyPrefixOf, redisLane } from '../../core/redis-client.js'
import { checkedPrefix, textPrefix } from '../../core/redis-prefix.js'
import { integerReply, listReply, textReply } from '../../core/redis-reply.js'
import { redisScript, runScript } from '../../core/redis-script.js'
import { holderOf, type Claim, type LockCommand, type LockDriver, type LockKind, type LockReply } from '../driver.js'
import mutexSource from './mutex.lua'
import { mutexChannel, mutexKeys, permitKeys, sharedName, sharesSlot } from './names.js'
import permitsSource from './permits.lua'
import { wakeupsOf, type RedisLockClient } from './wakeups.js'

export type { RedisSubscriber } from '../../core/redis-subscriber.js'
export type { RedisLockClient } from './wakeups.js'

const mutexScript = redisScript(mutexSource)
const permitsScript = redisScript(permitsSource)

/** A release has woken other processes, which come first; who is subscribed is woken with them, long before this. */
const afterOthersMs = 50

/** What a script carries out one after the other; a release with a `next` is two. */
type Part = LockCommand | { readonly verb: 'next'; readonly claim: Claim }

/** Where the TTL of a holder is not known. */
const foreverMs = 30_000

/** Lua counts in doubles; what is longer lasts for ever. */
const longestCounterMs = 2 ** 52

/** Options of locks in Redis. */
export interface RedisLockOptions {
  /**
   * What the names of locks begin with in Redis. Without it a mutex is the Redis key of its own name, which a JVM service
   * with Redisson shares by that name, and which nothing else may use.
   * @defaultValue `''`
   */
  readonly prefix?: string | undefined
  /**
   * How long the fencing counter of a key is kept after the last grant or renewal. Give it where names of keys are
   * unbounded, for each leaves a counter behind. It must be much longer than any holder can be stopped and go on: when the
   * counter is gone, tokens begin at 1 again, and a late write with an old token passes.
   * @defaultValue Infinity
   */
  readonly counterTtlMs?: number | undefined
  /**
   * Told of faults that no call can be told of: Redis lets nobody listen for releases, or publish them (its user may not,
   * or it has no connection to spare). Then waiters poll, twice a second.
   * @defaultValue a process warning
   */
  readonly onBackgroundError?: BackgroundListener | undefined
}

/**
 * Locks in Redis 6.2 or newer, or Valkey, on one server or on the master of a key's slot. Mutexes have the layout of
 * Redisson's RLock and RFencedLock, so that a JVM service with Redisson and this one exclude each other on one key:
 * a hash with a TTL at the key itself, a fencing counter and a channel beside it. Read-write locks and semaphores have
 * keys of their own.
 *
 * Your client stays yours; all locks over it share one more connection like it to be woken on, which is closed with the
 * last lock or when your client ends. What a release that is sent twice needs stays in Redis for 20 seconds.
 *
 * Redis replicates asynchronously: a failover may forget a lock, and grant it again. Fencing tokens may then repeat, too.
 *
 * @throws TypeError for what is no client of ioredis or iovalkey, TypeError or RangeError for options that make no sense.
 */
export function redisLock(redis: RedisLockClient, options?: RedisLockOptions): LockDriver {
  checkRedisClient('the client of redisLock', redis)
  objectWith('the client of redisLock', redis, ['duplicate'], 'a Redis or Cluster of ioredis')
  const { prefix, counterMs, onBackgroundError } = checkedOptions(redis, options)
  const keyPrefix = keyPrefixOf(redis)
  const wakeups = wakeupsOf(redis)
  const report = onBackgroundError ? seldom(backgroundReporter('lock', 'lock', onBackgroundError)) : wakeups.warn

  /** What a release tells. */
  function published(why: string | undefined): void {
    wakeups.published(why)
    if (why !== undefined) report(new Error(`waiters poll, for Redis refuses to publish releases: ${why}`))
  }

  const channelOf = (kind: LockKind, key: string): string =>
    kind === 'mutex' ? mutexChannel(keyPrefix + prefix + key) : `${keyPrefix}${sharedName(kind, prefix + key)}:channel`

  /**
   * How many of a channel's subscribers do not count: one that waits for the claim's front alone (one that another lock
   * object shares speaks for that as well), and those that were found not to wait. A server of a Cluster knows its own only.
   */
  function knownSubscribers({ kind, key, front }: Claim, absent: number): number {
    if (redis.isCluster === true) return -1
    return (wakeups.hearsFor(front, channelOf(kind, key)) ? 1 : 0) + absent
  }

  function argumentsOf(part: Part): (string | number)[] {
    const { verb, claim } = part
    const { kind, number, ttlMs, permits, of, tokens, waits } = claim
    const known = part.verb === 'release' && part.next ? knownSubscribers(claim, part.absent ?? 0) : ''
    const asks = verb === 'acquire' || verb === 'next'
    const own = [asks && !waits ? `try ${verb}` : verb, number, ttlMs, asks ? tokens : known]
    return kind === 'mutex' ? own : [...own, permits, of]
  }

  function keysOf(claim: Claim): string[] {
    return claim.kind === 'mutex'
      ? mutexKeys(keyPrefix + prefix + claim.key, claim.front)
      : permitKeys(claim.kind, prefix + claim.key, holderOf(claim))
  }

  /**
   * What a script gets. Redisson derives names from the name of a lock, and a client with a `keyPrefix` would put that before
   * each of them: it gets the locks, for their slot, and the names are arguments.
   */
  function requestOf(parts: readonly Part[], { kind, front }: Claim) {
    const names: string[] = []
    const args: (string | number)[] = []
    for (const part of parts) {
      names.push(...keysOf(part.claim))
      args.push(...argumentsOf(part))
    }
    if (kind !== 'mutex') return { keys: names, args: [front, counterMs, ...args] }
    if (keyPrefix === '') return { keys: names, args: [front, counterMs, 0, ...args] }
    return {
      keys: parts.map(({ claim }) => prefix + claim.key),
      args: [front, counterMs, names.length, ...names, ...args],
    }
  }

  return {
    fences: true,
    shares: true,
    checkKey(kind, key) {
      if (kind !== 'mutex' || redis.isCluster !== true || sharesSlot(keyPrefix + prefix + key)) return
      throw new RangeError(
        `on a Cluster the braces of ${JSON.stringify(keyPrefix + prefix + key)} put the names of its lock into different slots`,
      )
    },
    ...(redis.isCluster === true
      ? { lane: (kind, key) => redisLane(redis, kind === 'mutex' ? prefix + key : sharedName(kind, prefix + key)) }
      : {}),
    async commit(commands, trip) {
      const parts = commands.flatMap((command): readonly Part[] =>
        command.verb === 'release' && command.next ? [command, { verb: 'next', claim: command.next }] : [command],
      )
      const { claim } = commands[0] as LockCommand
      const { keys, args } = requestOf(parts, claim)
      const script = claim.kind === 'mutex' ? mutexScript : permitsScript
      const reply = listReply(await runScript(redis, script, keys, args, trip), parts.length * 2)
      return toReplies(commands, reply, published)
    },
    watch: ({ kind, key, front }, wake) => wakeups.watch(channelOf(kind, key), { front, report, wake }),
    async rest() {
      wakeups.rest()
    },
  }
}

function checkedOptions(redis: RedisLockClient, options: RedisLockOptions | undefined) {
  const known = { prefix: true, counterTtlMs: true, onBackgroundError: true } as const
  const {
    prefix = '',
    counterTtlMs = Infinity,
    onBackgroundError,
  } = knownOptions<RedisLockOptions>('redisLock', options, known)
  // On one server a lock may have any name, for Redisson gives them the same ones.
  if (redis.isCluster === true) checkedPrefix(redis, prefix)
  else textPrefix(prefix)
  const counterMs = Math.floor(durationMs('counterTtlMs', counterTtlMs, 1))
  optionalFunction('onBackgroundError', onBackgroundError)
  return { prefix, counterMs: counterMs > longestCounterMs ? 0 : counterMs, onBackgroundError }
}

function toReplies(
  commands: readonly LockCommand[],
  reply: readonly unknown[],
  published: (why: string | undefined) => void,
): (LockReply | Error)[] {
  let at = 0
  const read = (claim: Claim, verb?: LockCommand['verb']): LockReply | Error => {
    const code = integerReply(reply[at++])
    const value = reply[at++]
    if (code === -1) return refused(claim, textReply(value))
    if (verb === 'release') {
      if (code === 1) published(isZero(value) ? undefined : textReply(value))
      return { ok: code === 1 }
    }
    if (verb === 'renew') return code === 1 ? { ok: true, heldMs: claim.ttlMs } : { ok: false }
    const number = integerReply(value)
    if (code === 1) return { ok: true, heldMs: claim.ttlMs, token: BigInt(number) }
    if (code === 2) return { ok: false, withdrawn: true }
    if (code === 3) return { ok: false, retryAfterMs: afterOthersMs, others: number }
    return { ok: false, retryAfterMs: number < 0 ? foreverMs : number, queued: code === 4 }
  }
  return commands.map((command) => {
    const first = read(command.claim, command.verb)
    if (command.verb !== 'release' || !command.next) return first
    const next = read(command.next)
    if (first instanceof Error || next instanceof Error) return first
    return { ...first, next }
  })
}

/** A client may be set to hand numbers out as strings. */
const isZero = (value: unknown): boolean => value === 0 || value === '0'

/** Redis carried out the other commands of the trip, and nothing of this one. */
function refused({ key }: Claim, why: string): StoreUnavailableError {
  return new StoreUnavailableError(`lock: Redis cannot lock ${JSON.stringify(key)}: ${why}`, { applied: 'no' })
}
