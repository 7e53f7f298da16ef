import { randomBytes } from 'node:crypto'
import type { Trip } from '../../core/group-commit.js'
import { redisLane, type RedisClient } from '../../core/redis-client.js'
import { runScript, type RedisScript } from '../../core/redis-script.js'

/**
 * A key by which Redis knows a call again that the client sends twice, because its connection broke before the answer. It
 * serves one call after the other, none before the client has settled the one before it, so the number and the answer of
 * the last call are all that is kept.
 */
interface Latch {
  readonly key: string
  calls: number
}

/**
 * Sends scripts whose first key is a latch and whose first argument is the number of the call. There are as many latches
 * as calls were ever under way at once: one, but for a client that has fallen silent. On a Cluster each slot has its own.
 */
export function createOnce(redis: RedisClient, bucketOf: (key: string) => string) {
  const front = randomBytes(9).toString('base64url')
  const tags: string[] = []
  const freeOf = new Map<number, Latch[]>()
  let tried = 0
  let made = 0

  /** A short key whose bucket is in the lane. Each key that is tried is noted, so few are tried in the long run. */
  function tagOf(lane: number): string {
    for (let tag = tags[lane]; ; tag = tags[lane]) {
      if (tag !== undefined) return tag
      const next = (tried++).toString(36)
      tags[redisLane(redis, bucketOf(next))] ??= next
    }
  }

  return async (
    script: RedisScript,
    buckets: readonly string[],
    args: readonly (string | number)[],
    trip: Trip,
  ): Promise<unknown> => {
    const lane = redisLane(redis, buckets[0] as string)
    let free = freeOf.get(lane)
    if (!free) freeOf.set(lane, (free = []))
    const latch = free.pop() ?? { key: `${bucketOf(tagOf(lane))}:once:${front}:${(made++).toString(36)}`, calls: 0 }
    try {
      return await runScript(redis, script, [latch.key, ...buckets], [++latch.calls, ...args], trip)
    } finally {
      free.push(latch)
    }
  }
}
