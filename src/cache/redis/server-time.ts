import { systemClock } from '../../core/clock.js'
import type { Trip } from '../../core/group-commit.js'
import { redisLane, type RedisClient } from '../../core/redis-client.js'
import { integerReply } from '../../core/redis-reply.js'
import { redisScript, runScript } from '../../core/redis-script.js'
import timeSource from './time.lua'

const timeScript = redisScript(timeSource)

/** How long what a server said is taken on by the clock of this process. */
const readEveryMs = 1_000

/** Knows what time it is at the server of a key. */
export interface ServerTime {
  /** The time there, at the most: it is asked now and then, and else taken on from the last answer. */
  now(key: string, trip: Trip): Promise<number>
}

export function createServerTime(redis: RedisClient): ServerTime {
  /** Per lane: the server's time less ours, at the most, and when that was learnt. */
  const known = new Map<number, { readonly aheadMs: number; readonly atMs: number }>()
  return {
    async now(key, trip) {
      const lane = redisLane(redis, key)
      const last = known.get(lane)
      const atMs = systemClock.nowMs()
      if (last && atMs - last.atMs < readEveryMs) return atMs + last.aheadMs
      const serverMs = integerReply(await runScript(redis, timeScript, [key], [], trip))
      // It counts whole milliseconds, and was asked a little later.
      known.set(lane, { aheadMs: serverMs + 1 - atMs, atMs })
      return serverMs + 1
    },
  }
}
