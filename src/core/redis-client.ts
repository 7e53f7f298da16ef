import calculateSlot from 'cluster-key-slot'
import { onAbort } from './abort.js'
import { objectWith } from './check.js'
import { StoreUnavailableError } from './errors.js'

type Argument = string | Buffer | number

/**
 * What spillway needs of a Redis client. `Redis` and `Cluster` of ioredis 5 and 6 fit, as do those of iovalkey. The
 * client stays the caller's: spillway never closes it and changes none of its settings.
 */
export interface RedisClient {
  /** `'ready'` when commands go out at once; anything else means that the client would queue them. */
  readonly status: string
  readonly isCluster?: boolean | undefined
  readonly options?: unknown
  evalsha(sha1: string, keyCount: number, ...keysAndArgs: Argument[]): Promise<unknown>
  eval(script: string, keyCount: number, ...keysAndArgs: Argument[]): Promise<unknown>
  connect(): Promise<unknown>
  on(event: 'ready' | 'end' | 'error', listener: (error?: unknown) => void): unknown
  off(event: 'ready' | 'end' | 'error', listener: (error?: unknown) => void): unknown
  listenerCount(event: 'error'): number
}

/** A client that also gives replies as bytes. */
export interface RedisBinaryClient extends RedisClient {
  callBuffer(command: string, ...args: Argument[]): Promise<unknown>
}

interface ClientOptions {
  readonly keyPrefix?: unknown
  readonly enableAutoPipelining?: unknown
}

const optionsOf = (redis: RedisClient): ClientOptions => redis.options ?? {}

/** Throws a TypeError that names what came, unless `value` is a client of ioredis or iovalkey. */
export function checkRedisClient(name: string, value: unknown): void {
  const methods = ['evalsha', 'eval', 'connect', 'on', 'off', 'listenerCount']
  objectWith(name, value, methods, 'a Redis or Cluster of ioredis')
}

/** The commands that spillway sends. */
export type CommandName = 'evalsha' | 'eval' | 'mget'

type Send = (...args: unknown[]) => Promise<unknown>

/**
 * Sends one command; with `binary`, every string of the reply is the bytes that it is. Automatic pipelining is passed by:
 * calls are joined already, some clients send a joined EVALSHA to the wrong node of a Cluster (ioredis before 5.11,
 * iovalkey 0.4), and none of them keeps the name of a command that is sent by `call`.
 */
export function sendCommand(
  redis: RedisClient,
  name: CommandName,
  args: readonly Argument[],
  binary = false,
): Promise<unknown> {
  const client = redis as unknown as Record<CommandName | 'callBuffer', Send> & CommandMaker
  if (optionsOf(redis).enableAutoPipelining === true) {
    return client.createBuiltinCommand(name)[binary ? 'buffer' : 'string'].apply(redis, [...args])
  }
  return binary ? client.callBuffer(name, ...args) : client[name](...args)
}

interface CommandMaker {
  createBuiltinCommand(name: CommandName): Readonly<Record<'string' | 'buffer', Send>>
}

/** The prefix that the client puts before every key; `''` if there is none. Channels are named with it, to be as far apart as keys. */
export function keyPrefixOf(redis: RedisClient): string {
  const { keyPrefix } = optionsOf(redis)
  return typeof keyPrefix === 'string' || Buffer.isBuffer(keyPrefix) ? keyPrefix.toString() : ''
}

/** Which trips a key may share: all of them on one server, those of its slot on a Cluster. */
export function redisLane(redis: RedisClient, key: string): number {
  return redis.isCluster === true ? calculateSlot(keyPrefixOf(redis) + key) : 0
}

const unsafeInTag = /[%{}]/g

/**
 * A name as a part of a Redis key in which spillway has put the hash tag: braces would move the tag, so they are
 * escaped, and so is the escape itself.
 */
export function tagSafe(name: string): string {
  // Most names have none of them, and to look is cheaper than to replace.
  if (name.search(unsafeInTag) < 0) return name
  return name.replace(unsafeInTag, (found) => `%${found.charCodeAt(0).toString(16).toUpperCase()}`)
}

/**
 * What is before the hash tags of all keys of one name. Without `:` in the name, prefixes that end with `:` share no keys,
 * as in `a:` with the name `b:c` and `a:b:` with `c`.
 */
export const namedPrefix = (prefix: string, name: string): string => `${prefix}${tagSafe(name).replaceAll(':', '%3A')}:`

type ClientEvent = 'ready' | 'end' | 'error'

interface Listeners {
  readonly runs: Set<(error?: unknown) => void>
  readonly fire: (error?: unknown) => void
}

const listeners = new WeakMap<RedisClient, Map<ClientEvent, Listeners>>()

/**
 * Calls `run` at every `event` of the client; returns what takes that back. One listener for each event serves all: a
 * client warns of a leak at the eleventh.
 */
export function onClient(redis: RedisClient, event: ClientEvent, run: (error?: unknown) => void): () => void {
  let events = listeners.get(redis)
  if (!events) listeners.set(redis, (events = new Map<ClientEvent, Listeners>()))
  const { runs, fire } = events.get(event) ?? listen(redis, events, event)
  // Everyone has an entry of its own, also who comes with the same function twice.
  const entry = (error?: unknown): void => run(error)
  runs.add(entry)
  return () => {
    if (!runs.delete(entry) || runs.size > 0 || events.get(event)?.runs !== runs) return
    redis.off(event, fire)
    events.delete(event)
  }
}

function listen(redis: RedisClient, events: Map<ClientEvent, Listeners>, event: ClientEvent): Listeners {
  const runs = new Set<(error?: unknown) => void>()
  const fire = (error?: unknown): void => {
    for (const run of [...runs]) if (runs.has(run)) run(error)
  }
  const added = { runs, fire }
  events.set(event, added)
  redis.on(event, fire)
  return added
}

/**
 * Whether the client was closed for good, until somebody connects it again. One that is disconnected while it waits to connect
 * again never says so: its status stays as it was, and no `end` is told.
 */
export function isClosed(redis: RedisClient): boolean {
  const { status } = redis
  const { manuallyClosing } = redis as { manuallyClosing?: unknown }
  return status === 'end' || (manuallyClosing === true && (status === 'reconnecting' || status === 'disconnecting'))
}

/** The last error that each client told while somebody waited for it, until it is ready. */
const lastErrors = new WeakMap<RedisClient, unknown>()

function note(redis: RedisClient, error: unknown): void {
  if (!lastErrors.has(redis)) {
    const stop = onClient(redis, 'ready', () => {
      lastErrors.delete(redis)
      stop()
    })
  }
  lastErrors.set(redis, error)
  // ioredis prints an error that nobody listens to. Our listener is no reason to keep it from the user.
  if (redis.listenerCount('error') === 1) console.error('[spillway] Unhandled error event of the Redis client:', error)
}

/** Why a client answers nothing, as far as it tells: its status and its last error. `undefined` if it is ready. */
export function whyNotReady(redis: RedisClient): Error | undefined {
  const { status } = redis
  if (status === 'ready') return undefined
  const cause = lastErrors.get(redis) ?? (redis as { stream?: { errored?: unknown } }).stream?.errored
  const state = `the Redis client is not ready (its status is '${status}')`
  return cause instanceof Error ? new Error(`${state}: ${textOf(cause)}`, { cause }) : new Error(state)
}

/** A name that has several addresses fails with one error for each, and has no message of its own. */
const textOf = (error: Error): string =>
  error instanceof AggregateError && error.message === '' ? error.errors.map(String).join(', ') : error.message

/**
 * Waits until the client would send a command at once. A client that is not ready keeps commands in a queue of its own
 * and sends them whenever it is, long after the caller was told that they failed; so none is handed to it before.
 */
export async function whenReady(redis: RedisClient, signal: AbortSignal): Promise<void> {
  while (redis.status !== 'ready') {
    signal.throwIfAborted()
    if (isClosed(redis)) {
      const cause = whyNotReady(redis)
      throw new StoreUnavailableError('The Redis client is closed', { applied: 'no', cause })
    }
    await nextChange(redis, signal)
  }
}

/** Waits for the client to become ready or to end. */
function nextChange(redis: RedisClient, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const done = (): void => {
      for (const stop of stops) stop()
      resolve()
    }
    const stops = [
      onClient(redis, 'ready', done),
      onClient(redis, 'end', done),
      onClient(redis, 'error', (error) => note(redis, error)),
      onAbort(signal, done),
    ]
    // Made with lazyConnect, the client connects at its first command; waiting for it to be ready is that command.
    if (redis.status === 'wait') redis.connect().catch(() => undefined)
  })
}
