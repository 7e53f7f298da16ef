import type { Redis } from 'ioredis'
import { expect, it, onTestFinished } from 'vitest'
import { createCache, memoryTier, type Cache, type CacheOptions } from '../../src/cache/index.js'
import { redisTier } from '../../src/cache/redis/index.js'
import { startRedis } from '../services/index.js'
import { sleep } from '../services/net.js'
import { describeWithServices } from '../services/vitest.js'
import { suiteProgram } from '../support/bundle.js'
import { startProxy, type FaultProxy } from '../support/proxy.js'
import { together } from '../support/together.js'
import { until } from '../support/until.js'
import { callsOf, connect, createFleet } from './cache-support.js'

/** A loss that nothing tells of is noticed within a second. The rest is for a busy machine. */
const noticedWithinMs = 1_000
const slackMs = 2_000

describeWithServices(
  'a process whose bus is lost',
  ['redis'],
  ({ redis }) => {
    const program = suiteProgram(new URL('./cache-worker.ts', import.meta.url))

    /** A cache whose commands go straight to Redis and whose bus goes through a proxy; and another process that changes. */
    const setUp = async (options: Partial<CacheOptions<string>> = {}, server = redis) => {
      const direct = connect(server)
      const fleet = createFleet(program.path, server, direct, server.url)
      const other = await fleet.start({ options: { timeoutMs: 30_000 } })
      const proxy = await startProxy(server)
      const client = Object.assign(Object.create(connect(server)) as Redis, { duplicate: () => connect(proxy) })
      const cache = createCache<string>(
        [memoryTier({ maxEntries: 1_000 }), redisTier(client, { prefix: fleet.prefix })],
        {
          name: 'test',
          load: async (key) => (await direct.hget(fleet.names.values, key)) ?? undefined,
          ttlMs: 600_000,
          timeoutMs: 30_000,
          tags: (key) => [`of ${key}`],
          ...options,
        },
      )
      onTestFinished(async () => {
        await cache.close()
        await proxy.stop()
      })
      /** Memory answers with it: Redis is not asked. */
      const isAtHand = async (key: string, value: string): Promise<void> =>
        until(async () => {
          const reads = await callsOf(direct, 'mget')
          const found = await cache.get(key)
          return found === value && (await callsOf(direct, 'mget')) === reads
        }, `${value} is at hand`)
      return { direct, proxy, cache, fleet, other, isAtHand }
    }

    /** Gets from now on never answer the old value once the time has passed. How long one did, in ms. */
    const oldFor = async (cache: Cache<string>, key: string, old: string, fresh: string): Promise<number> => {
      const startedMs = performance.now()
      let lastMs = 0
      let answered = 0
      let beganMs = 0
      while (beganMs < noticedWithinMs + slackMs + 500 || (answered === 0 && beganMs < 60_000)) {
        beganMs = performance.now() - startedMs
        const value = await cache.get(key)
        expect([old, fresh]).toContain(value)
        if (value === old) lastMs = beganMs
        else answered++
        await sleep(1)
      }
      expect(answered).toBeGreaterThan(0)
      return Math.round(lastMs)
    }

    const losses: [string, (proxy: FaultProxy) => Promise<unknown>, (proxy: FaultProxy) => Promise<unknown>][] = [
      ['is cut and refused', (proxy) => proxy.refuse().then(() => proxy.cut()), (proxy) => proxy.accept()],
      ['falls silent', async (proxy) => proxy.freeze(), async (proxy) => proxy.thaw()],
      [
        'hears nothing any more, with all messages lost for good',
        async (proxy) => proxy.dropReplies(true),
        async (proxy) => proxy.dropReplies(false),
      ],
    ]
    it('answers nothing older than the loss, and trusts memory again afterwards', async () => {
      // Each counts the reads of a server of its own.
      await together(
        losses,
        ([name]) => name,
        async ([name, begins, ends]) => {
          const server = await startRedis({ private: true })
          onTestFinished(() => server.stop())
          const { direct, isAtHand, proxy, cache, fleet, other } = await setUp({}, server)
          for (const change of ['set', 'delete', 'invalidateTag', 'clear'] as const) {
            const key = `by ${change}`
            await direct.hset(fleet.names.values, key, 'old')
            await isAtHand(key, 'old')
            await begins(proxy)
            await direct.hset(fleet.names.values, key, 'new')
            expect(await other.change(change, key, 'new')).toHaveProperty('atMs')
            const ms = await oldFor(cache, key, 'old', 'new')
            expect(ms, `${change}: the old value was answered for ${ms} ms`).toBeLessThan(noticedWithinMs + slackMs)
            // As long as it is deaf, every change is seen at once.
            for (let i = 0; i < 5; i++) {
              await other.change('set', key, `set ${i}`)
              expect(await cache.get(key)).toBe(`set ${i}`)
            }
            await ends(proxy)
            await isAtHand(key, 'set 4')
            await other.change('set', key, 'last')
            await until(async () => (await cache.get(key)) === 'last', 'it hears again', noticedWithinMs + slackMs)
          }
          if (name.startsWith('hears')) expect(proxy.counters.droppedReplies).toBeGreaterThan(0)
          expect(proxy.counters.connections, 'the bus had to be opened again').toBeGreaterThan(1)
          await other.close()
        },
      )
    })

    it('answers nothing older than the loss while a load in the background takes its time', async () => {
      let letGo: () => void = () => undefined
      const held = new Promise<void>((resolve) => (letGo = resolve))
      let loads = 0
      const load = async (): Promise<string> => {
        loads++
        await held
        return 'old'
      }
      const options = { ttlMs: 200, jitter: 0, staleMs: 600_000, timeoutMs: 30_000 }
      const { proxy, cache, fleet, other } = await setUp({ ...options, load })
      const short = await fleet.start({ options })
      await short.change('set', 'k', 'old')
      await sleep(250)
      await until(async () => (await cache.get('k')) === 'old' && loads === 1, 'a load runs in the background')
      await proxy.refuse()
      proxy.cut()
      await short.change('set', 'k', 'new')
      const ms = await oldFor(cache, 'k', 'old', 'new')
      expect(ms, `the old value was answered for ${ms} ms`).toBeLessThan(noticedWithinMs + slackMs)
      expect(loads, 'one load at a time').toBe(1)
      letGo()
      await sleep(200)
      expect(await cache.get('k'), 'what was loaded before is not kept').toBe('new')
      await Promise.all([short.close(), other.close()])
    })

    it('never goes back, and is never a second behind, in a storm of losses', async () => {
      const { direct, proxy, cache, other } = await setUp()
      await other.change('set', 'k', '0')
      const acked: { readonly n: number; readonly atMs: number }[] = [{ n: 0, atMs: performance.now() }]
      let over = false
      const changing = (async () => {
        for (let n = 1; !over; n++) {
          await other.change('set', 'k', `${n}`)
          acked.push({ n, atMs: performance.now() })
          await sleep(20)
        }
      })()
      const storm = (async () => {
        for (let turn = 0; !over; turn++) {
          if (turn % 4 === 0) proxy.cut()
          if (turn % 4 === 1) proxy.freeze()
          if (turn % 4 === 2) proxy.thaw()
          if (turn % 4 === 3) await direct.call('CLIENT', 'KILL', 'TYPE', 'pubsub')
          await sleep(turn % 4 === 1 ? 900 : 100 + 30 * (turn % 7))
        }
      })()
      let highest = 0
      let due = 0
      let gets = 0
      const reads = await callsOf(direct, 'mget')
      const untilMs = performance.now() + 15_000
      // Every loss that was noticed has made it open another connection.
      while (performance.now() < untilMs || proxy.counters.connections < 8 || highest <= 100) {
        const oldestMs = performance.now() - noticedWithinMs - slackMs
        while (due + 1 < acked.length && (acked[due + 1]?.atMs ?? Infinity) <= oldestMs) due++
        const n = Number(await cache.get('k'))
        expect(n, 'it went back').toBeGreaterThanOrEqual(highest)
        expect(n, 'it was behind').toBeGreaterThanOrEqual(acked[due]?.n as number)
        gets++
        highest = n
        await sleep(1)
      }
      over = true
      await Promise.all([changing, storm])
      proxy.thaw()
      expect((await callsOf(direct, 'mget')) - reads, 'some were answered from memory').toBeLessThan(gets)
      expect(proxy.counters.cuts).toBeGreaterThan(0)
      await other.close()
    })
  },
  { private: true },
)
