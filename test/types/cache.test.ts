import { Redis } from 'ioredis'
import { expect, expectTypeOf, it } from 'vitest'
import {
  createCache,
  memoryTier,
  memoryWriteBehind,
  startWriteBehind,
  type Cache,
  type CacheOptions,
  type CacheStats,
  type SharedTier,
  type WriteBehind,
} from '../../src/cache/index.js'
import { redisTier, redisWriteBehind } from '../../src/cache/redis/index.js'
import { offline, offlineClients } from '../support/redis-clients.js'

it('takes the clients of ioredis 5 and 6 and of iovalkey', () => {
  const clients = offlineClients()
  const tiers = [
    redisTier(clients[0]),
    redisTier(clients[1], { prefix: 'a:' }),
    redisTier(clients[2]),
    redisTier(clients[3]),
    redisTier(clients[4]),
    redisTier(clients[5]),
  ]
  const drivers = [
    redisWriteBehind(clients[0]),
    redisWriteBehind(clients[1], { prefix: 'a:' }),
    redisWriteBehind(clients[2]),
    redisWriteBehind(clients[3]),
    redisWriteBehind(clients[4]),
    redisWriteBehind(clients[5]),
  ]
  expect([tiers.length, drivers.length]).toEqual([6, 6])
  clients.forEach((client) => client.disconnect())
})

it('refuses a prefix that would take the hash tag away', () => {
  const redis = new Redis(offline)
  for (const make of [redisTier, redisWriteBehind]) {
    expect(() => make(redis, { prefix: 'shop{}:' })).toThrow(RangeError)
    // @ts-expect-error -- a prefix is a string
    expect(() => make(redis, { prefix: 7 })).toThrow(TypeError)
  }
  redis.disconnect()
})

it('types values by what is loaded', async () => {
  interface Price {
    readonly cents: number
  }
  const cache = createCache([memoryTier({ maxEntries: 10 })], {
    load: async (key): Promise<Price | undefined> => (key === 'shoe' ? { cents: 100 } : undefined),
    loadMany: async (keys, { signal }) => {
      expectTypeOf(signal).toEqualTypeOf<AbortSignal>()
      return new Map(keys.map((key): [string, Price] => [key, { cents: key.length }]))
    },
    ttlMs: 1_000,
    tags: (key, { cents }) => [key, `${cents}`],
  })
  expectTypeOf(cache).toEqualTypeOf<Cache<Price>>()
  expectTypeOf(cache).toExtend<AsyncDisposable>()
  expectTypeOf(await cache.get('shoe')).toEqualTypeOf<Price | undefined>()
  expectTypeOf(await cache.getMany(['shoe', 'hat'])).toEqualTypeOf<(Price | undefined)[]>()
  expectTypeOf(cache.stats()).toEqualTypeOf<CacheStats>()
  // @ts-expect-error -- a value is what `load` answers with
  await cache.set('shoe', { euros: 1 })
  await cache.close()
})

it('refuses options that make no sense, in types and when called', () => {
  const memory = memoryTier({ maxEntries: 10 })
  const options: CacheOptions<string> = { load: async (key) => key, ttlMs: 1_000 }
  expect(() => createCache([memory], options)).not.toThrow()
  // @ts-expect-error -- there is a tier
  expect(() => createCache([], options)).toThrow(TypeError)
  // @ts-expect-error -- a client is not a tier
  expect(() => createCache(memory, options)).toThrow(TypeError)
  // @ts-expect-error -- values have a life
  expect(() => createCache([memory], { load: options.load })).toThrow(TypeError)
  // @ts-expect-error -- there is a source
  expect(() => createCache([memory], { ttlMs: 1_000 })).toThrow(TypeError)
  // @ts-expect-error -- a share is a number
  expect(() => createCache([memory], { ...options, jitter: '0.1' })).toThrow(TypeError)
  // @ts-expect-error -- milliseconds are a number
  expect(() => createCache([memory], { ...options, staleMs: '1 s' })).toThrow(TypeError)
  // @ts-expect-error -- milliseconds are a number
  expect(() => createCache([memory], { ...options, fleetLoadMs: true })).toThrow(TypeError)
  // @ts-expect-error -- tags are found by a function
  expect(() => createCache([memory], { ...options, tags: ['a'] })).toThrow(TypeError)
  // @ts-expect-error -- memory has an end
  expect(() => memoryTier({})).toThrow(TypeError)
})

it('has a memory tier be a shared tier as well', () => {
  expectTypeOf(memoryTier({ maxEntries: 1 })).toExtend<SharedTier>()
})

it('offers only what exists', async () => {
  const cache = createCache([memoryTier({ maxEntries: 1 })], { load: async (key) => key, ttlMs: 1 })
  expect(Object.keys(cache).sort()).toEqual([
    'clear',
    'close',
    'delete',
    'get',
    'getMany',
    'invalidateTag',
    'set',
    'stats',
  ])
  const behind = await startWriteBehind(memoryWriteBehind(), { delayMs: 10, flush: async () => undefined })
  expectTypeOf(behind).toEqualTypeOf<WriteBehind>()
  expectTypeOf(behind).toExtend<AsyncDisposable>()
  expect(Object.keys(behind).sort()).toEqual(['close', 'touch'])
  await Promise.all([cache.close(), behind.close()])
  // @ts-expect-error -- a delay is a number
  await expect(startWriteBehind(memoryWriteBehind(), { delayMs: '1 s', flush: async () => undefined })).rejects.toThrow(
    TypeError,
  )
  // @ts-expect-error -- something flushes
  await expect(startWriteBehind(memoryWriteBehind(), { delayMs: 10 })).rejects.toThrow(TypeError)
})
