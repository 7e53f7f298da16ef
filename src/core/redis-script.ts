import { createHash } from 'node:crypto'
import type { Trip } from './group-commit.js'
import { whenReady, type RedisBinaryClient, type RedisClient } from './redis-client.js'

/** A Lua script and the digest by which Redis knows it. */
export interface RedisScript {
  readonly source: string
  readonly sha1: string
}

export function redisScript(source: string): RedisScript {
  return { source, sha1: createHash('sha1').update(source).digest('hex') }
}

type Arguments = readonly (string | Buffer | number)[]

/**
 * Runs a script as part of a trip: EVALSHA, and EVAL where the server does not know the script (its first use, after
 * SCRIPT FLUSH, on a replica that has just become the master). Never hands a command to a client that would queue it.
 *
 * A client resends what was under way when its connection broke, so a script must be safe to run twice.
 */
export async function runScript(
  redis: RedisClient,
  script: RedisScript,
  keys: readonly string[],
  args: Arguments,
  trip: Trip,
): Promise<unknown> {
  if (redis.status !== 'ready') await whenReady(redis, trip.signal)
  trip.sending()
  try {
    return await redis.evalsha(script.sha1, keys.length, ...keys, ...args)
  } catch (error) {
    await whenUnknown(redis, error, trip)
    return redis.eval(script.source, keys.length, ...keys, ...args)
  }
}

/** As `runScript`, with every string of the reply as the bytes that it is. */
export async function runBinaryScript(
  redis: RedisBinaryClient,
  script: RedisScript,
  keys: readonly string[],
  args: Arguments,
  trip: Trip,
): Promise<unknown> {
  if (redis.status !== 'ready') await whenReady(redis, trip.signal)
  trip.sending()
  try {
    return await redis.callBuffer('evalsha', script.sha1, keys.length, ...keys, ...args)
  } catch (error) {
    await whenUnknown(redis, error, trip)
    return redis.callBuffer('eval', script.source, keys.length, ...keys, ...args)
  }
}

/** Throws the error again unless it says that the server does not know the script, which is then to be sent whole. */
async function whenUnknown(redis: RedisClient, error: unknown, trip: Trip): Promise<void> {
  if (!(error instanceof Error && error.message.startsWith('NOSCRIPT'))) throw error
  await whenReady(redis, trip.signal)
}
