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
  type CacheTier,
  type WriteBehind,
  type WriteBehindDriver,
  type WriteBehindOptions,
} from '../../src/cache/index.js'
import { redisTier, redisWriteBehind } from '../../src/cache/redis/index.js'
import { jsonCodec, type Codec } from '../../src/core/codec.js'
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
    name: 'prices',
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
  const options = { name: 'a', load: async (key: string) => key, ttlMs: 1_000 }
  expect(() => createCache([memory], options)).not.toThrow()
  // @ts-expect-error -- there is a tier
  expect(() => createCache([], options)).toThrow(TypeError)
  // @ts-expect-error -- a tier is not a list of tiers
  expect(() => createCache(memory, options)).toThrow(TypeError)
  // @ts-expect-error -- a cache has a name
  expect(() => createCache([memory], { load: options.load, ttlMs: 1_000 })).toThrow(/name/)
  // @ts-expect-error -- values have a life
  expect(() => createCache([memory], { name: 'a', load: options.load })).toThrow(TypeError)
  // @ts-expect-error -- there is a source
  expect(() => createCache([memory], { name: 'a', ttlMs: 1_000 })).toThrow(TypeError)
  // @ts-expect-error -- a share is a number
  expect(() => createCache([memory], { ...options, jitter: '0.1' })).toThrow(TypeError)
  // @ts-expect-error -- milliseconds are a number
  expect(() => createCache([memory], { ...options, staleMs: '1 s' })).toThrow(TypeError)
  // @ts-expect-error -- milliseconds are a number
  expect(() => createCache([memory], { ...options, fleetLoadMs: true })).toThrow(TypeError)
  // @ts-expect-error -- tags are found by a function
  expect(() => createCache([memory], { ...options, tags: ['a'] })).toThrow(TypeError)
  // @ts-expect-error -- the option is called ttlMs
  expect(() => createCache([memory], { ...options, ttl: 1_000 })).toThrow('there is no option "ttl"')
  // @ts-expect-error -- memory has an end
  expect(() => memoryTier({})).toThrow(TypeError)
  // @ts-expect-error -- memory has an end
  expect(() => memoryTier()).toThrow(TypeError)
})

it('takes undefined as absent, in every option', async () => {
  const redis = new Redis(offline)
  redisTier(redis, { prefix: undefined })
  redisWriteBehind(redis, { prefix: undefined })
  redis.disconnect()
  const none = {
    ...{ loadMany: undefined, jitter: undefined, staleMs: undefined, absentTtlMs: undefined, earlyRefresh: undefined },
    ...{
      loadTimeoutMs: undefined,
      fleetLoadMs: undefined,
      tags: undefined,
      codec: undefined,
      whenBusIsLost: undefined,
    },
    ...{ timeoutMs: undefined, onBackgroundError: undefined, clock: undefined, random: undefined },
  }
  const tier = memoryTier({ maxEntries: 1, ttlMs: undefined, clock: undefined })
  const cache = createCache([tier], { name: 'a', load: (key) => key, ttlMs: 1_000, ...none })
  const signal = undefined as AbortSignal | undefined
  const ttlMs = undefined as number | undefined
  expect([await cache.get('a', { signal }), await cache.get('a', undefined)]).toEqual(['a', 'a'])
  expect(await cache.getMany(['a'], { signal })).toEqual(['a'])
  await cache.set('a', 'b', { ttlMs })
  await cache.setMany([['a', 'c']], { ttlMs })
  expect(await cache.get('a')).toBe('c')
  const behind = await startWriteBehind(memoryWriteBehind({ clock: undefined }), {
    ...{ name: 'a', delayMs: 10, flush: () => undefined },
    ...{ onBackgroundError: undefined, closeTimeoutMs: undefined, timeoutMs: undefined, clock: undefined },
  })
  await Promise.all([cache.close(), behind.close()])
})

it('takes functions that are not asynchronous', async () => {
  interface Price {
    readonly cents: number
  }
  const cache = createCache([memoryTier({ maxEntries: 10 })], {
    name: 'prices',
    load: (key): Price | undefined => (key === 'none' ? undefined : { cents: key.length }),
    loadMany: (keys) => new Map(keys.map((key) => [key, { cents: key.length }])),
    tags: (_key, { cents }) => [`${cents}`],
    ttlMs: 1_000,
    onBackgroundError: () => undefined,
  })
  expectTypeOf(cache).toEqualTypeOf<Cache<Price>>()
  expect(await cache.get('shoe')).toEqual({ cents: 4 })
  expect(await cache.getMany(['shoe', 'hat'])).toEqual([{ cents: 4 }, { cents: 3 }])
  const flushed: string[] = []
  const behind = await startWriteBehind(memoryWriteBehind(), {
    ...{ name: 'prices', delayMs: 1_000 },
    flush: (keys) => void flushed.push(...keys),
  })
  await behind.touch('shoe')
  await Promise.all([cache.close(), behind.close()])
  expect(flushed).toEqual(['shoe'])
})

it('infers a value from whatever a loader answers with', () => {
  const tiers = [memoryTier({ maxEntries: 10 })] as const
  const shared = { name: 'a', ttlMs: 1_000 }
  expectTypeOf(createCache(tiers, { ...shared, load: async (key) => ({ key }) })).toEqualTypeOf<
    Cache<{ key: string }>
  >()
  expectTypeOf(createCache(tiers, { ...shared, load: (key) => key.length })).toEqualTypeOf<Cache<number>>()
  expectTypeOf(createCache(tiers, { ...shared, load: () => Promise.resolve(null) })).toEqualTypeOf<Cache<null>>()
  const perhaps = async (key: string): Promise<string | null | undefined> => key
  expectTypeOf(createCache(tiers, { ...shared, load: perhaps })).toEqualTypeOf<Cache<string | null>>()
})

it('wants a codec where JSON would not give a value back as it was', () => {
  interface Visit {
    readonly page: string
    readonly at: readonly { readonly time: Date }[]
  }
  const tiers = [memoryTier({ maxEntries: 10 })] as const
  const shared = { name: 'visits', ttlMs: 1_000 }
  // A stub of a test.
  createCache(tiers, { ...shared, load: async () => undefined })
  const load = async (): Promise<Visit | undefined> => undefined
  const codec: Codec<Visit> = {
    encode: (visit) => JSON.stringify(visit),
    decode: (bytes) => {
      const { page, at } = JSON.parse(Buffer.from(bytes).toString()) as { page: string; at: { time: string }[] }
      return { page, at: at.map(({ time }) => ({ time: new Date(time) })) }
    },
  }
  // @ts-expect-error -- Property 'codec' is missing
  createCache(tiers, { ...shared, load })
  // @ts-expect-error -- Property 'codec' is missing
  createCache<Visit>(tiers, { ...shared, load })
  // @ts-expect-error -- Property 'codec' is missing
  createCache(tiers, { ...shared, load: async () => new Map([['a', 1]]) })
  // @ts-expect-error -- of undefined the default comes
  createCache(tiers, { ...shared, load, codec: undefined })
  expectTypeOf(createCache(tiers, { ...shared, load, codec })).toEqualTypeOf<Cache<Visit>>()
  expectTypeOf(createCache<unknown>(tiers, { ...shared, load })).toEqualTypeOf<Cache<unknown>>()
  // Generic code says that it is JSON.
  const cacheOf = <V>(load: () => Promise<V>): Cache<V> =>
    createCache<V>(tiers, { ...shared, load, codec: jsonCodec<V>() })
  expectTypeOf(cacheOf(async () => 1)).toEqualTypeOf<Cache<number>>()
})

it('has a memory tier be a tier as any other', () => {
  expectTypeOf(memoryTier({ maxEntries: 1 })).toExtend<CacheTier>()
  expectTypeOf(memoryWriteBehind()).toEqualTypeOf<WriteBehindDriver>()
  expectTypeOf<CacheOptions<string>['onBackgroundError']>().toEqualTypeOf<WriteBehindOptions['onBackgroundError']>()
})

it('offers only what exists', async () => {
  const cache = createCache([memoryTier({ maxEntries: 1 })], { name: 'a', load: async (key) => key, ttlMs: 1 })
  expect(Object.keys(cache).sort()).toEqual([
    'clear',
    'close',
    'delete',
    'get',
    'getMany',
    'invalidateTag',
    'set',
    'setMany',
    'stats',
  ])
  const started = startWriteBehind(memoryWriteBehind(), { name: 'a', delayMs: 10, flush: async () => undefined })
  const behind = await started
  expectTypeOf(behind).toEqualTypeOf<WriteBehind>()
  expectTypeOf(behind).toExtend<AsyncDisposable>()
  expect(Object.keys(behind).sort()).toEqual(['close', 'touch'])
  await Promise.all([cache.close(), behind.close()])
  const fine = { name: 'a', delayMs: 10, flush: async () => undefined }
  // @ts-expect-error -- a delay is a number
  await expect(startWriteBehind(memoryWriteBehind(), { ...fine, delayMs: '1 s' })).rejects.toThrow(TypeError)
  // @ts-expect-error -- something flushes
  await expect(startWriteBehind(memoryWriteBehind(), { name: 'a', delayMs: 10 })).rejects.toThrow(TypeError)
  // @ts-expect-error -- a write-behind has a name
  await expect(startWriteBehind(memoryWriteBehind(), { delayMs: 10, flush: fine.flush })).rejects.toThrow(/name/)
  // @ts-expect-error -- the option is called delayMs
  await expect(startWriteBehind(memoryWriteBehind(), { ...fine, delay: 5 })).rejects.toThrow('no option "delay"')
})
