import type { Cluster, Redis } from 'ioredis'
import { StoreUnavailableError } from 'spillway'

/** Answers that Redis gives to a command that is wrong; all others pass by themselves. */
const ours = /^(ERR|WRONGTYPE|NOAUTH|NOPERM)\b/

/**
 * The command's answer, or StoreUnavailableError: a client waits for its server as long as it takes, and a request must
 * not. What was given up may still be carried out, so it has to be safe to do again.
 */
export async function inTime<T>(redis: Redis | Cluster, command: () => Promise<T>, timeoutMs = 3_000): Promise<T> {
  if (redis.status === 'end') throw new StoreUnavailableError('The Redis client is closed', { applied: 'no' })
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => {
      reject(new StoreUnavailableError(`Redis did not answer within ${timeoutMs} ms`, { applied: 'unknown' }))
    }, timeoutMs)
  })
  try {
    return await Promise.race([command(), late])
  } catch (error) {
    if (error instanceof StoreUnavailableError || (error instanceof Error && ours.test(error.message))) throw error
    throw new StoreUnavailableError('Redis failed', { applied: 'unknown', cause: error })
  } finally {
    clearTimeout(timer)
  }
}
