import { expect, it, onTestFinished } from 'vitest'
import { createCache, memoryTier, startWriteBehind } from '../../src/cache/index.js'
import { redisTier, redisWriteBehind } from '../../src/cache/redis/index.js'
import { describeWithServices, uniqueName } from '../services/vitest.js'
import { sleep } from '../services/net.js'
import { connect } from './cache-support.js'

const block = (ms: number): void => void Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms)

/** Until what was called has been handed to the socket. */
const sent = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))

describeWithServices(
  'a process that could not run for longer than a call may take',
  ['redis'],
  ({ redis: server }) => {
    it('takes the answers that lie on the socket', async () => {
      const prefix = `${uniqueName('blocked')}:`
      let loads = 0
      const cache = createCache<string>([redisTier(connect(server), { prefix })], {
        name: 'test',
        load: async (key) => {
          loads++
          return `of ${key}`
        },
        ttlMs: 600_000,
        earlyRefresh: 0,
        timeoutMs: 2_000,
      })
      const behind = await startWriteBehind(redisWriteBehind(connect(server), { prefix }), {
        name: 'test',
        delayMs: 60_000,
        flush: async () => undefined,
        timeoutMs: 2_000,
        closeTimeoutMs: 1,
      })
      onTestFinished(async () => {
        await cache.close()
        await behind.close().catch(() => undefined)
      })
      const seed = createCache<string>([redisTier(connect(server), { prefix })], {
        name: 'test',
        load: async () => 'x',
        ttlMs: 600_000,
        timeoutMs: 30_000,
      })
      await seed.set('k', 'set')
      await seed.close()
      await Promise.all([cache.get('warm'), behind.touch('warm')])
      expect(loads).toBe(1)
      const calls = [cache.get('k'), cache.set('other', 'set'), cache.delete('gone'), cache.invalidateTag('tag')]
      const touch = behind.touch('k')
      await sent()
      block(4_500)
      expect(await Promise.all([...calls, touch])).toEqual(['set', undefined, undefined, undefined, undefined])
      expect(loads).toBe(1)
    })

    it('keeps its bus, and does not give up a load that has ended meanwhile', async () => {
      const admin = connect(server)
      const prefix = `${uniqueName('blocked')}:`
      let started = (): void => undefined
      const cache = createCache<string>([memoryTier({ maxEntries: 10 }), redisTier(connect(server), { prefix })], {
        name: 'test',
        async load(key) {
          const stored = admin.set(`${prefix}source`, key)
          started()
          await stored
          return key
        },
        ttlMs: 600_000,
        loadTimeoutMs: 2_000,
        timeoutMs: 30_000,
      })
      onTestFinished(() => cache.close())
      await cache.get('warm')
      const lives = async (): Promise<string[]> =>
        ((await admin.client('LIST', 'TYPE', 'PUBSUB')) as string).match(/^id=\d+/gm) ?? []
      await sleep(1_000)
      const before = await lives()
      expect(before.length).toBeGreaterThan(0)
      for (let i = 0; i < 4; i++) {
        const loading = new Promise<void>((resolve) => (started = resolve))
        const got = cache.get(`k${i}`)
        await loading
        await sent()
        block(4_500)
        expect(await got).toBe(`k${i}`)
        await sleep(50)
      }
      expect(await lives()).toEqual(expect.arrayContaining(before))
    })
  },
  // Whose subscribers are counted.
  { private: true },
)
