import { Redis } from 'ioredis'
import { expect, it, onTestFinished } from 'vitest'
import { createCache, memoryTier } from '../../src/cache/index.js'
import { redisTier } from '../../src/cache/redis/index.js'
import { StoreUnavailableError } from '../../src/core/errors.js'
import { freePort } from '../services/net.js'
import { complaints } from '../support/complaints.js'
import { until } from '../support/until.js'

it('a Redis that was never there: gets are answered by the source, and one warning says why', async () => {
  const port = await freePort()
  const redis = new Redis({ host: '127.0.0.1', port })
  redis.on('error', () => undefined)
  onTestFinished(() => redis.disconnect())
  const warnings = complaints()
  const loads: string[] = []
  const cache = createCache([memoryTier({ maxEntries: 100 }), redisTier(redis)], {
    name: 'products',
    async load(key) {
      loads.push(key)
      return `${key} of the source`
    },
    ttlMs: 60_000,
    timeoutMs: 200,
  })
  onTestFinished(() => cache.close())
  for (let i = 0; i < 20; i++) {
    expect(await cache.get('a')).toBe('a of the source')
    expect(await cache.getMany(['b', `c${i}`])).toEqual(['b of the source', `c${i} of the source`])
  }
  expect(loads.filter((key) => key === 'a')).toHaveLength(1)
  // The second change is not even tried. Both say what the client says.
  for (let i = 0; i < 2; i++) {
    const error = await cache.set('a', 'set').catch((thrown: unknown) => thrown)
    expect(error).toBeInstanceOf(StoreUnavailableError)
    expect((error as StoreUnavailableError).message).toContain('the Redis client is not ready (its status is ')
  }
  expect(await cache.get('a')).toBe('set')
  await until(() => warnings.length > 0, 'it is told')
  expect(warnings).toHaveLength(1)
  expect(String(warnings[0])).toMatch(
    /^SpillwayWarning: cache "products": background error: .* the Redis client is not ready/,
  )
  expect(String(warnings[0])).toContain(`connect ECONNREFUSED 127.0.0.1:${port}`)
})
