import calculateSlot from 'cluster-key-slot'
import { onAbort } from './abort.js'
import { StoreUnavailableError } from './errors.js'

/**
 * What spillway needs of a Redis client. `Redis` and `Cluster` of ioredis 5 and 6 fit, as do those of iovalkey. The
 * client stays the caller's: spillway never closes it and changes none of its settings.
 */
export interface RedisClient {
  /** `'ready'` when commands go out at once; anything else means that the client would queue them. */
  readonly status: string
  readonly isCluster?: boolean
  evalsha(sha1: string, keyCount: number, ...keysAndArgs: (string | Buffer | number)[]): Promise<unknown>
  eval(script: string, keyCount: number, ...keysAndArgs: (string | Buffer | number)[]): Promise<unknown>
  connect(): Promise<unknown>
  on(event: 'ready' | 'end', listener: () => void): unknown
  off(event: 'ready' | 'end', listener: () => void): unknown
}

/** A client that also gives replies as bytes. */
export interface RedisBinaryClient extends RedisClient {
  callBuffer(command: string, ...args: (string | Buffer | number)[]): Promise<unknown>
}

/** Which trips a key may share: all of them on one server, those of its slot on a Cluster. */
export function redisLane(redis: RedisClient, key: string): number {
  return redis.isCluster === true ? calculateSlot(key) : 0
}

/**
 * A name as a part of a Redis key in which spillway has put the hash tag: braces would move the tag, so they are
 * escaped, and so is the escape itself.
 */
export function tagSafe(name: string): string {
  return name.replace(/[%{}]/g, (found) => `%${found.charCodeAt(0).toString(16).toUpperCase()}`)
}

const waits = new WeakMap<RedisClient, Set<() => void>>()

/**
 * Waits until the client would send a command at once. A client that is not ready keeps commands in a queue of its own
 * and sends them whenever it is, long after the caller was told that they failed; so none is handed to it before.
 */
export async function whenReady(redis: RedisClient, signal: AbortSignal): Promise<void> {
  while (redis.status !== 'ready') {
    signal.throwIfAborted()
    if (redis.status === 'end') throw new StoreUnavailableError('The Redis client is closed', { applied: 'no' })
    await nextChange(redis, signal)
  }
}

/** Waits for the client to become ready or to end, with one listener for each however many wait. */
function nextChange(redis: RedisClient, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const waiting = waits.get(redis) ?? listen(redis)
    const done = (): void => {
      unwatch()
      waiting.delete(done)
      resolve()
    }
    const unwatch = onAbort(signal, done)
    waiting.add(done)
    // Made with lazyConnect, the client connects at its first command; waiting for it to be ready is that command.
    if (redis.status === 'wait') redis.connect().catch(() => undefined)
  })
}

function listen(redis: RedisClient): Set<() => void> {
  const waiting = new Set<() => void>()
  const onChange = (): void => {
    redis.off('ready', onChange)
    redis.off('end', onChange)
    waits.delete(redis)
    for (const done of waiting) done()
  }
  redis.on('ready', onChange)
  redis.on('end', onChange)
  waits.set(redis, waiting)
  return waiting
}
