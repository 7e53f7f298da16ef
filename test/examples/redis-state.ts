import { Redis } from 'ioredis'
import { expect } from 'vitest'

const save = `for _, key in ipairs(KEYS) do redis.call('COPY', key, 'older:' .. key, 'REPLACE') end`
const fallBack = `
for _, key in ipairs(KEYS) do
  redis.call('DEL', key)
  redis.call('COPY', 'older:' .. key, key)
end`

/** What Redis has of the service `name` alone, to be lost on purpose. */
export function redisState(url: string, name: string) {
  const redis = new Redis(url)
  const keys = async (): Promise<string[]> =>
    (await redis.keys(`*${name}:*`)).filter((key) => !key.startsWith('older:'))
  return {
    keys,
    /** As after FLUSHALL. */
    async lose(): Promise<void> {
      const lost = await keys()
      expect(lost.length).toBeGreaterThan(0)
      await redis.del(...lost)
    },
    /** Remembers the state at this moment. */
    async save(): Promise<void> {
      const saved = await keys()
      await redis.eval(save, saved.length, ...saved)
    },
    /** Puts the remembered state in the place of the present one, as a failover to a replica that lags behind does. */
    async fallBack(): Promise<void> {
      const present = await keys()
      await redis.eval(fallBack, present.length, ...present)
    },
    async [Symbol.asyncDispose](): Promise<void> {
      const saved = await redis.keys(`older:*${name}:*`)
      if (saved.length > 0) await redis.del(...saved)
      redis.disconnect()
    },
  }
}
