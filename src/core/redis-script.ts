import { createHash } from 'node:crypto'
import { NothingApplied, type Trip } from './group-commit.js'
import { sendCommand, whenReady, whyNotReady, type RedisBinaryClient, type RedisClient } from './redis-client.js'

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
 * Where Redis refused the script before it wrote anything it rejects with NothingApplied.
 *
 * A client resends what was under way when its connection broke, so a script must be safe to run twice.
 */
export function runScript(
  redis: RedisClient,
  script: RedisScript,
  keys: readonly string[],
  args: Arguments,
  trip: Trip,
): Promise<unknown> {
  return run(redis, false, script, keys, args, trip)
}

/** As `runScript`, with every string of the reply as the bytes that it is. */
export function runBinaryScript(
  redis: RedisBinaryClient,
  script: RedisScript,
  keys: readonly string[],
  args: Arguments,
  trip: Trip,
): Promise<unknown> {
  return run(redis, true, script, keys, args, trip)
}

async function run(
  redis: RedisClient,
  binary: boolean,
  script: RedisScript,
  keys: readonly string[],
  args: Arguments,
  trip: Trip,
): Promise<unknown> {
  trip.blames?.(() => whyNotReady(redis))
  if (redis.status !== 'ready') await whenReady(redis, trip.signal)
  trip.sending()
  const parts = [script.sha1, keys.length, ...keys, ...args]
  try {
    return await sendCommand(redis, 'evalsha', parts, binary)
  } catch (error) {
    if (!isReply(error, 'NOSCRIPT')) throw understood(error)
  }
  await whenReady(redis, trip.signal)
  parts[0] = script.source
  try {
    return await sendCommand(redis, 'eval', parts, binary)
  } catch (error) {
    throw understood(error)
  }
}

/** Sends one command as part of a trip, with the reply as bytes. */
export async function runBinaryCommand(
  redis: RedisBinaryClient,
  name: 'mget',
  args: Arguments,
  trip: Trip,
): Promise<unknown> {
  trip.blames?.(() => whyNotReady(redis))
  if (redis.status !== 'ready') await whenReady(redis, trip.signal)
  trip.sending()
  return sendCommand(redis, name, args, true).catch((error: unknown) => {
    throw understood(error)
  })
}

const isReply = (error: unknown, code: string): boolean => error instanceof Error && error.message.startsWith(code)

/**
 * The errors by which Redis refuses a command, or, inside a script, its first write; after a write it lets the script
 * finish. (6.2 puts the error of a script behind words of its own.)
 */
const refusals =
  /^(?:ERR Error running script [^@]*@user_script:\d+: (?:@user_script: ?\d+: )?-?)?(?:READONLY|OOM|MISCONF|NOREPLICAS|BUSY|LOADING|MASTERDOWN|CLUSTERDOWN|TRYAGAIN|MOVED|ASK|NOAUTH) /

/** A right that the user lacks stops a script wherever it is, so it says that nothing was applied only outside of one. */
const deniedInScript = /script: [0-9a-f]{40}|Error running script/

/** NothingApplied where Redis refused a command, or a script before its first write; else the error itself. */
export function understood(error: unknown): unknown {
  if (!(error instanceof Error)) return error
  const denied = error.message.startsWith('NOPERM ') && !deniedInScript.test(error.message)
  return denied || refusals.test(error.message) ? new NothingApplied(error) : error
}
