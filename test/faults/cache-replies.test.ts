import type { Redis } from 'ioredis'
import { expect, it, onTestFinished } from 'vitest'
import { createCache, memoryTier, type Cache, type CacheOptions } from '../../src/cache/index.js'
import { redisTier } from '../../src/cache/redis/index.js'
import { describeWithServices, uniqueName } from '../services/vitest.js'
import { startProxy } from '../support/proxy.js'
import { until } from '../support/until.js'
import { connect } from './cache-support.js'

type Options = Partial<CacheOptions<string>> & { readonly plain?: boolean }

function cacheOver(redis: Redis, prefix: string, { plain = false, ...options }: Options = {}): Cache<string> {
  const tier = redisTier(redis, { prefix })
  const cache = createCache<string>(plain ? [tier] : [memoryTier({ maxEntries: 1_000 }), tier], {
    name: 'test',
    load: async (key) => `${key} of the source`,
    ttlMs: 600_000,
    timeoutMs: 30_000,
    ...options,
  })
  onTestFinished(() => cache.close())
  return cache
}

describeWithServices(
  'commands of a cache whose replies are lost, and that the client sends again',
  ['redis'],
  ({ redis: server }) => {
    it('load once and lose nothing that was loaded, whichever reply it is', async () => {
      await using proxy = await startProxy(server)
      const prefix = `${uniqueName('replies')}:`
      let loads = 0
      const load = async (key: string): Promise<string> => `${key} ${++loads}`
      const fleet = { fleetLoadMs: 20_000, plain: true }
      const cache = cacheOver(connect(proxy), prefix, { ...fleet, load })
      const other = cacheOver(connect(server), prefix, fleet)
      await cache.get('warm')
      const rounds = 12
      for (let i = 0; i < rounds; i++) {
        const dropped = proxy.counters.droppedReplies
        const getting = Promise.all([cache.get(`k${i}`), cache.get(`k${i}`)])
        // Of the read, of the turn, or of what stores the value: it depends on how far they are.
        for (let turn = 0; turn < i; turn++) await new Promise((resolve) => setImmediate(resolve))
        proxy.dropReplies(1)
        expect(await getting).toEqual([`k${i} ${i + 2}`, `k${i} ${i + 2}`])
        // If they had ended already, what comes next loses its reply.
        expect(await cache.get(`k${i}`)).toBe(`k${i} ${i + 2}`)
        expect(proxy.counters.droppedReplies).toBe(dropped + 1)
        expect(await other.get(`k${i}`), 'it is in Redis').toBe(`k${i} ${i + 2}`)
      }
      expect(loads).toBe(rounds + 1)
    })

    it('change what they were to change, and end with one value for all', async () => {
      await using proxy = await startProxy(server)
      const prefix = `${uniqueName('replies')}:`
      const [a, b] = [cacheOver(connect(proxy), prefix), cacheOver(connect(server), prefix, { plain: true })]
      await a.get('warm')
      for (let i = 0; i < 8; i++) {
        const dropped = proxy.counters.droppedReplies
        await b.set('k', 'before')
        proxy.dropReplies(1)
        if (i % 2) await a.set('k', `set ${i}`)
        else await a.delete('k')
        expect(proxy.counters.droppedReplies).toBe(dropped + 1)
        const value = i % 2 ? `set ${i}` : 'k of the source'
        expect([await b.get('k'), await a.get('k')]).toEqual([value, value])
      }
    })

    it('do not bring back for good what another process has overwritten meanwhile', async () => {
      await using proxy = await startProxy(server)
      const prefix = `${uniqueName('replies')}:`
      const direct = connect(server)
      const [a, b] = [cacheOver(connect(proxy), prefix), cacheOver(connect(server), prefix)]
      for (let i = 0; i < 5; i++) {
        await Promise.all([a.get('warm'), b.get('warm')])
        const dropped = proxy.counters.droppedReplies
        proxy.dropReplies(1)
        const setting = a.set('k', `older ${i}`)
        await until(async () => (await direct.get(`${prefix}test:{k}`))?.includes(`older ${i}`) ?? false, 'it is there')
        await b.set('k', `newer ${i}`)
        await setting
        expect(proxy.counters.droppedReplies).toBe(dropped + 1)
        // Both were under way at once, so either may come last, but for both processes the same.
        await until(async () => (await a.get('k')) === (await b.get('k')), 'both have the same value')
        expect([`older ${i}`, `newer ${i}`]).toContain(await a.get('k'))
      }
    })
  },
)

describeWithServices(
  'a cache over a Redis that forgets its scripts',
  ['redis'],
  ({ redis: server }) => {
    it('goes on, and leaves no key without a TTL but the marks', async () => {
      const prefix = `${uniqueName('keys')}:`
      const direct = connect(server)
      let loads = 0
      const load = async (key: string): Promise<string | undefined> => {
        loads++
        return key === 'none' ? undefined : `of ${key}`
      }
      const caches = [
        cacheOver(connect(server), prefix, { load, tags: (key) => [key], absentTtlMs: 1_000, ttlMs: 60_000 }),
        cacheOver(connect(server), prefix, { load, fleetLoadMs: 2_000, ttlMs: 60_000, staleMs: 1_000 }),
      ]
      let seen = 0
      for (let i = 0; i < 30; i++) {
        if (i % 5 === 0) await direct.script('FLUSH')
        const cache = caches[i % 2] as Cache<string>
        expect(await cache.getMany(['none', `k${i}`, `k${i + 1}`])).toEqual([undefined, `of k${i}`, `of k${i + 1}`])
        await cache.set(`s${i}`, 'set')
        await cache.delete(`k${i}`)
        await cache.invalidateTag(`k${i + 1}`)
        if (i % 10 === 9) await cache.clear()
        for (const key of await direct.keys(`${prefix}*`)) {
          if (key.includes('{marks}:')) continue
          seen++
          // -2 is a key that has expired meanwhile; -1 is one that never will.
          expect(await direct.pttl(key), key).not.toBe(-1)
        }
      }
      expect(seen).toBeGreaterThan(100)
      expect(loads).toBeGreaterThan(30)
    })
  },
  { private: true },
)
