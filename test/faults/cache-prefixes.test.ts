import { expect, it, onTestFinished } from 'vitest'
import { createCache, type Cache } from '../../src/cache/index.js'
import { redisTier } from '../../src/cache/redis/index.js'
import { describeWithServices, uniqueName } from '../services/vitest.js'
import { connect } from './cache-support.js'

describeWithServices('caches with prefixes of which one begins with the other', ['redis'], ({ redis: server }) => {
  const cacheOver = (prefix: string, name: string, loads: string[] = []): Cache<string> => {
    const cache = createCache<string>([redisTier(connect(server), { prefix })], {
      name: 'test',
      async load(key) {
        loads.push(key)
        return `${key} of ${name}`
      },
      ttlMs: 600_000,
      timeoutMs: 30_000,
      tags: () => ['tag'],
    })
    onTestFinished(() => cache.close())
    return cache
  }

  it.each([
    ['', ':'],
    [':', '::'],
    [':', ':{'],
    ['', '%'],
    ['', ':{marks}'],
  ])('%j and %j behind the same: neither ever answers with what is of the other', async (oneEnd, otherEnd) => {
    const prefix = uniqueName('prefixes')
    const [one, other] = [cacheOver(prefix + oneEnd, 'one'), cacheOver(prefix + otherEnd, 'other')]
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
    const [one, other] = [cacheOver(prefix, 'one', loads), cacheOver(`${prefix}:`, 'other', loads)]
    for (let i = 0; i < 3; i++) {
      expect(await one.get('k')).toBe('k of one')
      expect(await other.get('marks')).toBe('marks of other')
    }
    expect(loads).toEqual(['k', 'marks'])
  })
})
