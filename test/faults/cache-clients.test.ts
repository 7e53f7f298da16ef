import { AsyncLocalStorage } from 'node:async_hooks'
import { inspect } from 'node:util'
import type { Cluster, Redis } from 'ioredis'
import { describe, expect, it, onTestFinished } from 'vitest'
import { createCache, memoryTier, startWriteBehind, type Cache, type CacheOptions } from '../../src/cache/index.js'
import { redisTier, redisWriteBehind } from '../../src/cache/redis/index.js'
import { describeWithServices, uniqueName } from '../services/vitest.js'
import { until } from '../support/until.js'
import {
  clientLibraries,
  clusterClient,
  clusterSettings,
  serverClient,
  serverSettings,
} from './redis-client-settings.js'

type Client = Redis | Cluster

const closedAtEnd = (client: Client): Client => {
  onTestFinished(() => client.disconnect())
  return client
}

const cacheOver = (client: Client, prefix: string, options: Partial<CacheOptions<string>> = {}, plain = false) => {
  const tier = redisTier(client, { prefix })
  const cache = createCache<string>(plain ? [tier] : [memoryTier({ maxEntries: 100 }), tier], {
    name: 'test',
    load: async (key) => `${key} of the source`,
    ttlMs: 600_000,
    timeoutMs: 30_000,
    tags: () => ['tag'],
    onBackgroundError: (error) => {
      throw error
    },
    ...options,
  })
  onTestFinished(() => cache.close())
  return cache
}

/** What a cache promises, between two processes with the same settings. */
async function checkCache(connect: () => Client): Promise<void> {
  const prefix = `${uniqueName('clients')}:`
  let loads = 0
  const load = async (key: string): Promise<string | undefined> => (key === 'none' ? undefined : `${key} ${++loads}`)
  const options = { load, absentTtlMs: 60_000 }
  const [a, b] = [cacheOver(connect(), prefix, options), cacheOver(connect(), prefix, options)]
  const plain = cacheOver(connect(), prefix, options, true)
  const keys = ['none', ...Array.from({ length: 30 }, (_, i) => `k${i}`)]
  const values = await a.getMany(keys)
  await until(async () => {
    const before = loads
    const found = await plain.getMany(keys)
    expect(found).toEqual(values)
    return loads === before
  }, 'all are in Redis')
  expect(await b.getMany(keys)).toEqual(values)
  // b answers by itself once it is told of changes.
  await until(async () => {
    const { hits, misses } = b.stats()
    await b.get('k1')
    return b.stats().hits > hits && b.stats().misses === misses
  }, 'b has it at hand')
  for (const [i, change] of [
    (): Promise<void> => a.set('k1', 'set by a'),
    (): Promise<void> => a.delete('k1'),
    (): Promise<void> => a.invalidateTag('tag'),
    (): Promise<void> => a.clear(),
  ].entries()) {
    const before = await b.get('k1')
    await change()
    const now = await plain.get('k1')
    expect(now, `change ${i}`).not.toBe(before)
    expect(await a.get('k1')).toBe(now)
    await until(async () => (await b.get('k1')) === now, `b has heard of change ${i}`)
  }
}

async function checkWriteBehind(connect: () => Client): Promise<void> {
  const prefix = `${uniqueName('clients')}:`
  const flushed: string[] = []
  const start = (delayMs: number) =>
    startWriteBehind(redisWriteBehind(connect(), { prefix }), {
      name: 'test',
      delayMs,
      timeoutMs: 30_000,
      flush: async (keys) => void flushed.push(...keys),
      onBackgroundError: (error) => {
        throw error
      },
    })
  const [a, b] = [await start(50), await start(50)]
  const keys = ['12', 'QUEUED', 'a|b', '{', '\0', 'ü', ...Array.from({ length: 20 }, (_, i) => `k${i}`)]
  await Promise.all(keys.map((key, i) => (i % 2 ? a : b).touch(key)))
  await until(() => keys.every((key) => flushed.includes(key)), 'all are flushed')
  await a.touch('at the end')
  await a.close()
  await b.close()
  expect(flushed).toContain('at the end')
}

describeWithServices('clients of one server', ['redis'], ({ redis }) => {
  describe.each(clientLibraries)('%s', (library) => {
    describe.each(serverSettings)('$title', ({ options }) => {
      const connect = (): Client => closedAtEnd(serverClient(redis, options, library))
      it('serves a cache', () => checkCache(connect))
      it('serves write-behind', () => checkWriteBehind(connect))
    })
  })

  it('with other key prefixes, each has a cache, a bus and a write-behind of its own', async () => {
    const prefix = `${uniqueName('clients')}:`
    const [one, other] = ['one:', 'other:'].map((keyPrefix) => closedAtEnd(serverClient(redis, { keyPrefix })))
    const [a, b] = [cacheOver(one as Client, prefix), cacheOver(other as Client, prefix)]
    await a.set('k', 'of a')
    expect(await b.get('k')).toBe('k of the source')
    await b.delete('k')
    expect(await a.get('k')).toBe('of a')
  })

  it('a client inside MULTI is a clear error, and nothing is taken for an answer', async () => {
    const client = closedAtEnd(serverClient(redis, {}))
    const prefix = `${uniqueName('clients')}:`
    const errors: unknown[] = []
    const cache = cacheOver(client, prefix, { onBackgroundError: (error) => errors.push(error) }, true)
    const behind = await startWriteBehind(redisWriteBehind(client, { prefix }), {
      name: 'test',
      delayMs: 60_000,
      timeoutMs: 30_000,
      flush: async () => undefined,
      onBackgroundError: (error) => errors.push(error),
    })
    await cache.set('k', 'before')
    await client.multi({ pipeline: false })
    const inside = await Promise.allSettled([cache.set('k', 'in MULTI'), behind.touch('k')])
    for (const call of inside) {
      const error = (call as PromiseRejectedResult).reason as Error
      expect(error).toMatchObject({ code: 'ERR_STORE_UNAVAILABLE' })
      expect(inspect(error)).toContain('the client is inside MULTI')
    }
    expect(await cache.get('k')).not.toBe('before')
    await client.discard()
    await behind.close()
  })

  it('many caches and writes on one client make no warning', async () => {
    const client = closedAtEnd(serverClient(redis, {}))
    const warnings: Error[] = []
    const onWarning = (warning: Error): void => void warnings.push(warning)
    process.on('warning', onWarning)
    onTestFinished(() => void process.off('warning', onWarning))
    const caches = Array.from({ length: 40 }, (_, i) => cacheOver(client, `${uniqueName('many')}${i}:`))
    await Promise.all(caches.map((cache) => cache.get('k')))
    const behinds = await Promise.all(
      Array.from({ length: 40 }, (_, i) =>
        startWriteBehind(redisWriteBehind(client, { prefix: `${uniqueName('many')}${i}:` }), {
          name: 'test',
          delayMs: 1_000,
          timeoutMs: 30_000,
          flush: async () => undefined,
        }),
      ),
    )
    await Promise.all(behinds.map((behind) => behind.touch('k')))
    await Promise.all([...caches, ...behinds].map((one) => one.close()))
    await until(() => client.listenerCount('ready') + client.listenerCount('end') <= 2, 'listeners are taken back')
    expect(warnings).toEqual([])
  })

  it('flushes run in the context of none of the callers', async () => {
    const context = new AsyncLocalStorage<string>()
    const seen = new Set<string | undefined>()
    const client = closedAtEnd(serverClient(redis, {}))
    const behind = await context.run('start', () =>
      startWriteBehind(redisWriteBehind(client, { prefix: `${uniqueName('context')}:` }), {
        name: 'test',
        delayMs: 20,
        timeoutMs: 30_000,
        flush: async () => void seen.add(context.getStore()),
        onBackgroundError: () => undefined,
      }),
    )
    for (let i = 0; i < 5; i++) {
      await context.run(`request ${i}`, async () => {
        await behind.touch('k')
        expect(context.getStore()).toBe(`request ${i}`)
      })
      await until(() => seen.size > 0, 'it is flushed')
    }
    await behind.close()
    expect([...seen]).toEqual([undefined])
  })

  it.each([
    ['undefined', undefined],
    ['null', null],
    ['an address', 'redis://localhost'],
    ['options', { host: 'localhost' }],
    ['a map', new Map()],
  ])('%s is no client: a TypeError at once', (_title, client) => {
    expect(() => redisTier(client as never)).toThrow(TypeError)
    expect(() => redisTier(client as never)).toThrow(/^redis must be /)
    expect(() => redisWriteBehind(client as never)).toThrow(TypeError)
    expect(() => redisWriteBehind(client as never)).toThrow(/^redis must be /)
  })

  it.each([
    [7, TypeError],
    ['{}', RangeError],
    ['a{}b', RangeError],
    ['\ud800', RangeError],
  ])('the prefix %j is refused at once', (prefix, type) => {
    const client = closedAtEnd(serverClient(redis, { lazyConnect: true }))
    expect(() => redisTier(client as Redis, { prefix: prefix as string })).toThrow(type)
    expect(() => redisWriteBehind(client, { prefix: prefix as string })).toThrow(type)
  })

  it('a key prefix that makes empty braces of a prefix is refused at once', () => {
    const client = closedAtEnd(serverClient(redis, { lazyConnect: true, keyPrefix: '{' }))
    expect(() => redisTier(client as Redis, { prefix: '}' })).toThrow(RangeError)
    expect(() => redisWriteBehind(client, { prefix: '}' })).toThrow(RangeError)
  })
})

describeWithServices('clients of a Cluster', ['redis-cluster'], (services) => {
  const { nodes } = services['redis-cluster']
  describe.each(clientLibraries)('%s', (library) => {
    describe.each(clusterSettings)('$title', ({ options }) => {
      const connect = (): Client => closedAtEnd(clusterClient(nodes, options, library))
      it('serves a cache', () => checkCache(connect))
      it('serves write-behind', () => checkWriteBehind(connect))
    })
  })

  it.each(['a{b}', 'a{', 'a}', '}{', '{a}:'])('the prefix %j serves a cache and write-behind', async (prefix) => {
    const connect = (): Client => closedAtEnd(clusterClient(nodes, {}))
    const cache: Cache<string> = cacheOver(connect(), `${uniqueName('p')}${prefix}`, {}, true)
    const keys = ['a', '{', '}', '{}', 'b}', 'x{y}z']
    const values = keys.map((key) => `${key} of the source`)
    expect([await cache.getMany(keys), await cache.getMany(keys)]).toEqual([values, values])
    await cache.set('{}', 'set')
    await cache.invalidateTag('tag')
    expect(await cache.get('{}')).toBe('{} of the source')
    const flushed: string[] = []
    const behind = await startWriteBehind(redisWriteBehind(connect(), { prefix: `${uniqueName('p')}${prefix}` }), {
      name: 'test',
      delayMs: 1,
      timeoutMs: 30_000,
      flush: async (keys) => void flushed.push(...keys),
    })
    await Promise.all(keys.map((key) => behind.touch(key)))
    await behind.close()
    expect(flushed.sort()).toEqual([...keys].sort())
  })

  it.each(['slave', 'all'] as const)(
    'scaleReads %s: a get after a change never answers from before',
    async (scaleReads) => {
      const prefix = `${uniqueName('replicas')}:`
      const connect = (): Client => closedAtEnd(clusterClient(nodes, { scaleReads }))
      let version = 0
      const load = async (): Promise<string> => `v${version}`
      const [a, b] = [cacheOver(connect(), prefix, { load }, true), cacheOver(connect(), prefix, { load }, true)]
      for (let i = 0; i < 300; i++) {
        const key = `k${i % 10}`
        await a.get(key)
        version++
        if (i % 2) await a.delete(key)
        else await a.set(key, `v${version}`)
        expect(await Promise.all([a.get(key), b.get(key)])).toEqual([`v${version}`, `v${version}`])
      }
    },
  )
})
