import { Redis } from 'ioredis'
import { describe, expect, it } from 'vitest'
import type { CodecFor } from '../../../src/core/codec.js'
import { ClosedError } from '../../../src/core/errors.js'
import { createCache, memoryTier, memoryWriteBehind, type CacheOptions } from '../../../src/cache/index.js'
import { settle } from '../../support/virtual-clock.js'
import { offline } from '../../support/redis-clients.js'
import { outcomeOf, tierOf, world } from './support.js'

describe('values', () => {
  const over = <V>(load: () => Promise<V | undefined>, options: Partial<CacheOptions<V>> = {}) =>
    createCache<V>([memoryTier({ maxEntries: 10 })], {
      ...{ name: 'test', load, ttlMs: 60_000 },
      ...options,
    } as CacheOptions<V> & CodecFor<V>)

  it('are answered as they are, null and false and empty ones included', async () => {
    for (const value of [0, '', false, null, [], {}, 'x', { a: [{ b: null }] }]) {
      const cache = over<unknown>(async () => value)
      expect([await cache.get('k'), await cache.get('k')]).toEqual([value, value])
      expect(cache.stats()).toEqual({ hits: 1, misses: 1, stale: 0, loads: 1, loadFailures: 0 })
    }
  })

  it('are what the codec makes of them, whoever answers', async () => {
    const cache = over<{ at: Date; gone?: undefined }>(async () => ({ at: new Date(0), gone: undefined }))
    const expected = { at: '1970-01-01T00:00:00.000Z' }
    expect([await cache.get('k'), await cache.get('k')]).toEqual([expected, expected])
    await cache.set('k', { at: new Date(1) })
    expect(await cache.get('k')).toEqual({ at: '1970-01-01T00:00:00.001Z' })
  })

  it('cannot be changed by one caller for another: plain data is frozen through and through', async () => {
    const own = { list: [1, 2], deep: { deeper: { text: 'x' } } }
    const cache = over(async () => own)
    const got = (await cache.get('k')) as typeof own
    expect(() => got.list.push(3)).toThrow(TypeError)
    expect(() => (got.deep.deeper.text = 'y')).toThrow(TypeError)
    own.list.push(4)
    expect(await cache.get('k')).toEqual({ list: [1, 2], deep: { deeper: { text: 'x' } } })
    await cache.set('k', own)
    own.list.length = 0
    expect(await cache.get('k')).toEqual({ list: [1, 2, 4], deep: { deeper: { text: 'x' } } })
    expect(Object.isFrozen(own)).toBe(false)
  })

  it('cannot be changed by one caller for another: anything else is decoded for each of them', async () => {
    class Money {
      constructor(public cents: number) {}
    }
    const codec = {
      encode: ({ cents }: Money) => String(cents),
      decode: (bytes: Uint8Array) => new Money(Number(Buffer.from(bytes).toString())),
    }
    const cache = over<Money>(async () => new Money(5), { codec })
    const [a, b] = await Promise.all([cache.get('k'), cache.get('k')])
    const c = await cache.get('k')
    const [d] = await cache.getMany(['k'])
    expect(new Set([a, b, c, d]).size).toBe(4)
    ;(a as Money).cents = 7
    ;(c as Money).cents = 8
    expect([b, d, await cache.get('k')]).toEqual([new Money(5), new Money(5), new Money(5)])
  })

  it('that the codec has no bytes for fail the load, or the set, which then changes nothing', async () => {
    const cache = over<unknown>(async () => 1n)
    await expect(cache.get('k')).rejects.toThrow(TypeError)
    await expect(cache.get('k')).rejects.toThrow(TypeError)
    expect(cache.stats()).toMatchObject({ loads: 2, misses: 2 })
    await cache.set('k', 'fine')
    await expect(cache.set('k', () => 1)).rejects.toThrow(TypeError)
    await expect(cache.set('k', undefined)).rejects.toThrow(TypeError)
    expect(await cache.get('k')).toBe('fine')
  })
})

describe('a cache in memory', () => {
  it('remembers that there is none only as long as it is told to', async () => {
    const { clock, source, alone } = world()
    source.answers = () => undefined
    const cache = alone()
    expect([await cache.get('k'), await cache.get('k')]).toEqual([undefined, undefined])
    expect(source.runs).toHaveLength(2)
    const patient = alone({ absentTtlMs: 1_000, staleMs: 60_000 })
    expect([await patient.get('k'), await patient.get('k')]).toEqual([undefined, undefined])
    expect(source.runs).toHaveLength(3)
    await clock.advance(1_000)
    source.answers = () => 'some'
    expect(await patient.get('k'), 'an absence is never stale').toBe('some')
  })

  it('puts the least recently used out', async () => {
    const { clock, source, alone } = world()
    source.answers = (key) => key
    const cache = alone({}, [memoryTier({ maxEntries: 2, clock })])
    for (const key of ['a', 'b', 'a', 'c', 'a']) await cache.get(key)
    expect(source.runs).toHaveLength(3)
    await cache.get('b')
    expect(source.runs).toHaveLength(4)
  })

  it('keeps an entry no longer than the tier allows', async () => {
    const { clock, source, alone } = world()
    source.answers = (key) => key
    const cache = alone({ staleMs: 60_000 }, [memoryTier({ maxEntries: 2, ttlMs: 500, clock })])
    await cache.get('a')
    await clock.advance(499)
    await cache.get('a')
    expect(source.runs).toHaveLength(1)
    await clock.advance(1)
    await cache.get('a')
    expect(source.runs).toHaveLength(2)
    expect(cache.stats().stale).toBe(0)
  })

  it('does not share its entries with another cache over the same tier', async () => {
    const tier = memoryTier({ maxEntries: 10 })
    const [users, posts] = ['user', 'post'].map((kind) =>
      createCache<string>([tier], { name: 'test', load: async (key) => `${kind} ${key}`, ttlMs: 60_000 }),
    )
    expect([await users?.get('1'), await posts?.get('1'), await users?.get('1')]).toEqual([
      'user 1',
      'post 1',
      'user 1',
    ])
  })

  it('ends by a tag what has it', async () => {
    const { source, alone } = world()
    source.answers = (key) => key
    const cache = alone({ tags: (key) => [`${key[0]}`, 'all', 'all'] })
    await cache.getMany(['a1', 'a2', 'b1'])
    await cache.invalidateTag('a')
    await cache.getMany(['a1', 'a2', 'b1'])
    expect(source.runs.map(({ keys }) => keys[0])).toEqual(['a1', 'a2', 'b1', 'a1', 'a2'])
    await cache.invalidateTag('all')
    await cache.getMany(['a1', 'a2', 'b1'])
    expect(source.runs).toHaveLength(8)
    await cache.clear()
    await cache.getMany(['a1', 'b1'])
    expect(source.runs).toHaveLength(10)
  })

  it('forgets marks of tags beyond a number only in favour of fresh loads', async () => {
    const { source, alone } = world()
    source.answers = (key) => key
    const cache = alone({ tags: (key) => [key] })
    await cache.get('early')
    for (let i = 0; i < 10_050; i++) await cache.invalidateTag(`t${i}`)
    await cache.get('late')
    await cache.invalidateTag('early')
    await cache.get('early')
    await cache.get('late')
    expect(source.runs.map(({ keys }) => keys[0])).toEqual(['early', 'late', 'early'])
  })
})

describe('getMany', () => {
  it('asks loadMany once for what misses, also while another load of a key is under way', async () => {
    const { source, alone } = world()
    const asked: (readonly string[])[] = []
    const cache = alone({
      async loadMany(keys) {
        asked.push(keys)
        return new Map(keys.map((key) => [key, `many ${key}`]))
      },
    })
    const single = cache.get('a')
    await settle()
    const many = cache.getMany(['a', 'b', 'c', 'b'])
    await settle()
    expect(asked).toEqual([['b', 'c']])
    source.last.answer('one a')
    expect([await single, await many]).toEqual(['one a', ['one a', 'many b', 'many c', 'many b']])
    expect(cache.stats()).toEqual({ hits: 0, misses: 5, stale: 0, loads: 2, loadFailures: 0 })
  })

  it('is what gets that miss together use, and a get alone does not', async () => {
    const { source, join } = world()
    source.answers = (key) => `one ${key}`
    const asked: (readonly string[])[] = []
    const cache = join({
      async loadMany(keys) {
        asked.push(keys)
        return new Map(keys.map((key) => [key, `many ${key}`]))
      },
    })
    expect(await cache.get('a')).toBe('one a')
    expect(await Promise.all(['b', 'c', 'd'].map((key) => cache.get(key)))).toEqual(['many b', 'many c', 'many d'])
    expect(asked).toEqual([['b', 'c', 'd']])
  })

  it('fails for all of its keys that were to be loaded, and for no others', async () => {
    const { source, alone } = world()
    const cache = alone({ loadMany: () => Promise.reject(new Error('away')) })
    source.answers = (key) => key
    await cache.get('known')
    await expect(cache.getMany(['known', 'a', 'b'])).rejects.toThrow('away')
    expect(await cache.getMany(['known'])).toEqual(['known'])
    expect(cache.stats()).toMatchObject({ loads: 2, loadFailures: 1 })
    const odd = alone({ loadMany: async () => ['a'] as never })
    await expect(odd.getMany(['a', 'b'])).rejects.toThrow('loadMany must answer with a Map, got object')
  })
})

describe('arguments', () => {
  it.each([
    [{ name: undefined }, 'name must be a string, got undefined'],
    [{ name: '' }, 'name must not be empty'],
    [{ load: undefined }, 'load must be a function'],
    [{ loadMany: 1 }, 'loadMany must be a function'],
    [{ tags: 'x' }, 'tags must be a function'],
    [{ ttlMs: undefined }, 'ttlMs must be a number'],
    [{ ttlMs: 0 }, 'ttlMs must be 1 ms or more'],
    [{ jitter: 1.1 }, 'jitter must be from 0 to 1'],
    [{ staleMs: -1 }, 'staleMs must be 0 ms or more'],
    [{ absentTtlMs: NaN }, 'absentTtlMs must be 0 ms or more'],
    [{ earlyRefresh: -1 }, 'earlyRefresh must be from 0'],
    [{ loadTimeoutMs: 0 }, 'loadTimeoutMs must be 1 ms or more'],
    [{ fleetLoadMs: Infinity }, 'fleetLoadMs must be above 0 and finite'],
    [{ timeoutMs: 0 }, 'timeoutMs must be 1 ms or more'],
    [{ onBackgroundError: 'x' }, 'onBackgroundError must be a function'],
    [{ codec: JSON }, 'codec must be a codec, with encode and decode, got'],
    [{ random: 1 }, 'random must be a function'],
    [{ ttl: 5 }, 'createCache: there is no option "ttl", only name, load, loadMany, ttlMs'],
  ])('are checked: %j', (options, message) => {
    const tier = memoryTier({ maxEntries: 1 })
    expect(() => createCache([tier], { name: 'test', load: async () => 1, ttlMs: 1, ...options } as never)).toThrow(
      message,
    )
  })

  const memory = memoryTier({ maxEntries: 1 })
  const shared = tierOf(memory.open('test'))
  const redis = new Redis(offline)
  redis.disconnect()
  it.each<[string, unknown, message: string]>([
    ['no tiers', undefined, 'tiers must be an array such as [memoryTier('],
    ['a tier', memory, 'got an object with ttlMs, local, open'],
    ['a client', redis, '), redisTier(redis)], got a Redis client'],
    ['text', 'redis://localhost', 'got "redis://localhost"'],
    ['an empty array', [], 'tiers must be an array of one tier or more'],
    [
      'a client among them',
      [memory, redis],
      'tiers[1] must be a tier, from memoryTier or redisTier, got a Redis client',
    ],
    ['a client of node-redis among them', [{ evalSha: () => 1 }], 'got a client of the package redis'],
    ['nothing among them', [undefined], 'tiers[0] must be a tier, from memoryTier or redisTier, got undefined'],
    [
      'a driver of write-behind among them',
      [memoryWriteBehind()],
      'what tiers[0] opens must be the entries of a cache, got',
    ],
    ['three', [memory, memory, shared], 'or one of each in that order, got [memory, memory, shared]'],
    ['two in the other order', [shared, memory], 'or one of each in that order, got [shared, memory]'],
  ])('are checked for tiers: %s', (_, tiers, message) => {
    const create = (): unknown => createCache(tiers as never, { name: 'test', load: async () => 1, ttlMs: 1 })
    expect(create).toThrow(message)
    expect(create).toThrow(TypeError)
  })

  it('are checked where there are none at all, or text in the place of options', () => {
    expect(() => createCache([memory], undefined as never)).toThrow('createCache: options must be an object with name')
    expect(() => createCache([memory], {} as never)).toThrow('name must be a string, got undefined')
    expect(() => createCache([memory], 'products' as never)).toThrow('createCache: options must be an object with name')
    expect(() => memoryTier(undefined as never)).toThrow('memoryTier: options must be an object with maxEntries')
    expect(() => memoryTier({ max: 5 } as never)).toThrow('there is no option "max", only maxEntries, ttlMs, clock')
    expect(() => memoryWriteBehind(5 as never)).toThrow('memoryWriteBehind: options must be an object')
  })

  it('are checked for options of calls', async () => {
    const cache = world().alone()
    const { signal } = new AbortController()
    await expect(cache.get('k', { sginal: signal } as never)).rejects.toThrow(
      'there is no option "sginal", only signal',
    )
    await expect(cache.get('k', 'x' as never)).rejects.toThrow('get: options must be an object with signal, got "x"')
    await expect(cache.getMany(['k'], signal as never)).rejects.toThrow(
      /getMany: there is no option "\w+", only signal/,
    )
    await expect(cache.set('k', 'v', 5 as never)).rejects.toThrow('set: options must be an object with ttlMs, got 5')
    await expect(cache.set('k', 'v', { ttl: 5 } as never)).rejects.toThrow('set: there is no option "ttl", only ttlMs')
    await expect(cache.setMany([], { ttl: 5 } as never)).rejects.toThrow('setMany: there is no option "ttl"')
  })

  it('are checked for tiers in memory', () => {
    expect(() => memoryTier({ maxEntries: 0 })).toThrow(RangeError)
    expect(() => memoryTier({ maxEntries: 1, ttlMs: 0 })).toThrow(RangeError)
  })

  it.each([
    ['', RangeError],
    [7, TypeError],
    ['x'.repeat(8_193), RangeError],
    ['\ud800', RangeError],
  ] as const)('are checked for names: %j', async (name, error) => {
    const cache = world().alone()
    await expect(cache.get(name as string)).rejects.toThrow(error)
    await expect(cache.getMany(['a', name as string])).rejects.toThrow(error)
    await expect(cache.set(name as string, 'x')).rejects.toThrow(error)
    await expect(cache.delete('a', name as string)).rejects.toThrow(error)
    await expect(cache.invalidateTag(name as string)).rejects.toThrow(error)
    await expect(cache.getMany('ab' as never)).rejects.toThrow(TypeError)
  })

  it('are checked for what tags and the codec answer', async () => {
    const { alone } = world()
    const load = async (): Promise<string> => 'x'
    await expect(alone({ load, tags: () => 'x' as never }).get('k')).rejects.toThrow('tags must answer with an array')
    await expect(alone({ load, tags: () => [''] }).get('k')).rejects.toThrow('tag must not be empty')
    const codec = { encode: () => 7 as never, decode: () => 'x' }
    await expect(alone({ load, codec }).get('k')).rejects.toThrow('codec.encode must answer with a string or bytes')
  })

  it('are not the cause of a background error that stops anything', async () => {
    const { clock, source, alone } = world()
    const cache = alone({ staleMs: 60_000, tags: (_key, value) => (value === 'bad' ? (7 as never) : []) })
    source.answers = () => 'good'
    await cache.get('k')
    await clock.advance(10_000)
    source.answers = () => 'bad'
    expect(await cache.get('k')).toBe('good')
    await settle()
    expect(await cache.get('k')).toBe('good')
  })
})

describe('close', () => {
  it('turns later calls away, sends waiting ones off, and aborts the loads', async () => {
    const { source, join } = world()
    const cache = join()
    const waiting = outcomeOf(cache.get('k'))
    await settle()
    await Promise.all([cache.close(), cache.close()])
    expect(waiting).toMatchObject({ state: 'failed', error: expect.any(ClosedError) as Error })
    expect(source.last.signal.aborted).toBe(true)
    source.last.answer('late')
    const calls = [
      () => cache.get('k'),
      () => cache.getMany(['k']),
      () => cache.set('k', 'x'),
      () => cache.delete('k'),
      () => cache.invalidateTag('t'),
      () => cache.clear(),
    ]
    for (const call of calls) await expect(call()).rejects.toThrow(ClosedError)
    await settle()
  })

  it('lets the next loader begin at once', async () => {
    const { source, join } = world()
    const [a, b] = [join({ fleetLoadMs: 60_000 }), join({ fleetLoadMs: 60_000 })]
    a.get('k').catch(() => undefined)
    await settle()
    const other = outcomeOf(b.get('k'))
    await settle()
    expect(source.runs).toHaveLength(1)
    await a.close()
    await settle()
    expect(source.runs).toHaveLength(2)
    source.last.answer('x')
    await settle()
    expect(other).toMatchObject({ state: 'answered', value: 'x' })
  })
})
