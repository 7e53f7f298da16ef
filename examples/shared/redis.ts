import { Cluster, Redis } from 'ioredis'

/** One URL is a server, several are a Cluster. The client connects by itself, again and again if need be. */
export function connectRedis(urls: readonly string[]): Redis | Cluster {
  const retryStrategy = (attempt: number): number => Math.min(100 * attempt, 1_000)
  // A connection that does not answer for so long may have died without a word: a new one is made.
  const socketTimeout = 5_000
  const [first = ''] = urls
  const redis =
    urls.length === 1
      ? new Redis(first, { retryStrategy, socketTimeout })
      : new Cluster([...urls], { clusterRetryStrategy: retryStrategy, redisOptions: { socketTimeout } })
  // Who uses it notices by itself; without a listener the client would write each failure to the terminal.
  redis.on('error', () => undefined)
  return redis
}
