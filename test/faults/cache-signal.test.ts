import type { Redis } from 'ioredis'
import { expect, it, onTestFinished } from 'vitest'
import { createCache, memoryTier, type Cache, type CacheOptions } from '../../src/cache/index.js'
import { redisTier } from '../../src/cache/redis/index.js'
import { describeWithServices, uniqueName } from '../services/vitest.js'
import { complaints } from '../support/complaints.js'
import { startProxy } from '../support/proxy.js'
import { until } from '../support/until.js'
import { connect } from './cache-support.js'

const callers = 1_000

describeWithServices('1,000 gets with one signal', ['redis'], ({ redis: server }) => {
  const setUp = (redis: Redis, prefix: string, options: Partial<CacheOptions<string>> = {}) => {
    const loading: string[] = []
    let letGo: () => void = () => undefined
    const held = new Promise<void>((resolve) => (letGo = resolve))
    const cache: Cache<string> = createCache<string>([memoryTier({ maxEntries: 100 }), redisTier(redis, { prefix })], {
      name: 'test',
      async load(key) {
        loading.push(key)
        await held
        return `${key} of the source`
      },
      ttlMs: 600_000,
      timeoutMs: 30_000,
      ...options,
    })
    onTestFinished(() => cache.close())
    return { cache, loading, letGo: () => letGo() }
  }

  /** Half of them ask for one key, the others for 100, some of them for several at once. */
  const ask = (cache: Cache<string>, signal: AbortSignal): Promise<unknown>[] =>
    Array.from({ length: callers }, (_, i) => {
      if (i % 2 === 0) return cache.get('hot', { signal })
      if (i % 4 === 1) return cache.get(`k${i % 100}`, { signal })
      return cache.getMany([`k${i % 100}`, 'hot'], { signal })
    })

  /** Aborts while all of them hang, when `hangs` is done. */
  async function seeAborted(cache: Cache<string>, hangs: () => Promise<unknown>): Promise<void> {
    const heard = complaints()
    const controller = new AbortController()
    const ends = Promise.allSettled(ask(cache, controller.signal))
    await hangs()
    const reason = new Error('nobody wants it any more')
    controller.abort(reason)
    const reasons = (await ends).map((end) => (end.status === 'rejected' ? (end.reason as unknown) : end))
    expect(reasons).toHaveLength(callers)
    expect(new Set(reasons)).toEqual(new Set([reason]))
    expect(reasons[0]).toBe(reason)
    // One that has aborted already ends it before anything is asked.
    await expect(cache.get('hot', { signal: controller.signal })).rejects.toBe(reason)
    await expect(cache.getMany(['hot'], { signal: controller.signal })).rejects.toBe(reason)
    expect(heard).toEqual([])
  }

  it('that wait for loads that hang: all end with its reason, and the loads go on for others', async () => {
    const { cache, loading, letGo } = setUp(connect(server), `${uniqueName('signal')}:`)
    await seeAborted(cache, () => until(() => new Set(loading).size === 51, 'all keys are loaded'))
    const other = cache.get('hot')
    letGo()
    expect(await other).toBe('hot of the source')
  })

  it("that wait for another's turn: all end with its reason, and the other goes on", async () => {
    const prefix = `${uniqueName('signal')}:`
    const options = { fleetLoadMs: 600_000 }
    const loader = setUp(connect(server), prefix, options)
    const waiting = setUp(connect(server), prefix, options)
    const keys = ['hot', ...Array.from({ length: 50 }, (_, i) => `k${2 * i + 1}`)]
    const loads = loader.cache.getMany(keys)
    await until(() => loader.loading.length === keys.length, 'the other loads')
    await seeAborted(waiting.cache, () => waiting.cache.set('after', 'they have asked for turns'))
    expect(waiting.loading).toEqual([])
    loader.letGo()
    const values = keys.map((key) => `${key} of the source`)
    expect(await loads).toEqual(values)
    expect(await waiting.cache.getMany(keys)).toEqual(values)
  })

  it('that wait for a Redis that is silent: all end with its reason, and later gets are answered', async () => {
    const proxy = await startProxy(server)
    // After the cache, which gives its turns back.
    onTestFinished(() => proxy.stop())
    const { cache, loading, letGo } = setUp(connect(proxy), `${uniqueName('signal')}:`)
    letGo()
    await cache.set('before', 'set')
    proxy.freeze()
    await seeAborted(cache, () => new Promise((resolve) => setImmediate(resolve)))
    expect(loading).toEqual([])
    proxy.thaw()
    expect(await cache.get('later')).toBe('later of the source')
  })
})
