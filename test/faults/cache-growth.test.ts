import type { Redis } from 'ioredis'
import { describe, expect, it, onTestFinished } from 'vitest'
import { createCache, memoryTier, type Cache, type CacheOptions } from '../../src/cache/index.js'
import { redisTier } from '../../src/cache/redis/index.js'
import { StoreUnavailableError, WaitTimeoutError } from '../../src/core/errors.js'
import { describeWithServices, uniqueName } from '../services/vitest.js'
import { collectGarbage, heapBytes, heapComesBackTo } from '../support/heap.js'
import { startProxy } from '../support/proxy.js'
import { until } from '../support/until.js'
import { connect } from './cache-support.js'

const many = 30_000
/** More than the 10,000 keys of which a cache keeps that they failed, so that it has them before the heap is measured. */
const warm = 11_000
/** Each key has 500 bytes: of 15,000 that stay there would be 7 MB. */
const mostBytes = 3e6

const keyOf = (name: string, i: number): string => `${name} ${i} `.padEnd(500, '.')

const cacheOver = (redis: Redis, options: Partial<CacheOptions<string>> = {}): Cache<string> => {
  const tier = redisTier(redis, { prefix: `${uniqueName('growth')}:` })
  return createCache<string>([memoryTier({ maxEntries: 100 }), tier], {
    name: 'test',
    load: async () => undefined,
    ttlMs: 2_000,
    timeoutMs: 30_000,
    onBackgroundError: () => undefined,
    ...options,
  })
}

/** Makes `count` calls, thousands at once. Answers how many have failed, by the name of the error. */
async function rush(count: number, call: (i: number) => Promise<unknown>): Promise<Record<string, number>> {
  const failures: Record<string, number> = {}
  for (let from = 0; from < count; from += 5_000) {
    const calls = Array.from({ length: Math.min(5_000, count - from) }, (_, i) => call(from + i))
    for (const outcome of await Promise.allSettled(calls)) {
      if (outcome.status === 'fulfilled') continue
      const { name } = outcome.reason as Error
      failures[name] = (failures[name] ?? 0) + 1
    }
  }
  return failures
}

const comesBackTo = (bytes: number): Promise<void> => heapComesBackTo(bytes, mostBytes)

describeWithServices(
  'a cache asked for tens of thousands of made-up keys',
  ['redis'],
  ({ redis: server }) => {
    const fails = new Error('the source fails')
    const gets: [string, Partial<CacheOptions<string>>, first: number, failing: number][] = [
      ['of which there is none', {}, 1_000, 0],
      ['whose absence is remembered', { absentTtlMs: 2_000 }, 1_000, 0],
      ['whose loads fail', { load: () => Promise.reject(fails) }, warm, many / 2],
    ]
    it.each(gets)('keeps nothing of gets %s, and nothing of itself after close', async (_, options, first, failing) => {
      const redis = connect(server)
      // The client and the subscriber are there before the heap is measured.
      const other = cacheOver(redis, options)
      onTestFinished(() => other.close())
      await other.get('k').catch(() => undefined)
      const beforeAll = await heapBytes()
      const gone = await (async () => {
        const cache = cacheOver(redis, options)
        await rush(first, (i) => cache.get(keyOf('first', i)))
        const before = await heapBytes()
        const failures = await rush(many / 2, (i) => cache.get(keyOf('made up', i)))
        expect(failures).toEqual(failing === 0 ? {} : { Error: failing })
        expect(cache.stats().loads).toBe(first + many / 2)
        await comesBackTo(before)
        await cache.close()
        return new WeakRef(cache)
      })()
      await until(async () => {
        await collectGarbage()
        return gone.deref() === undefined
      }, 'the closed cache is collected')
      await comesBackTo(beforeAll)
      expect(await redis.ping()).toBe('PONG')
    })

    it('keeps little of sets that a store refuses, and nothing once it is back', async () => {
      await using proxy = await startProxy(server)
      const redis = connect(proxy)
      const cache = cacheOver(redis, { ttlMs: 600_000, timeoutMs: 2_000 })
      onTestFinished(() => cache.close())
      const value = 'x'.repeat(100)
      await rush(1_000, (i) => cache.set(keyOf('first', i), value))
      const before = await heapBytes()
      await proxy.refuse()
      proxy.cut()
      // What is to be repeated is kept of 10,000 keys, 3 kB of each. Then a clear is in their place: three times, so 2,000 are left.
      const failures = await rush(many + 2_000, (i) => cache.set(keyOf('made up', i), value))
      expect(Object.keys(failures)).toEqual([StoreUnavailableError.name])
      expect(failures[StoreUnavailableError.name]).toBeGreaterThan(many)
      expect((await heapBytes()) - before).toBeLessThan(60e6)
      await proxy.accept()
      await until(async () => cache.set('k', 'after').then(() => true), 'a set works again')
      await comesBackTo(before)
    })

    describe('that gave up', () => {
      const notWanted = Object.assign(new Error('not wanted'), { name: 'AbortError' })
      it.each<[string, Partial<CacheOptions<string>>, bySignal: boolean, error: string]>([
        ['waiting for a load that hangs', { loadTimeoutMs: 5 }, false, WaitTimeoutError.name],
        ['a load that hangs, by a signal each', {}, true, 'AbortError'],
        ['waiting for a turn', { loadTimeoutMs: 5, fleetLoadMs: 60_000 }, false, WaitTimeoutError.name],
        ['a turn, by a signal each', { fleetLoadMs: 60_000 }, true, 'AbortError'],
      ])('%s, are not kept until it ends', async (_, options, bySignal, error) => {
        const redis = connect(server)
        const prefix = `${uniqueName('growth')}:`
        let loading = 0
        let letGo: (value: string) => void = () => undefined
        const held = new Promise<string>((resolve) => (letGo = resolve))
        const load = async (): Promise<string> => {
          loading++
          return held
        }
        const make = (): Cache<string> =>
          createCache([redisTier(redis, { prefix })], {
            name: 'test',
            load,
            ttlMs: 600_000,
            timeoutMs: 30_000,
            ...options,
          })
        const cache = make()
        const holder = options.fleetLoadMs === undefined ? cache : make()
        onTestFinished(async () => {
          await cache.close()
          await holder.close()
        })
        const first = holder.get('k').catch((failure: unknown) => (failure as Error).name)
        await until(() => loading === 1, 'it is loaded')
        const giveUp = (): Promise<unknown> => {
          if (!bySignal) return cache.get('k')
          const controller = new AbortController()
          const got = cache.get('k', { signal: controller.signal })
          controller.abort(notWanted)
          return got
        }
        expect(await rush(1_000, giveUp)).toEqual({ [error]: 1_000 })
        const before = await heapBytes()
        expect(await rush(many, giveUp)).toEqual({ [error]: many })
        await comesBackTo(before)
        letGo('loaded')
        if (bySignal) expect(await first).toBe('loaded')
        await until(async () => (await cache.get('k')) === 'loaded', 'it is answered')
      })
    })
  },
  { private: true },
)
