import type { Redis } from 'ioredis'
import { sleep } from '../services/net.js'

/**
 * Has the server forget its scripts again and again, `pauseMs` apart, while `work` runs. Returns what `work` did, and how
 * often they were forgotten. For a server of the test's own: all its clients have to send their scripts anew.
 */
export async function whileScriptsAreFlushed<T>(
  redis: Redis,
  pauseMs: number,
  work: () => Promise<T>,
): Promise<{ readonly result: T; readonly flushes: number }> {
  let flushes = 0
  let over = false
  const flush = async (): Promise<void> => {
    while (!over) {
      await redis.script('FLUSH')
      flushes++
      if (pauseMs > 0) await sleep(pauseMs)
    }
  }
  const flushing = flush()
  try {
    return { result: await work(), flushes }
  } finally {
    over = true
    await flushing
  }
}
