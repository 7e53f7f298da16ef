import type { Redis } from 'ioredis'
import { describe, expect, it, onTestFinished } from 'vitest'
import { createCache, memoryTier, startWriteBehind, type Cache, type CacheOptions } from '../../src/cache/index.js'
import { redisTier, redisWriteBehind } from '../../src/cache/redis/index.js'
import { describeWithServices, uniqueName } from '../services/vitest.js'
import { until } from '../support/until.js'
import { callsOf, connect } from './cache-support.js'

type Put = (redis: Redis, name: string) => Promise<unknown>

const text =
  (value: string | Buffer): Put =>
  (redis, name) =>
    redis.set(name, value)

/** An entry of a format that will be, as an old process of a rolling upgrade sees it. */
const ofFormat = (format: number): Buffer => {
  const bytes = Buffer.alloc(80)
  bytes[0] = format
  for (const at of [2, 10, 18, 26, 34]) bytes.writeDoubleLE(Date.now() + 3_600_000, at)
  return bytes
}

const strangers: readonly (readonly [title: string, put: Put])[] = [
  ['80 letters', text('x'.repeat(80))],
  ['5 bytes', text('hello')],
  ['nothing', text('')],
  ['a number', text('12345678901234567890')],
  ['JSON', text(JSON.stringify({ a: 'x'.repeat(100) }))],
  ['an entry of the next format', text(ofFormat(2))],
  ['an entry of the last format', text(ofFormat(255))],
  ['a megabyte', text(Buffer.alloc(1 << 20, 1))],
  ['a hash', (redis, name) => redis.hset(name, 'field', 'value')],
  ['a list', (redis, name) => redis.rpush(name, 'a', 'b')],
  ['a set', (redis, name) => redis.sadd(name, 'a')],
  ['a sorted set', (redis, name) => redis.zadd(name, 1, 'a')],
  ['a stream', (redis, name) => redis.xadd(name, '*', 'a', 'b')],
]

/** What a test of a few gets and sets may cost. A wedged key costs thousands a second. */
const mostCommands = 400

describeWithServices(
  "strangers' data beside a cache",
  ['redis'],
  ({ redis: server }) => {
    const setUp = async (options: Partial<CacheOptions<string>> = {}) => {
      const prefix = `${uniqueName('strangers')}:`
      const direct = connect(server)
      const loads: string[] = []
      const errors: unknown[] = []
      const cache = createCache<string>([redisTier(connect(server), { prefix })], {
        name: 'test',
        async load(key) {
          loads.push(key)
          return `${key} of the source`
        },
        ttlMs: 600_000,
        timeoutMs: 30_000,
        onBackgroundError: (error) => errors.push(error),
        ...options,
      })
      onTestFinished(() => cache.close())
      const others = Array.from({ length: 20 }, (_, i) => `other ${i}`)
      await cache.getMany(others)
      // They are stored before strangers come.
      await until(
        async () => (await direct.keys(`${prefix}test:{other *}`)).length === others.length,
        'others are stored',
      )
      await direct.config('RESETSTAT')
      const key = (what: string): string => `${prefix}test:${what}`
      const commands = async (): Promise<number> => (await callsOf(direct, 'evalsha')) + (await callsOf(direct, 'mget'))
      /** All of the other keys are answered from Redis. */
      async function seeOthers(): Promise<void> {
        const before = loads.length
        for (const other of others) expect(await cache.get(other)).toBe(`${other} of the source`)
        expect(loads.slice(before)).toEqual([])
      }
      return { cache, direct, loads, errors, key, commands, seeOthers, others }
    }

    describe.each([
      ['each process loads', {}],
      ['one process loads for all', { fleetLoadMs: 20_000 }],
    ])('where %s', (_where, options) => {
      describe.each(strangers)('%s', (_title, put) => {
        it('at the key of an entry: that key is absent, and loaded once', async () => {
          const { cache, direct, loads, errors, key, commands, seeOthers } = await setUp(options)
          const before = loads.length
          await put(direct, key('{k}'))
          expect(await cache.getMany(['k', 'k'])).toEqual(Array(2).fill('k of the source'))
          await until(async () => (await direct.type(key('{k}'))) === 'string', 'it is stored')
          expect(await cache.get('k')).toBe('k of the source')
          expect(loads.slice(before)).toEqual(['k'])
          await seeOthers()
          expect([(await commands()) < mostCommands, errors]).toEqual([true, []])
        })

        it('at the key of an entry: set and delete mend it', async () => {
          const { cache, direct, loads, key, commands } = await setUp(options)
          const before = loads.length
          await put(direct, key('{k}'))
          await cache.set('k', 'set')
          expect(await cache.get('k')).toBe('set')
          await direct.del(key('{k}'))
          await put(direct, key('{k}'))
          await cache.delete('k')
          expect(await cache.get('k')).toBe('k of the source')
          expect([loads.slice(before), (await commands()) < mostCommands]).toEqual([['k'], true])
        })

        it('at the key of a turn: the key is loaded once, and set', async () => {
          const { cache, direct, loads, key, commands, seeOthers } = await setUp(options)
          const before = loads.length
          await put(direct, key('{k}:turn'))
          expect(await cache.get('k')).toBe('k of the source')
          await until(async () => (await direct.exists(key('{k}'))) === 1, 'it is stored')
          expect(await cache.get('k')).toBe('k of the source')
          expect(loads.slice(before)).toEqual(['k'])
          await direct.del(key('{k}:turn'))
          await put(direct, key('{k}:turn'))
          await cache.set('k', 'set')
          expect(await cache.get('k')).toBe('set')
          await seeOthers()
          expect(await commands()).toBeLessThan(mostCommands)
        })
      })
    })

    describe.each(strangers)('%s', (_title, put) => {
      it('at the key of the marks: every key is loaded once more, and all verbs work', async () => {
        const { cache, direct, loads, errors, key, others, seeOthers, commands } = await setUp({ tags: () => ['tag'] })
        await direct.del(key('{marks}:marks'))
        await put(direct, key('{marks}:marks'))
        expect(await cache.getMany(others)).toEqual(others.map((other) => `${other} of the source`))
        await cache.set('k', 'set')
        expect(await cache.get('k')).toBe('set')
        await until(async () => {
          const before = loads.length
          await cache.getMany(others)
          return loads.length === before
        }, 'they are stored')
        expect(loads.length).toBeLessThanOrEqual(3 * others.length)
        await seeOthers()
        await cache.invalidateTag('tag')
        expect(await cache.get('k')).toBe('k of the source')
        await cache.clear()
        expect([(await commands()) < mostCommands, errors]).toEqual([true, []])
      })

      it('at the key of the tags: every verb works, and a tag ends what has it', async () => {
        const { cache, direct, errors, key } = await setUp({ tags: () => ['tag'] })
        await cache.set('k', 'set')
        await cache.invalidateTag('other')
        await direct.del(key('{marks}:tags'))
        await put(direct, key('{marks}:tags'))
        await cache.set('k', 'set')
        expect(await cache.get('k')).toBe('set')
        await cache.invalidateTag('tag')
        expect(await cache.get('k')).toBe('k of the source')
        await cache.clear()
        expect(errors).toEqual([])
      })

      it.each(['due', 'states', 'touches'])('at %s of a write-behind: what is touched is flushed', async (where) => {
        const prefix = `${uniqueName('strangers')}:`
        const direct = connect(server)
        const errors: unknown[] = []
        const flushed: string[] = []
        const behind = await startWriteBehind(redisWriteBehind(connect(server), { prefix }), {
          name: 'test',
          delayMs: 100,
          timeoutMs: 30_000,
          flush: async (keys) => void flushed.push(...keys),
          onBackgroundError: (error) => errors.push(error),
        })
        onTestFinished(() => behind.close())
        await Promise.all([behind.touch('before'), behind.touch('again')])
        await direct.del(`${prefix}{test}:${where}`)
        await put(direct, `${prefix}{test}:${where}`)
        await behind.touch('after')
        await until(() => ['before', 'again', 'after'].every((key) => flushed.includes(key)), 'they are flushed')
        const times = flushed.length
        await Promise.all([behind.touch('again'), behind.touch('after')])
        await until(
          () => flushed.slice(times).includes('again') && flushed.slice(times).includes('after'),
          'they are again',
        )
        expect(errors).toEqual([])
      })
    })

    it('two formats by turns: each process takes the other’s entries for absent, and loads once for each that it finds', async () => {
      const { cache, direct, loads, key, commands } = await setUp()
      const before = loads.length
      for (let i = 0; i < 10; i++) {
        await direct.set(key('{k}'), ofFormat(2))
        expect(await cache.get('k')).toBe('k of the source')
        await until(async () => (await direct.getBuffer(key('{k}')))?.[0] === 1, 'it is stored')
        expect(await cache.get('k')).toBe('k of the source')
      }
      expect([loads.length - before, (await commands()) < mostCommands]).toEqual([10, true])
    })

    it('two versions of a cache with other options over one tier: no value is answered by both that only one can read', async () => {
      const prefix = `${uniqueName('versions')}:`
      const direct = connect(server)
      const loads = { old: 0, new: 0 }
      const oldCodec = {
        encode: (value: string) => `old ${value}`,
        decode: (bytes: Uint8Array) => decoded('old', bytes),
      }
      const newCodec = {
        encode: (value: string) => `new ${value}`,
        decode: (bytes: Uint8Array) => decoded('new', bytes),
      }
      function decoded(version: string, bytes: Uint8Array): string {
        const text = Buffer.from(bytes).toString()
        if (!text.startsWith(`${version} `)) throw new Error('it is of another version')
        return text.slice(4)
      }
      const versionOf = (version: 'old' | 'new', options: Partial<CacheOptions<string>>): Cache<string> => {
        const cache = createCache<string>([redisTier(connect(server), { prefix })], {
          name: 'test',
          load: async (key) => `${key} ${version} ${++loads[version]}`,
          ttlMs: 600_000,
          timeoutMs: 30_000,
          ...options,
        })
        onTestFinished(() => cache.close())
        return cache
      }
      const old = versionOf('old', { codec: oldCodec, ttlMs: 1_000_000 })
      const fresh = versionOf('new', { codec: newCodec, tags: () => ['tag'], staleMs: 60_000, fleetLoadMs: 5_000 })
      await direct.config('RESETSTAT')
      for (let i = 1; i <= 10; i++) {
        for (const [cache, version] of [
          [old, 'old'],
          [fresh, 'new'],
        ] as const) {
          expect(await cache.get('k')).toBe(`k ${version} ${i}`)
          await until(
            async () => (await direct.get(`${prefix}test:{k}`))?.includes(`${version} k ${version} ${i}`),
            'it is stored',
          )
          expect(await cache.get('k')).toBe(`k ${version} ${i}`)
        }
      }
      await fresh.invalidateTag('tag')
      expect(await fresh.get('k')).toBe('k new 11')
      await old.set('k', 'set by old')
      expect(await old.get('k')).toBe('set by old')
      expect(await fresh.get('k')).toBe('k new 12')
      expect((await callsOf(direct, 'evalsha')) + (await callsOf(direct, 'mget'))).toBeLessThan(mostCommands)
    })

    it('words on the bus that are none of ours change nothing', async () => {
      const prefix = `${uniqueName('strangers')}:`
      const direct = connect(server)
      const cache: Cache<string> = createCache<string>(
        [memoryTier({ maxEntries: 10 }), redisTier(connect(server), { prefix })],
        { name: 'test', load: async (key) => `${key} of the source`, ttlMs: 600_000, timeoutMs: 30_000 },
      )
      onTestFinished(() => cache.close())
      const words = [
        '',
        '[',
        '[]',
        '{}',
        '1',
        'null',
        '"keys"',
        '["keys"',
        '["keys",1]',
        '[["keys"]]',
        '["keys"]',
        '["turn"]',
      ]
      words.push('["tags"]', JSON.stringify(['x'.repeat(100_000)]))
      await cache.get('k')
      for (const word of words) await direct.publish(`${prefix}test:bus`, word)
      expect(await direct.publish(`${prefix}test:bus`, Buffer.from([255, 0, 254]))).toBeGreaterThan(0)
      await cache.set('k', 'set')
      expect(await cache.get('k')).toBe('set')
    })
  },
  { private: true },
)
