import { randomUUID } from 'node:crypto'
import { seldom, type BackgroundReport } from '../../core/background.js'
import { NothingApplied, type Trip } from '../../core/group-commit.js'
import { knownOptions } from '../../core/options.js'
import {
  checkRedisClient,
  keyPrefixOf,
  namedPrefix,
  redisLane,
  tagSafe,
  type RedisBinaryClient,
} from '../../core/redis-client.js'
import { checkedPrefix } from '../../core/redis-prefix.js'
import { bytesReply, integerReply, integersReply, listReply, textReply } from '../../core/redis-reply.js'
import { redisScript, runBinaryCommand, runBinaryScript, runScript } from '../../core/redis-script.js'
import type { RedisSubscribable } from '../../core/redis-subscriber.js'
import type { CacheTier, KeyChange, Marks, SharedStore, TierFound, TierRead, TurnEnd, TurnTerms } from '../driver.js'
import { createBus, said } from './bus.js'
import changeSource from './change.lua'
import endSource from './end.lua'
import { entryArguments, readEntry, readMarks } from './entry.js'
import { createServerTime, type ServerTime } from './server-time.js'
import marksSource from './marks.lua'
import readSource from './read.lua'
import takeSource from './take.lua'

const takeScript = redisScript(takeSource)
const endScript = redisScript(endSource)
const changeScript = redisScript(changeSource)
const marksScript = redisScript(marksSource)
const readScript = redisScript(readSource)

/** What a cache needs of a Redis client: values are bytes, and another connection like it listens to the bus. */
export interface RedisCacheClient extends RedisBinaryClient, RedisSubscribable {}

/** How values are kept in Redis. */
export interface RedisTierOptions {
  /** What the keys of all names begin with. End it with `:`, so that it shares no keys with other prefixes. @defaultValue 'spillway:cache:' */
  readonly prefix?: string | undefined
}

/**
 * Values in Redis 6.2 or newer, Valkey, or a Redis Cluster, and the bus that tells the other processes what changed. Gets
 * that come together share a trip, on a Cluster one for each slot.
 *
 * Caches of one name and prefix share values; the key of one is `<prefix><name>:{<key>}`, with `%`, `{` and `}` (in the name
 * also `:`) as in URLs. `redis` stays yours to configure and to close. Caches over one client share one more connection like
 * it, for the bus; it is closed with the last of them, and when the client ends.
 *
 * Redis replicates asynchronously: a failover may bring back what was there before a change of the last moment.
 *
 * @throws TypeError for what is no client of ioredis, and TypeError or RangeError for options that make no sense.
 */
export function redisTier(redis: RedisCacheClient, options?: RedisTierOptions): CacheTier {
  checkRedisClient('redis', redis)
  const { prefix = 'spillway:cache:' } = knownOptions<RedisTierOptions>('redisTier', options, { prefix: true })
  checkedPrefix(redis, prefix)
  const serverTime = createServerTime(redis)
  return { open: (name, report) => openStore(redis, namedPrefix(prefix, name), serverTime, report) }
}

function openStore(
  redis: RedisCacheClient,
  prefix: string,
  serverTime: ServerTime,
  report: BackgroundReport,
): SharedStore {
  const name = (key: string): string => `${prefix}{${tagSafe(key)}}`
  // The marks of all keys lie together: on a Cluster in a slot of their own. No entry ends like them.
  const marksKeys = [`${prefix}{marks}:marks`, `${prefix}{marks}:tags`]
  // The client puts its prefix before keys, but not into arguments, and not before the channels of the bus.
  const channel = `${keyPrefixOf(redis)}${prefix}bus`
  const reportRefusal = seldom(report)
  const bus = createBus(redis, channel, reportRefusal)
  const readsReplicas = mayReadReplicas(redis)

  /** The changes are made, but no other process hears of them. */
  function tellRefused(why: string): void {
    if (why === '') return
    reportRefusal(new Error(`Redis refuses to publish on ${channel}, so other processes hear of no change: ${why}`))
  }

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
    const answer = await runBinaryScript(redis, takeScript, keysOf(wanted), args, trip)
    const reply = listReply(answer, 1 + 3 * wanted.length)
    const nowMs = integerReply(reply[0])
    for (const [n, i] of places.entries()) {
      const [bytes, turn] = [bytesReply(reply[3 * n + 1]), bytesReply(reply[3 * n + 2])]
      const entry = bytes ? readEntry(bytes, nowMs) : undefined
      if (turn === null) {
        found[i] = { entry }
        continue
      }
      const number = integerReply(reply[3 * n + 3])
      if (turn.length === 0) found[i] = { entry, busyMs: Math.max(0, number) }
      else found[i] = { entry, turn: { id: turn.toString(), number, sinceMs: nowMs } }
    }
  }

  return {
    ...(redis.isCluster === true ? { lane: (key: string) => redisLane(redis, name(key)) } : {}),
    async read(reads, terms, trip) {
      const names = reads.map(({ key }) => name(key))
      // On one server the marks come along.
      if (redis.isCluster !== true) names.push(marksKeys[0] as string)
      // Most reads find something fresh, and a plain command finds it in a third of a script's time.
      const values = readsReplicas
        ? runBinaryScript(redis, readScript, names, [], trip)
        : runBinaryCommand(redis, 'mget', names, trip)
      const [answer, atMs] = await Promise.all([values, serverTime.now(names[0] as string, trip)])
      const bytes = listReply(answer, names.length)
      const marksBytes = redis.isCluster === true ? null : bytesReply(bytes.pop())
      const found = bytes.map((one): TierFound => {
        const entry = bytesReply(one)
        return { entry: entry ? readEntry(entry, atMs) : undefined }
      })
      const missing = found.flatMap((one, i) => (needsTurn(one, reads[i] as TierRead) ? [i] : []))
      if (missing.length > 0) {
        // Those that are fresh do not fail with the others: a Redis that is full or read-only can be read.
        await take(missing, reads, found, terms, trip).catch((error: unknown) => {
          const refused = error instanceof NothingApplied ? error.reason : (error as Error)
          for (const i of missing) found[i] = { ...found[i], refused }
        })
      }
      return { found, marks: marksBytes ? readMarks(marksBytes) : undefined, atMs }
    },
    async end(ends, trip) {
      const args = [channel, ...ends.flatMap(endArguments)]
      const [refused, ...were] = listReply(await runScript(redis, endScript, keysOf(ends), args, trip), ends.length + 1)
      tellRefused(textReply(refused))
      return integersReply(were).map((was) => was === 1)
    },
    async change(origin, changes, trip) {
      const message = said('keys', origin, ...changes.map(({ key }) => key))
      const args = [channel, message, ...changes.flatMap(changeArguments)]
      const reply = await runScript(redis, changeScript, keysOf(changes), args, trip)
      const [atMs, refused, ...done] = listReply(reply, changes.length + 2)
      tellRefused(textReply(refused))
      return { done: integersReply(done).map((one) => one === 1), atMs: integerReply(atMs) }
    },
    async marks(origin, tags, marking, trip): Promise<Marks> {
      const marked = marking?.verb === 'tags' ? marking.tags : []
      const message = marking?.verb === 'tags' ? said('tags', origin, ...marked) : said('clear', origin)
      const head = [marking?.verb ?? 'read', newEpoch(), channel, message, marked.length]
      const keys = [...marksKeys, ...(marking?.ids ?? []).map((id) => `${prefix}{marks}:made:${id}`)]
      const reply = await runScript(redis, marksScript, keys, [...head, ...marked, ...tags], trip)
      const [epoch, count, cleared, floor, refused, ...counts] = listReply(reply, tags.length + 5)
      tellRefused(textReply(refused))
      const numbers = { count: integerReply(count), cleared: integerReply(cleared), floor: integerReply(floor) }
      return { epoch: textReply(epoch), ...numbers, tags: integersReply(counts) }
    },
    listen: (origin, listener) => bus.listen(origin, listener),
  }
}

const newEpoch = (): string => randomUUID().slice(0, 8)

/** A replica may not have a change yet that has been answered. */
function mayReadReplicas(redis: RedisCacheClient): boolean {
  const { scaleReads = 'master' } = (redis.options ?? {}) as { readonly scaleReads?: unknown }
  return redis.isCluster === true && scaleReads !== 'master'
}

function needsTurn({ entry }: TierFound, { takes, over }: TierRead): boolean {
  if (!takes) return false
  return !entry || entry.freshMs <= 0 || (over !== undefined && entry.sinceMs <= over)
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
