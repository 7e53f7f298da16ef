import type { Redis } from 'ioredis'
import { expect, it, onTestFinished } from 'vitest'
import { createCache, type Cache, type CacheOptions } from '../../src/cache/index.js'
import { redisTier } from '../../src/cache/redis/index.js'
import { StoreUnavailableError } from '../../src/core/errors.js'
import { describeWithServices, uniqueName } from '../services/vitest.js'
import { until } from '../support/until.js'
import { connect } from './cache-support.js'

const keys = Array.from({ length: 200 }, (_, i) => `k${i}`)

interface Refusal {
  readonly begins: (redis: Redis) => Promise<unknown>
  readonly ends: (redis: Redis) => Promise<unknown>
}

const refusals: [string, Refusal][] = [
  [
    'is full',
    {
      async begins(redis) {
        await redis.config('SET', 'maxmemory-policy', 'noeviction')
        await redis.config('SET', 'maxmemory', '1')
        await expect(redis.set('x', 'x')).rejects.toThrow('OOM')
      },
      ends: (redis) => redis.config('SET', 'maxmemory', '0'),
    },
  ],
  [
    'is read-only',
    {
      async begins(redis) {
        await redis.replicaof('127.0.0.1', 1)
        await expect(redis.set('x', 'x')).rejects.toThrow('READONLY')
      },
      ends: (redis) => redis.replicaof('NO', 'ONE'),
    },
  ],
]

describeWithServices(
  'a Redis that answers reads and refuses writes',
  ['redis'],
  ({ redis: server }) => {
    const loads: string[] = []
    const errors: unknown[] = []
    const cacheOver = (prefix: string, options: Partial<CacheOptions<string>> = {}): Cache<string> => {
      const cache = createCache<string>([redisTier(connect(server), { prefix })], {
        name: 'test',
        load: async (key) => {
          loads.push(key)
          return `of ${key}`
        },
        ttlMs: 600_000,
        timeoutMs: 30_000,
        onBackgroundError: (error) => void errors.push(error),
        ...options,
      })
      onTestFinished(() => cache.close())
      return cache
    }

    it.each(refusals)('%s: answers what is in it, whatever misses beside it', async (_, { begins, ends }) => {
      const admin = connect(server)
      const prefix = `${uniqueName('full')}:`
      await cacheOver(prefix).getMany(keys)
      await begins(admin)
      onTestFinished(async () => void (await ends(admin)))
      for (const options of [{}, { fleetLoadMs: 2_000 }, { tags: (key: string) => [key] }]) {
        const cache = cacheOver(prefix, options)
        loads.length = errors.length = 0
        let misses = 0
        for (const [i, key] of keys.entries()) {
          const asked = i % 10 === 0 ? [key, `missing ${misses++}`] : [key]
          const values = await Promise.all(asked.map((one) => cache.get(one)))
          expect(values).toEqual(asked.map((one) => `of ${one}`))
          // A change that is refused does not stop the reads either.
          if (i % 20 === 5) await expect(cache.set('changed', 'x')).rejects.toThrow(StoreUnavailableError)
        }
        expect(loads.filter((key) => key.startsWith('k'))).toEqual([])
        expect(loads).toHaveLength(misses)
        expect(errors.length, 'it is told').toBeGreaterThan(0)
        for (const error of errors) expect(error).toBeInstanceOf(StoreUnavailableError)
      }
      const cache = cacheOver(prefix)
      await cache.get('missing')
      await ends(admin)
      let tries = 0
      await until(async () => {
        const key = `later ${++tries}`
        const other = cacheOver(prefix)
        await cache.get(key)
        loads.length = 0
        await other.get(key)
        await other.close()
        return loads.length === 0
      }, 'what is loaded is stored again')
      await until(() => cache.set('k0', 'set').then(() => true), 'a set works')
      expect(await cacheOver(prefix).get('k0')).toBe('set')
    })
  },
  { private: true },
)
