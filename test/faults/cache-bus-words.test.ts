import { expect, it, onTestFinished } from 'vitest'
import { createCache, memoryTier, type Cache, type CacheOptions } from '../../src/cache/index.js'
import { redisTier } from '../../src/cache/redis/index.js'
import { describeWithServices, uniqueName } from '../services/vitest.js'
import { complaints } from '../support/complaints.js'
import { until } from '../support/until.js'
import { connect } from './cache-support.js'

const nested = (depth: number): string => `${'['.repeat(depth)}${']'.repeat(depth)}`

const words: readonly (readonly [title: string, word: string | Buffer])[] = [
  ['a megabyte of text', 'x'.repeat(1 << 20)],
  ['a megabyte of JSON', JSON.stringify(['x'.repeat(1 << 20)])],
  ['a list of 100,000 numbers', JSON.stringify(Array.from({ length: 100_000 }, (_, i) => i))],
  ['nothing', ''],
  ['bytes that are no text', Buffer.from([0xff, 0xfe, 0x00, 0xc3, 0x28])],
  ['no JSON', 'keys other k'],
  ['JSON that is cut off', '["keys","other","k"'],
  ['a number', '17'],
  ['null', 'null'],
  ['a text', '"keys"'],
  ['an object', '{"0":"keys","1":"other","2":"k","length":3}'],
  ['an empty list', '[]'],
  ['keys of nobody', '["keys"]'],
  ['keys of an empty name', '["keys","","k"]'],
  ['no keys', '["keys","other"]'],
  ['a number among the keys', '["keys","x",5,"k"]'],
  ['null among the keys', '["keys","x",null,"k"]'],
  ['an object among the keys', '["keys","x",{"k":1}]'],
  ['a list among the keys', '["keys","x",["k"]]'],
  ['a list in a list', '[["keys","x","k"]]'],
  ['lists, 5,000 deep', nested(5_000)],
  ['lists, 200,000 deep', nested(200_000)],
  ['a turn of nothing', '["turn"]'],
  ['a turn of an empty key', '["turn",""]'],
  ['a turn of a key that nobody loads', '["turn","k"]'],
  ['tags of nobody', '["tags"]'],
  ['a tag that is a number', '["tags","x",5]'],
  ['a tag that nothing has', '["tags","x","unknown"]'],
  ['a clear by nobody', '["clear"]'],
  ['a clear by a number', '["clear",1]'],
  ['an unknown verb', '["drop","x","k"]'],
  ['a verb in capitals', '["KEYS","x","k"]'],
  ['the name of what every object has', '["constructor","x","k"]'],
  ['the name of the prototype', '["__proto__","x","k"]'],
]

describeWithServices("a stranger's words on the bus of a cache", ['redis'], ({ redis: server }) => {
  const prefix = (): string => `${uniqueName('words')}:`

  /** A cache that answers from memory whatever it was not told has changed, also while this process is busy. */
  const setUp = (under: string, options: Partial<CacheOptions<string>> = {}) => {
    const loads: string[] = []
    const errors: unknown[] = []
    const cache: Cache<string> = createCache<string>(
      [memoryTier({ maxEntries: 100 }), redisTier(connect(server), { prefix: under })],
      {
        name: 'test',
        async load(key) {
          loads.push(key)
          return `${key} ${loads.length}`
        },
        ttlMs: 600_000,
        earlyRefresh: 0,
        timeoutMs: 30_000,
        tags: (key) => [`of ${key}`],
        whenBusIsLost: 'trust',
        onBackgroundError: (error) => errors.push(error),
        ...options,
      },
    )
    onTestFinished(() => cache.close())
    return { cache, loads, errors }
  }

  it.each(words)('%s: what is at hand stays, and a real change is heard after it', async (_, word) => {
    const heard = complaints()
    const under = prefix()
    const direct = connect(server)
    const { cache, loads, errors } = setUp(under)
    const other = setUp(under).cache
    await other.set('told', 'before')
    await other.set('k', 'at hand')
    expect(await cache.getMany(['k', 'told'])).toEqual(['at hand', 'before'])
    await until(async () => (await direct.publish(`${under}test:bus`, word)) >= 2, 'both listen')
    // What was said before this has been heard when this has.
    await other.set('told', 'after')
    await until(async () => (await cache.get('told')) === 'after', 'the change is heard')
    // Only memory has it.
    await direct.del(`${under}test:{k}`)
    expect(await cache.get('k')).toBe('at hand')
    expect(loads).toEqual([])
    await other.invalidateTag('of k')
    await until(async () => (await cache.get('k')) === 'k 1', 'the end of the tag is heard')
    await other.clear()
    await until(async () => (await cache.get('k')) === 'k 2', 'the clear is heard')
    expect([errors, heard]).toEqual([[], []])
  })

  it('all of them, many times, while gets and changes go on, and a cache that asks when in doubt', async () => {
    const heard = complaints()
    const under = prefix()
    const direct = connect(server)
    const { cache, errors } = setUp(under, { whenBusIsLost: 'ask', fleetLoadMs: 20_000 })
    const other = setUp(under, { whenBusIsLost: 'ask', fleetLoadMs: 20_000 }).cache
    await Promise.all([cache, other].map((one) => one.get('k')))
    const small = words.map(([, word]) => word).filter((word) => word.length < 1_000)
    for (let i = 0; i < 20; i++) {
      for (const word of small) direct.publish(`${under}test:bus`, word).catch((error: unknown) => errors.push(error))
      await other.set('k', `set ${i}`)
      expect(await other.get('k')).toBe(`set ${i}`)
      await until(async () => (await cache.get('k')) === `set ${i}`, 'the change is heard')
      expect(await cache.get(`new ${i}`)).toMatch(new RegExp(`^new ${i} `))
    }
    expect([errors, heard]).toEqual([[], []])
  })

  it('that look like a change are one: memory lets go of what they name, and of nothing else', async () => {
    const under = prefix()
    const direct = connect(server)
    const { cache, loads } = setUp(under)
    expect(await cache.getMany(['k', 'stays'])).toEqual(['k 1', 'stays 2'])
    const drop = async (word: string, ...keys: string[]): Promise<void> => {
      await direct.del(...keys.map((key) => `${under}test:{${key}}`))
      await until(async () => (await direct.publish(`${under}test:bus`, word)) > 0, 'it listens')
    }
    await drop('["keys","stranger","k"]', 'k')
    await until(async () => (await cache.get('k')) === 'k 3', 'k has gone')
    expect(await cache.get('stays')).toBe('stays 2')
    expect(loads).toEqual(['k', 'stays', 'k'])
  })
})
