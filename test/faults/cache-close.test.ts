import { Redis } from 'ioredis'
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest'
import { createCache, memoryTier, type Cache, type CacheOptions } from '../../src/cache/index.js'
import { redisTier } from '../../src/cache/redis/index.js'
import { ClosedError, StoreUnavailableError } from '../../src/core/errors.js'
import { startRedis, type RedisService } from '../services/index.js'
import { describeWithServices, uniqueName } from '../services/vitest.js'
import { suiteProgram } from '../support/bundle.js'
import { complaints } from '../support/complaints.js'
import { until } from '../support/until.js'
import { callsOf, connect, createFleet } from './cache-support.js'

const timeoutMs = 200
/** Some time-outs of a call, and what a busy machine adds. What hangs here would hang for ten minutes, or for ever. */
const soonMs = 30_000
const longMs = 600_000

/** Throws unless it settles soon. */
async function soon<T>(what: string, work: Promise<T>): Promise<T> {
  let settled = false
  const done = (): void => void (settled = true)
  work.then(done, done)
  await until(() => settled, what, soonMs)
  return work
}

const namesOf = async (calls: readonly Promise<unknown>[]): Promise<string[]> =>
  (await Promise.allSettled(calls)).map((one) =>
    one.status === 'rejected' ? (one.reason as Error).name : `answered ${String(one.value)}`,
  )

/** A load that hangs until it is aborted or let go, and what it was told. */
function hangingLoad() {
  const signals: AbortSignal[] = []
  let letGo: (value: string) => void = () => undefined
  const held = new Promise<string>((resolve) => (letGo = resolve))
  const load: CacheOptions<string>['load'] = async (_key, { signal }) => {
    signals.push(signal)
    return held
  }
  return { load, signals, letGo: (value: string) => letGo(value) }
}

describeWithServices(
  'a cache that is closed',
  ['redis'],
  ({ redis: server }) => {
    const cacheOver = (redis: Redis, options: Partial<CacheOptions<string>>, prefix?: string): Cache<string> => {
      const tier = redisTier(redis, { prefix: prefix ?? `${uniqueName('close')}:` })
      const cache = createCache<string>([memoryTier({ maxEntries: 100 }), tier], {
        name: 'test',
        load: async (key) => `${key} of the source`,
        ttlMs: longMs,
        timeoutMs,
        onBackgroundError: () => undefined,
        ...options,
      })
      onTestFinished(() => cache.close())
      return cache
    }
    const seesAnswers = async (redis: Redis): Promise<void> => {
      expect(await soon('the client answers', redis.set(uniqueName('close'), 'after'))).toBe('OK')
    }

    it.each<[string, Partial<CacheOptions<string>>]>([
      ['each process loads', {}],
      ['one process loads for all', { fleetLoadMs: longMs }],
      ['callers give up late', { loadTimeoutMs: longMs }],
    ])('ends gets of a load that hangs at once, though Redis is silent: %s', async (_, options) => {
      const heard = complaints()
      const redis = connect(server)
      const { load, signals } = hangingLoad()
      const cache = cacheOver(redis, { load, timeoutMs: 30_000, ...options })
      const gets = namesOf([...['k', 'k', 'other'].map((key) => cache.get(key)), cache.getMany(['k', 'third'])])
      await until(() => signals.length === 3, 'they are loaded')
      await server.pause()
      let isClosed = false
      const closing = cache.close().finally(() => (isClosed = true))
      try {
        const ends = await soon('the gets end', gets)
        expect(ends).toEqual(Array(4).fill(ClosedError.name))
        expect(signals.map(({ aborted, reason }) => aborted && reason instanceof ClosedError)).toEqual(
          Array(3).fill(true),
        )
        expect(isClosed, 'its turns are given back first').toBe(false)
      } finally {
        await server.unpause()
      }
      await soon('it is closed', closing)
      expect(await namesOf([cache.get('k'), cache.set('k', 'v')])).toEqual([ClosedError.name, ClosedError.name])
      await seesAnswers(redis)
      expect(heard).toEqual([])
    })

    it('ends gets that wait for the turn of another, and leaves that alone', async () => {
      const heard = complaints()
      const prefix = `${uniqueName('close')}:`
      const { load, signals, letGo } = hangingLoad()
      const options = { load, fleetLoadMs: longMs, timeoutMs: 30_000 }
      const [redis, direct] = [connect(server), connect(server)]
      const loader = cacheOver(connect(server), options, prefix)
      const first = loader.get('k')
      await until(() => signals.length === 1, 'it is loaded')
      await direct.config('RESETSTAT')
      const waits = cacheOver(redis, options, prefix)
      const gets = namesOf(Array.from({ length: 100 }, () => waits.get('k')))
      await until(async () => (await callsOf(direct, 'evalsha')) > 0, 'the turn was asked for')
      await soon('it is closed', waits.close())
      expect(await gets).toEqual(Array(100).fill(ClosedError.name))
      expect(signals.map(({ aborted }) => aborted)).toEqual([false])
      letGo('loaded')
      expect(await first).toBe('loaded')
      await seesAnswers(redis)
      expect(heard).toEqual([])
    })

    it('hands its turn on to those who wait for it', async () => {
      const prefix = `${uniqueName('close')}:`
      const hanging = hangingLoad()
      const options = { fleetLoadMs: longMs, timeoutMs: 30_000 }
      const loader = cacheOver(connect(server), { ...options, load: hanging.load }, prefix)
      const waits = cacheOver(connect(server), options, prefix)
      const first = namesOf([loader.get('k')])
      await until(() => hanging.signals.length === 1, 'it is loaded')
      const second = waits.get('k')
      await soon('it is closed', loader.close())
      expect(await first).toEqual([ClosedError.name])
      expect(await soon('another loads', second)).toBe('k of the source')
      hanging.letGo('too late')
      await waits.close()
      const late = cacheOver(connect(server), options, prefix)
      expect(await late.get('k')).toBe('k of the source')
    })

    it('gives changes up that Redis does not take, and leaves the client usable', async () => {
      const heard = complaints()
      const redis = connect(server)
      const cache = cacheOver(redis, { tags: () => ['tag'] })
      await until(() => cache.set('k', 'before').then(() => true), 'it is set')
      await server.pause()
      try {
        const verbs = [
          () => cache.set('k', 'v'),
          () => cache.delete('d'),
          () => cache.invalidateTag('tag'),
          () => cache.clear(),
        ]
        for (const verb of verbs) expect(await namesOf([verb()])).toEqual([StoreUnavailableError.name])
        const underWay = namesOf([cache.set('other', 'v'), cache.get('missing')])
        await soon('it is closed', cache.close())
        const [set, get] = await underWay
        expect(set).toMatch(/^(StoreUnavailable|Closed)Error$/)
        expect(get).toMatch(/^(answered missing of the source|ClosedError)$/)
      } finally {
        await server.unpause()
      }
      await seesAnswers(redis)
      expect(heard).toEqual([])
    })

    describe('lets its process end by itself', () => {
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
      const closed = { values: {}, failures: { 'cache: closed while waiting': 50 } }

      it('while gets wait for a load that hangs, and for another process', async () => {
        const fleet = createFleet(program.path, server, source, elsewhere.url)
        await source.hset(fleet.names.values, { k: 'v', mine: 'v' })
        const options = { fleetLoadMs: longMs, loadTimeoutMs: longMs, timeoutMs: 30_000 }
        const [loader, other] = await Promise.all([fleet.start({ options }), fleet.start({ options })])
        await fleet.hold()
        const gets = [loader.get('k', 50)]
        await loader.loading('k')
        gets.push(other.get('k', 50), other.get('mine', 50))
        await other.loading('mine')
        const ends = [other.close(), loader.close()]
        await soon('they end', Promise.all(ends))
        expect(await Promise.all(gets)).toEqual([closed, closed, closed])
        expect(await Promise.all([loader, other].map(({ process }) => process.ended))).toEqual([0, 0])
      })

      it('while changes are repeated that Redis does not take', async () => {
        const fleet = createFleet(program.path, server, source, elsewhere.url)
        const worker = await fleet.start({ options: { timeoutMs } })
        await until(async () => 'atMs' in (await worker.change('set', 'k', 'before')), 'it is set')
        await server.pause()
        try {
          for (const change of ['set', 'delete', 'invalidateTag', 'clear'] as const) {
            expect(await worker.change(change, change, 'v')).toEqual({ error: 'ERR_STORE_UNAVAILABLE' })
          }
          await soon('it ends', worker.close())
          expect(await worker.process.ended).toBe(0)
        } finally {
          await server.unpause()
        }
      })
    })
  },
  { private: true },
)
