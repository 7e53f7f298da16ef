import { deserialize, serialize } from 'node:v8'
import { describe, expect, it, onTestFinished } from 'vitest'
import { createCache, memoryTier, type Cache, type CacheOptions } from '../../../src/cache/index.js'
import { freeze } from '../../../src/cache/value.js'
import { jsonCodec, type Codec, type CodecFor } from '../../../src/core/codec.js'

type Options<V> = Partial<CacheOptions<V>>

/** Over memory alone, over a shared tier alone, and over both. */
const kinds = ['memory', 'a shared tier', 'memory and a shared tier'] as const

function cacheOver<V>(kind: (typeof kinds)[number], options: Options<V>): Cache<V> {
  const { local: _, ...shared } = memoryTier({ maxEntries: 100 })
  const memory = memoryTier({ maxEntries: 100 })
  const all = { name: 'test', load: async () => undefined, ttlMs: 60_000, earlyRefresh: 0, ...options }
  const cache = createCache<V>(
    kind === 'memory' ? [memory] : kind === 'a shared tier' ? [shared] : [memory, shared],
    all as CacheOptions<V> & CodecFor<V>,
  )
  onTestFinished(() => cache.close())
  return cache
}

/** Keeps what V8 can copy, cycles and shared parts included. */
const v8Codec: Codec<unknown> = {
  encode: (value) => serialize(value),
  decode: (bytes) => deserialize(bytes) as unknown,
}
/** Hands bytes on as they are. */
const bytesCodec: Codec<Uint8Array> = { encode: (bytes) => bytes, decode: (bytes) => bytes }

interface Node {
  left?: Node
  right?: Node
  self?: Node
}

/** Objects that all share the next: a tree of 2^n paths. */
function sharing(n: number): Node {
  let node: Node = {}
  for (let i = 0; i < n; i++) node = { left: node, right: node }
  return node
}

function nested(depth: number): unknown {
  let value: unknown = 'end'
  for (let i = 0; i < depth; i++) value = i % 2 ? [value] : { value }
  return value
}

const cycle = (): Node => {
  const node: Node = {}
  node.self = node
  return node
}

describe.each(kinds)('over %s', (kind) => {
  it('bytes that a codec hands on as they are are nobody else’s', async () => {
    const sources = new Map<string, Uint8Array>()
    const load = async (key: string): Promise<Uint8Array | undefined> => sources.get(key)
    for (const make of [(): Uint8Array => Uint8Array.from([1, 2, 3]), (): Uint8Array => Buffer.from([1, 2, 3])]) {
      const cache = cacheOver<Uint8Array>(kind, { codec: bytesCodec, load })
      const [loaded, set] = [make(), make()]
      sources.set('loaded', loaded)
      const answers = await Promise.all([cache.get('loaded'), cache.get('loaded')])
      await cache.set('set', set)
      for (const bytes of [loaded, set, ...answers, await cache.get('set'), await cache.get('loaded')]) bytes?.fill(0)
      const all = [await cache.get('set'), ...(await cache.getMany(['set', 'loaded', 'loaded']))]
      for (const bytes of all) expect([...(bytes ?? [])]).toEqual([1, 2, 3])
      expect(new Set(all).size).toBe(all.length)
    }
  })

  it('a codec may use one buffer again, and may decode in place', async () => {
    const scratch = new Uint8Array(8)
    const codec: Codec<string> = {
      encode(value) {
        scratch.fill(0)
        new TextEncoder().encodeInto(value, scratch)
        return scratch.subarray(0, value.length)
      },
      decode(bytes) {
        const text = Buffer.from(bytes).toString()
        bytes.fill(0)
        return text
      },
    }
    const cache = cacheOver<string>(kind, { codec, load: async (key) => `of ${key}` })
    expect([await cache.get('a'), await cache.get('b')]).toEqual(['of a', 'of b'])
    await cache.set('c', 'set c')
    expect(await cache.getMany(['a', 'b', 'c', 'a'])).toEqual(['of a', 'of b', 'set c', 'of a'])
  })

  it.each([
    ['a cycle', cycle, 'Converting circular structure'],
    ['a bigint', () => ({ a: 1n }), 'BigInt'],
    ['a function', () => () => 1, 'JSON has no text for a function'],
    ['much that is nested', () => nested(100_000), 'it is nested too deeply'],
  ])('%s cannot be kept as JSON: the call that brings it says so', async (_title, make, why) => {
    let loads = 0
    const cache = cacheOver<unknown>(kind, {
      load: async () => {
        loads++
        return make()
      },
    })
    for (const call of [() => cache.set('a key', make()), () => cache.get('a key'), () => cache.getMany(['a key'])]) {
      const error: unknown = await call().catch((thrown: unknown) => thrown)
      expect(error).toBeInstanceOf(TypeError)
      expect((error as Error).message).toContain('cache: the value of "a key" cannot be kept: ')
      expect((error as Error).message).toContain(why)
      expect((error as Error).cause).toBeInstanceOf(Error)
    }
    expect(loads).toBe(2)
    await cache.set('a key', 'what can be kept')
    expect(await cache.get('a key')).toBe('what can be kept')
  })

  it('a value that its codec cannot decode again fails the set, which changes nothing', async () => {
    const codec: Codec<string> = {
      encode: (value) => value,
      decode: (bytes) => {
        const text = Buffer.from(bytes).toString()
        if (text === 'bad') throw new Error('no such value')
        return text
      },
    }
    const cache = cacheOver<string>(kind, { codec })
    await cache.set('k', 'good')
    await expect(cache.set('k', 'bad')).rejects.toThrow('cache: the value of "k" cannot be kept: no such value')
    expect(await cache.get('k')).toBe('good')
  })

  it('a cycle, shared parts and deep nesting are kept where the codec keeps them', async () => {
    const values = { cycle: cycle(), sharing: sharing(60), list: Array<unknown>(3).fill(sharing(25)) }
    const cache = cacheOver<unknown>(kind, { codec: v8Codec, load: async (key) => values[key as keyof typeof values] })
    for (const key of Object.keys(values)) {
      const [loaded, again] = [await cache.get(key), await cache.get(key)]
      for (const value of [loaded, again] as Node[]) expect(Object.isFrozen(value)).toBe(true)
      await cache.set(key, values[key as keyof typeof values])
      expect(await cache.get(key)).toBeDefined()
    }
    const found = (await cache.get('cycle')) as Node
    expect(found.self).toBe(found)
  })

  it.each([2_000, 100_000])('JSON that is nested %i deep is kept where it can be written', async (depth) => {
    const text = '[{"value":'.repeat(depth / 2) + '"end"' + '}]'.repeat(depth / 2)
    // JSON.stringify of Node ends at some thousands; JSON.parse does not.
    const codec: Codec<unknown> = { ...jsonCodec(), encode: () => text }
    const cache = cacheOver<unknown>(kind, { codec, load: async () => 'what is written as that text' })
    for (let i = 0; i < 2; i++) {
      let levels = 0
      for (let at: unknown = await cache.get('k'); typeof at === 'object' && at !== null; levels++) {
        if (!Object.isFrozen(at)) throw new Error(`at ${levels} it is not frozen`)
        at = Array.isArray(at) ? (at as unknown[])[0] : (at as { value: unknown }).value
      }
      expect(levels).toBe(depth)
    }
  })
})

describe('freeze', () => {
  class Point {
    x = 1
  }
  it.each([
    ['a string', 'a', true],
    ['null', null, true],
    ['plain data', { a: [1, { b: null }, 'c'], d: {} }, true],
    ['an object without a prototype', Object.assign(Object.create(null) as object, { a: 1 }), true],
    ['a cycle', cycle(), true],
    ['objects that share parts', sharing(1_000), true],
    ['frozen data in which something is not', Object.freeze({ a: { b: [] } }), true],
    ['much that is nested', nested(50_000), true],
    ['a function', () => 1, false],
    ['a function deep inside', { a: [{ b: () => 1 }] }, false],
    ['a date', { a: new Date(0) }, false],
    ['a map', [new Map()], false],
    ['bytes', { a: { b: new Uint8Array(1) } }, false],
    ['an object with a class', { a: new Point() }, false],
    ['a date in a cycle', Object.assign(cycle(), { at: new Date(0) }), false],
  ])('%s', (_title, value, plain) => {
    expect(freeze(value)).toBe(plain)
    if (!plain) return
    const seen = new Set<unknown>()
    const open = [value]
    for (let part = open.pop(); open.length > 0 || part !== undefined; part = open.pop()) {
      if (typeof part !== 'object' || part === null || seen.has(part)) continue
      seen.add(part)
      expect(Object.isFrozen(part)).toBe(true)
      for (const inner of Object.values(part)) if (inner !== undefined) open.push(inner)
    }
  })
})
