import { Redis } from 'ioredis'
import { afterAll, beforeAll, expect, it, onTestFinished } from 'vitest'
import { createCache, memoryTier, type Cache, type CacheOptions } from '../../src/cache/index.js'
import { redisTier } from '../../src/cache/redis/index.js'
import { StoreUnavailableError } from '../../src/core/errors.js'
import { sleep } from '../services/net.js'
import { describeWithServices, uniqueName } from '../services/vitest.js'
import { startRedis, type RedisService } from '../services/index.js'
import { suiteProgram } from '../support/bundle.js'
import { startProxy, type FaultProxy } from '../support/proxy.js'
import { until } from '../support/until.js'
import { callsOf, connect, createFleet } from './cache-support.js'

/** What a busy machine may add to a time-out. */
const slackMs = 3_000
const timeoutMs = 300
const keys = Array.from({ length: 200 }, (_, i) => `k${i}`)

/**
 * A clock of this process that stands still while the machine does not let it run: what is measured with it is what callers
 * had to wait for, and not that nobody ran.
 */
function livelyClock(): { nowMs(): number; stop(): void } {
  const mostMs = 50
  let [passedMs, lookedMs] = [0, performance.now()]
  const nowMs = (): number => {
    passedMs += Math.min(mostMs, performance.now() - lookedMs)
    lookedMs = performance.now()
    return passedMs
  }
  const ticking = setInterval(nowMs, 10)
  return { nowMs, stop: () => clearInterval(ticking) }
}

interface Outage {
  readonly begins: (proxy: FaultProxy) => Promise<unknown>
  readonly ends: (proxy: FaultProxy) => Promise<unknown>
}

describeWithServices(
  'a cache over a Redis that fails',
  ['redis'],
  ({ redis: server }) => {
    const program = suiteProgram(new URL('./cache-worker.ts', import.meta.url))
    let elsewhere: RedisService
    let source: Redis

    beforeAll(async () => {
      elsewhere = await startRedis({ private: true })
      source = new Redis(elsewhere.url)
    })
    afterAll(async () => {
      source.disconnect()
      await elsewhere.stop()
    })

    const cacheOver = (
      redis: Redis,
      prefix: string,
      load: CacheOptions<string>['load'],
      { plain = false, ...options }: Partial<CacheOptions<string>> & { readonly plain?: boolean } = {},
    ): Cache<string> => {
      const tier = redisTier(redis, { prefix })
      return createCache<string>(plain ? [tier] : [memoryTier({ maxEntries: 10_000 }), tier], {
        name: 'test',
        load,
        ttlMs: 600_000,
        timeoutMs,
        ...options,
      })
    }

    const outages: [string, Outage][] = [
      ['is killed', { begins: () => server.kill(), ends: () => server.restart() }],
      ['is paused and silent', { begins: () => server.pause(), ends: () => server.unpause() }],
      ['refuses', { begins: (proxy) => proxy.refuse().then(() => proxy.cut()), ends: (proxy) => proxy.accept() }],
      ['is behind a silent network', { begins: async (proxy) => proxy.freeze(), ends: async (proxy) => proxy.thaw() }],
    ]
    it.each(outages)(
      'fails nobody, costs nobody one time-out after another, and is used again: %s',
      async (_, outage) => {
        await using proxy = await startProxy(server)
        const direct = connect(server)
        const prefix = `${uniqueName('outage')}:`
        let loads = 0
        const errors: unknown[] = []
        const load = async (key: string): Promise<string> => {
          loads++
          await sleep(1)
          return `of ${key}`
        }
        const onBackgroundError = (error: unknown): void => void errors.push(error)
        const caches = [
          cacheOver(connect(proxy), prefix, load, { onBackgroundError }),
          cacheOver(connect(proxy), prefix, load, { plain: true, fleetLoadMs: 2_000, onBackgroundError }),
        ]
        for (const cache of caches) await cache.getMany(keys)

        const clock = livelyClock()
        onTestFinished(() => clock.stop())
        let over = false
        let isDown = false
        const tookMs: number[] = []
        /** Gets that took about a time-out, by caller. */
        const slow = new Map<number, number>()
        const caller = async (cache: Cache<string>, number: number): Promise<void> => {
          for (let i = number; !over; i++) {
            const key = keys[(i * 37) % keys.length] as string
            const startedMs = clock.nowMs()
            const wasDown = isDown
            // Any failure fails the test.
            expect(await cache.get(key)).toBe(`of ${key}`)
            const ms = clock.nowMs() - startedMs
            if (wasDown) tookMs.push(ms)
            if (wasDown && ms > timeoutMs * 0.8) slow.set(number, (slow.get(number) ?? 0) + 1)
            await sleep(2)
          }
        }
        const callers = caches.flatMap((cache, c) => Array.from({ length: 20 }, (_, i) => caller(cache, c * 100 + i)))
        await sleep(500)
        await outage.begins(proxy)
        isDown = true
        await sleep(4_000)
        await until(() => tookMs.length > 1_000, 'many have asked meanwhile')
        isDown = false
        await outage.ends(proxy)
        await sleep(1_000)
        over = true
        await Promise.all(callers)

        const sorted = tookMs.toSorted((a, b) => a - b)
        const at = (share: number): number => Math.round(sorted[Math.floor((sorted.length - 1) * share)] as number)
        const measured = `${sorted.length} gets: p50 ${at(0.5)}, p99 ${at(0.99)}, slowest ${at(1)} ms`
        expect(at(0.5), measured).toBeLessThan(timeoutMs / 2)
        expect(at(0.99), measured).toBeLessThan(timeoutMs + 500)
        expect(at(1), measured).toBeLessThan(timeoutMs + slackMs)
        // In four seconds a caller could have waited for a dozen time-outs. A busy machine looks like one now and then.
        for (const times of slow.values()) expect(times, measured).toBeLessThan(5)
        expect(errors.length, 'the outage was felt').toBeGreaterThan(0)
        for (const error of errors) expect(error).toBeInstanceOf(StoreUnavailableError)
        expect(errors.length, 'and told once, not each time').toBeLessThan(20)
        expect(loads, 'the source answered').toBeGreaterThan(keys.length)

        // Values are taken from Redis and put into it again.
        const [a, b] = caches as [Cache<string>, Cache<string>]
        await until(() => a.set('after', 'set').then(() => true), 'a set works')
        await until(async () => (await b.get('after')) === 'set', 'the other process finds it')
        await until(async () => {
          const [before, loaded] = [await callsOf(direct, 'mget'), loads]
          await b.get('k1')
          return (await callsOf(direct, 'mget')) > before && loads === loaded
        }, 'a value comes from Redis')
        const fresh = cacheOver(connect(server), prefix, load)
        let tries = 0
        // A busy machine may not let it be stored in time.
        await until(async () => {
          const [key, loaded] = [`new ${++tries}`, loads]
          await a.get(key)
          expect(await fresh.get(key)).toBe(`of ${key}`)
          return loads === loaded + 1
        }, 'what one process has loaded another finds')
        await Promise.all([...caches, fresh].map((cache) => cache.close()))
      },
    )

    it.each(outages)('is told what was changed meanwhile, and so is another process: %s', async (_, outage) => {
      await using proxy = await startProxy(server)
      const fleet = createFleet(program.path, server, source, elsewhere.url)
      const others = [await fleet.start(), await fleet.start({ plain: true })]
      const { values } = fleet.names
      await source.hset(values, { set: 'old', deleted: 'old', tagged: 'old', kept: 'old' })
      const load = async (key: string): Promise<string | undefined> => (await source.hget(values, key)) ?? undefined
      const cache = cacheOver(connect(proxy), fleet.prefix, load, { tags: (key) => [`of ${key}`] })
      const all = ['set', 'deleted', 'tagged', 'kept']
      for (const key of all) {
        expect(await cache.get(key)).toBe('old')
        for (const other of others) expect(await other.get(key)).toMatchObject({ values: { old: 1 } })
      }
      const clock = livelyClock()
      onTestFinished(() => clock.stop())
      await outage.begins(proxy)
      await source.hset(values, { set: 'new', deleted: 'new', tagged: 'new' })
      // From the second on nobody waits for a time-out any more.
      for (const change of [
        () => cache.set('set', 'new'),
        () => cache.delete('deleted'),
        () => cache.invalidateTag('of tagged'),
      ]) {
        const startedMs = clock.nowMs()
        await expect(change()).rejects.toThrow(StoreUnavailableError)
        expect(clock.nowMs() - startedMs).toBeLessThan(timeoutMs + slackMs)
      }
      expect(await cache.getMany(all)).toEqual(['new', 'new', 'new', 'old'])
      await sleep(1_000)
      expect(await cache.getMany(all), 'also while it is repeated').toEqual(['new', 'new', 'new', 'old'])
      await outage.ends(proxy)
      for (const key of all.slice(0, 3)) {
        for (const other of others) {
          await until(async () => (await other.get(key)).values['new'] === 1, `${key} is new elsewhere`)
        }
      }
      const late = await fleet.start({ plain: true })
      for (const key of all) {
        const value = key === 'kept' ? 'old' : 'new'
        for (const worker of [...others, late]) expect((await worker.get(key)).values).toEqual({ [value]: 1 })
        expect(await cache.get(key)).toBe(value)
      }
      await cache.close()
      await Promise.all([...others, late].map((worker) => worker.close()))
    })

    it('is named as the reason of each change that was not sent, with the state of its client', async () => {
      await using proxy = await startProxy(server)
      const redis = connect(proxy)
      const cache = cacheOver(redis, `${uniqueName('reasons')}:`, (key) => key)
      await cache.get('k')
      await proxy.refuse()
      proxy.cut()
      await until(() => redis.status !== 'ready')
      for (const change of [() => cache.set('a', 'x'), () => cache.set('b', 'y')]) {
        const error = (await change().catch((thrown: unknown) => thrown)) as StoreUnavailableError
        const why = /the Redis client is not ready \(its status is '\w+'\): .*ECONN/
        expect(error).toMatchObject({ code: 'ERR_STORE_UNAVAILABLE', applied: 'no' })
        expect(error.message).toMatch(why)
        expect((error.cause as Error).message).toMatch(why)
      }
      await proxy.accept()
      await until(() => redis.status === 'ready')
      await cache.close()
    })
  },
  { private: true },
)
