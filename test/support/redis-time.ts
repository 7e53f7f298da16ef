import type { Redis } from 'ioredis'

/**
 * A client of the same server in whose scripts TIME is what the list `nowKey` says, in seconds and microseconds. It knows no
 * script by its digest, so that the library sends each with its source; there the time is replaced. What is
 * to be removed after some milliseconds stays, for those would be the server's own.
 */
export function timedClient(redis: Redis, nowKey: string): Redis {
  const replaced = (source: string): string =>
    source
      .replaceAll(`redis.call('TIME')`, `redis.call('LRANGE', '${nowKey}', 0, -1)`)
      .replaceAll(/'PX', \w+/g, `'PX', 10000000`)
  const methods: Record<string, (...args: never[]) => Promise<unknown>> = {
    evalsha: () => Promise.reject(new Error('NOSCRIPT No matching script.')),
    eval: (source: string, ...rest: [number, ...string[]]) => redis.eval(replaced(source), ...rest),
  }
  return new Proxy(redis, {
    get(target, name) {
      const value = methods[name as string] ?? (Reflect.get(target, name) as unknown)
      return typeof value === 'function' ? (value.bind(target) as unknown) : value
    },
  })
}

/** Sets the time of `timedClient`, in whole milliseconds. */
export async function setRedisTime(redis: Redis, nowKey: string, nowMs: number): Promise<void> {
  const parts = [Math.floor(nowMs / 1_000), (nowMs % 1_000) * 1_000]
  await redis
    .multi()
    .del(nowKey)
    .rpush(nowKey, ...parts)
    .exec()
}
