import { expect, it, onTestFinished } from 'vitest'
import { createCache, type Cache } from '../../src/cache/index.js'
import { redisTier } from '../../src/cache/redis/index.js'
import { describeWithServices, uniqueName } from '../services/vitest.js'
import { connect } from './cache-support.js'

describeWithServices('caches whose prefixes or names begin alike', ['redis'], ({ redis: server }) => {
  const cacheOver = (prefix: string, name: string, of: string, loads: string[] = []): Cache<string> => {
    const cache = createCache<string>([redisTier(connect(server), { prefix })], {
      name,
      async load(key) {
        loads.push(key)
        return `${key} of ${of}`
      },
      ttlMs: 600_000,
      timeoutMs: 30_000,
      tags: () => ['tag'],
    })
    onTestFinished(() => cache.close())
    return cache
  }

  it.each([
    ['', 'test', ':', 'test'],
    [':', 'test', '::', 'test'],
    [':', 'test', ':{', 'test'],
    ['', 'test', '%', 'test'],
    ['', 'test', ':{marks}', 'test'],
    [':', 'users', ':', 'products'],
    [':', 'a:b', ':a:', 'b'],
    [':', 'a', ':a:', 'marks'],
    [':', 'a%3Ab', ':', 'a:b'],
    [':', ':', '::', '%'],
    [':', 'a}', ':', 'a{'],
    [':', 'marks', ':', '{marks}'],
  ])('%j with the name %j and %j with %j: neither ever answers with what is of the other', async (...ends) => {
    const prefix = uniqueName('prefixes')
    const [oneEnd, oneName, otherEnd, otherName] = ends
    const one = cacheOver(prefix + oneEnd, oneName, 'one')
    const other = cacheOver(prefix + otherEnd, otherName, 'other')
    // The names that a tier gives to what is no entry of a key, and what the prefixes could make of them.
    const keys = [
      'marks',
      'marks:tags',
      'marks}:tags',
      'tags',
      ':',
      ':{marks}',
      '{marks}',
      'k',
      'bus',
      ':bus',
      'turn',
      'k}:turn',
    ]
    const of = (name: string): string[] => keys.map((key) => `${key} of ${name}`)
    const seeOwn = async (): Promise<void> => {
      for (let i = 0; i < 2; i++) {
        expect(await one.getMany(keys)).toEqual(of('one'))
        expect(await other.getMany(keys)).toEqual(of('other'))
      }
    }
    await seeOwn()
    for (const key of keys) {
      await one.set(key, `${key} of one`)
      await other.set(key, `${key} of other`)
    }
    await seeOwn()
    await one.invalidateTag('tag')
    await other.delete(...keys)
    await seeOwn()
    await other.invalidateTag('tag')
    await one.delete(...keys)
    await seeOwn()
    await one.clear()
    await seeOwn()
    await other.clear()
    await seeOwn()
  })

  it('do not end what is of the other: nothing is loaded twice', async () => {
    const prefix = uniqueName('prefixes')
    const loads: string[] = []
    const one = cacheOver(prefix, 'test', 'one', loads)
    const other = cacheOver(`${prefix}:`, 'test', 'other', loads)
    for (let i = 0; i < 3; i++) {
      expect(await one.get('k')).toBe('k of one')
      expect(await other.get('marks')).toBe('marks of other')
    }
    expect(loads).toEqual(['k', 'marks'])
  })
})
