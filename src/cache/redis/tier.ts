import { randomUUID } from 'node:crypto'
import type { Trip } from '../../core/group-commit.js'
import { redisLane, tagSafe, whenReady, type RedisBinaryClient } from '../../core/redis-client.js'
import type { RedisSubscribable } from '../../core/redis-subscriber.js'
import { redisScript, runBinaryScript, runScript } from '../../core/redis-script.js'
import type { KeyChange, Marks, SharedTier, TierFound, TierRead, TurnEnd, TurnTerms } from '../driver.js'
import { createBus, said } from './bus.js'
import changeSource from './change.lua'
import endSource from './end.lua'
import { entryArguments, readEntry } from './entry.js'
import { createServerTime } from './server-time.js'
import marksSource from './marks.lua'
import takeSource from './take.lua'

const takeScript = redisScript(takeSource)
const endScript = redisScript(endSource)
const changeScript = redisScript(changeSource)
const marksScript = redisScript(marksSource)

/** What a cache needs of a Redis client: values are bytes, and another connection like it listens to the bus. */
export interface RedisCacheClient extends RedisBinaryClient, RedisSubscribable {
  readonly options?: unknown
}

/**
 * Values in Redis 6.2 or newer, Valkey, or a Redis Cluster, and the bus that tells the other processes what changed. Gets
 * that come together share a trip, on a Cluster one for each slot.
 *
 * Caches with the same prefix share values; give each kind of value a prefix of its own. `redis` stays yours to configure
 * and to close; the tier opens one more connection like it, for the bus, and closes that with the last cache.
 *
 * Redis replicates asynchronously: a failover may bring back what was there before a change of the last moment.
 */
export function redisTier(
  redis: RedisCacheClient,
  options: { /** @defaultValue 'spillway:cache:' */ readonly prefix?: string } = {},
): SharedTier {
  const { prefix = 'spillway:cache:' } = options
  if (typeof prefix !== 'string') throw new TypeError(`prefix must be a string, got ${String(prefix)}`)
  // Redis takes the first braces of a key for its hash tag, and none at all if they are empty.
  if (prefix.includes('{}')) throw new RangeError(`prefix must not contain '{}', got ${JSON.stringify(prefix)}`)

  const name = (key: string): string => `${prefix}{${tagSafe(key)}}`
  // The marks of all keys lie together: on a Cluster in a slot of their own.
  const marksKeys = [`${prefix}:{marks}`, `${prefix}:{marks}:tags`]
  const channel = `${prefix}:bus`
  const serverTime = createServerTime(redis)
  const bus = createBus(redis, channel)
  /** ioredis puts its prefix before keys and before the channels that it subscribes to, but not into arguments. */
  const published = `${ownPrefix(redis)}${channel}`

  const keysOf = (requests: readonly { readonly key: string }[]): string[] => {
    const keys: string[] = []
    for (const { key } of requests) {
      const entry = name(key)
      keys.push(entry, `${entry}:turn`)
    }
    return keys
  }

  /** Takes turns for the reads at these places, and puts in what was found then. */
  async function take(
    places: readonly number[],
    reads: readonly TierRead[],
    found: TierFound[],
    { id, leaseMs, shared }: TurnTerms,
    trip: Trip,
  ): Promise<void> {
    const wanted = places.map((i) => reads[i] as TierRead)
    const args = [
      `${id}:`,
      leaseMs,
      shared ? 1 : 0,
      ...wanted.flatMap(({ over, replaces }) => [over ?? '', replaces ?? '']),
    ]
    const reply = (await runBinaryScript(redis, takeScript, keysOf(wanted), args, trip)) as TakeReply
    const nowMs = reply[0]
    for (const [n, i] of places.entries()) {
      const [bytes, turn, number] = reply.slice(3 * n + 1, 3 * n + 4) as [Buffer | null, Buffer | null, number]
      const entry = bytes ? readEntry(bytes, nowMs) : undefined
      if (turn === null) found[i] = { entry }
      else if (turn.length === 0) found[i] = { entry, busyMs: Math.max(0, number) }
      else found[i] = { entry, turn: { id: turn.toString(), number: Number(number), sinceMs: nowMs } }
    }
  }

  return {
    ...(redis.isCluster === true ? { lane: (key: string) => redisLane(redis, name(key)) } : {}),
    async read(reads, terms, trip) {
      const names = reads.map(({ key }) => name(key))
      // On one server the marks come along.
      if (redis.isCluster !== true) names.push(marksKeys[0] as string)
      if (redis.status !== 'ready') await whenReady(redis, trip.signal)
      trip.sending()
      // Most reads find something fresh, and a plain command finds it in a third of a script's time.
      const values = redis.callBuffer('mget', ...names) as Promise<(Buffer | null)[]>
      const [bytes, atMs] = await Promise.all([values, serverTime.now(names[0] as string, trip)])
      const marks = redis.isCluster === true ? undefined : readMarks(bytes.pop() ?? null)
      const found: TierFound[] = bytes.map((one) => ({ entry: one ? readEntry(one, atMs) : undefined }))
      const missing = found.flatMap((one, i) => (needsTurn(one, reads[i] as TierRead) ? [i] : []))
      if (missing.length > 0) await take(missing, reads, found, terms, trip)
      return { found, marks, atMs }
    },
    async end(ends, trip) {
      const args = [published, ...ends.flatMap(endArguments)]
      const reply = await runScript(redis, endScript, keysOf(ends), args, trip)
      return (reply as number[]).map((was) => was === 1)
    },
    async change(origin, changes, trip) {
      const message = said('keys', origin, ...changes.map(({ key }) => key))
      const args = [published, message, ...changes.flatMap(changeArguments)]
      const [atMs = 0, ...done] = (await runScript(redis, changeScript, keysOf(changes), args, trip)) as number[]
      return { done: done.map((one) => one === 1), atMs }
    },
    async marks(origin, tags, marking, trip): Promise<Marks> {
      const marked = marking?.verb === 'tags' ? marking.tags : []
      const message = marking?.verb === 'tags' ? said('tags', origin, ...marked) : said('clear', origin)
      const head = [marking?.verb ?? 'read', newEpoch(), published, message, marked.length]
      const keys = [...marksKeys, ...(marking?.ids ?? []).map((id) => `${prefix}:{marks}:made:${id}`)]
      const reply = await runScript(redis, marksScript, keys, [...head, ...marked, ...tags], trip)
      const [epoch, count, cleared, floor, ...counts] = reply as [string, number, number, number, ...number[]]
      return { epoch, count, cleared, floor, tags: counts }
    },
    listen: (origin, listener) => bus.listen(origin, listener),
  }
}

type TakeReply = [nowMs: number, ...(Buffer | number | null)[]]

const newEpoch = (): string => randomUUID().slice(0, 8)

function ownPrefix(redis: RedisCacheClient): string {
  const { keyPrefix } = (redis.options ?? {}) as { readonly keyPrefix?: unknown }
  return redis.isCluster !== true && typeof keyPrefix === 'string' ? keyPrefix : ''
}

function needsTurn({ entry }: TierFound, { takes, over }: TierRead): boolean {
  if (!takes) return false
  return !entry || entry.freshMs <= 0 || (over !== undefined && entry.sinceMs <= over)
}

/** The marks as `marks.lua` writes them; `undefined` if there are none yet. */
function readMarks(bytes: Buffer | null): Marks | undefined {
  const [epoch = '', count, cleared, floor] = bytes?.toString('latin1').split('|') ?? []
  if (floor === undefined) return undefined
  return { epoch, count: Number(count), cleared: Number(cleared), floor: Number(floor), tags: [] }
}

function endArguments(end: TurnEnd): (string | Buffer | number)[] {
  const { turn, shared, key } = end
  const verb = end.verb === 'fill' && !end.entry ? 'forget' : end.verb
  const head = [verb, turn.id, turn.number, shared ? 1 : 0, said('turn', key)]
  if (end.verb === 'fill' && end.entry) return [...head, turn.sinceMs, ...entryArguments(end.entry)]
  return [...head, end.verb === 'renew' ? end.leaseMs : '', ...nothing]
}

function changeArguments(change: KeyChange): (string | Buffer | number)[] {
  if (change.verb === 'delete') return ['delete', change.asOfMs ?? '', ...nothing]
  return ['set', change.asOfMs ?? '', ...entryArguments(change.entry)]
}

/** In the place of an entry. */
const nothing = ['', '', '', '', '', '', '', '']
