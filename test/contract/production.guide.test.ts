// The rights of docs/guides/production.md: a user who has just those can do all that its module does.
import { readFile } from 'node:fs/promises'
import { Redis } from 'ioredis'
import { createCache, memoryTier, startWriteBehind } from 'spillway/cache'
import { redisTier, redisWriteBehind } from 'spillway/cache/redis'
import { createLock, createReadWriteLock, createSemaphore } from 'spillway/lock'
import { redisLock } from 'spillway/lock/redis'
import { redlockLock } from 'spillway/lock/redlock'
import { createRateLimiter } from 'spillway/ratelimit'
import { redisTokenBucket } from 'spillway/ratelimit/redis'
import { createStock } from 'spillway/stock'
import { redisStock } from 'spillway/stock/redis'
import { expect, it, onTestFinished } from 'vitest'
import { describeWithServices } from '../services/vitest.js'
import { until } from '../support/until.js'

const guide = await readFile(new URL('../../docs/guides/production.md', import.meta.url), 'utf8')
const users = new Map(
  [...guide.matchAll(/^ACL SETUSER (\S+) on >secret (.+(?:\\\n.+)*)$/gm)].map(([, name, rules]) => [
    name as string,
    (rules as string).split(/[\s\\]+/),
  ]),
)
const patient = { timeoutMs: 30_000 }

describeWithServices(
  'the rights that the guide names',
  ['redis'],
  ({ redis: server }) => {
    const warnings: string[] = []

    /** A client of the user that the guide makes. */
    async function as(username: string): Promise<Redis> {
      const admin = new Redis(server.url)
      const note = (warning: Error): void => void warnings.push(warning.message)
      process.on('warning', note)
      onTestFinished(() => {
        process.off('warning', note)
        admin.disconnect()
      })
      await admin.call('ACL', 'SETUSER', username, 'reset', 'on', '>secret', ...(users.get(username) ?? []))
      const redis = new Redis({ host: server.host, port: server.port, username, password: 'secret' })
      onTestFinished(() => redis.disconnect())
      await admin.call('ACL', 'LOG', 'RESET')
      onTestFinished(async () => {
        const log = new Redis(server.url)
        const denied = (await log.call('ACL', 'LOG')) as unknown[][]
        log.disconnect()
        expect(denied.map((entry) => entry[7])).toEqual([])
        expect(warnings.splice(0)).toEqual([])
      })
      return redis
    }

    /** Waits until the lease of a lock has been made longer. */
    async function renewed(name: string): Promise<void> {
      const admin = new Redis(server.url)
      onTestFinished(() => admin.disconnect())
      let leastMs = Infinity
      await until(async () => {
        const leftMs = await admin.pttl(name)
        const wasMs = leastMs
        leastMs = Math.min(leastMs, leftMs)
        return leftMs > wasMs
      }, `a renewal of ${name}`)
    }

    it('finds them', () =>
      expect([...users.keys()]).toEqual(['limiter', 'cache', 'behind', 'stock', 'lock', 'redlock']))

    it('are enough for a limiter', async () => {
      await using limiter = createRateLimiter(redisTokenBucket(await as('limiter')), {
        name: 'api',
        quotas: [{ capacity: 5, refill: 1, perMs: 3_600_000 }],
        ...patient,
      })
      await limiter.take('k')
      await limiter.refund('k', 1)
      await limiter.charge('k', 1)
      await limiter.wait('k')
      await limiter.reserve('k', { cost: 5 }).then((reserved) => reserved?.cancel())
      expect((await limiter.peek('k')).remaining).toBe(3)
      await limiter.reset('k')
    })

    it('are enough for a cache', async () => {
      const redis = await as('cache')
      const cacheOver = () =>
        createCache<string>([memoryTier({ maxEntries: 100 }), redisTier(redis)], {
          name: 'products',
          load: async (key) => (key === 'none' ? undefined : `${key} of the source`),
          ttlMs: 600_000,
          absentTtlMs: 60_000,
          staleMs: 60_000,
          fleetLoadMs: 5_000,
          tags: () => ['tag'],
          ...patient,
        })
      await using cache = cacheOver()
      await using other = cacheOver()
      await Promise.all([cache.get('a'), other.get('a'), other.get('none')])
      await cache.set('a', 'set', { ttlMs: 60_000 })
      await until(async () => (await other.get('a')) === 'set', 'the other hears of it')
      await cache.setMany([
        ['b', 'x'],
        ['c', 'y'],
      ])
      expect(await other.getMany(['b', 'c', 'none'])).toEqual(['x', 'y', undefined])
      await cache.delete('a', 'b')
      await cache.invalidateTag('tag')
      await cache.clear()
      expect(await other.get('a')).toBe('a of the source')
    })

    it('are enough for a write-behind', async () => {
      const flushed: string[] = []
      const behind = await startWriteBehind(redisWriteBehind(await as('behind')), {
        name: 'totals',
        delayMs: 10,
        flush: (keys) => void flushed.push(...keys),
        ...patient,
      })
      await Promise.all(['a', 'b', 'c'].map((key) => behind.touch(key)))
      await behind.close()
      expect(flushed.sort()).toEqual(['a', 'b', 'c'])
    })

    it('are enough for a stock', async () => {
      const stock = createStock(redisStock(await as('stock')), { local: { mode: 'gate', units: 5 }, ...patient })
      await stock.open('shoe', 2)
      await stock.restock('shoe', 1, { id: 'r' })
      for (let i = 0; i < 6; i++) await stock.sell({ sku: 'shoe', orderId: `o${i}`, buyer: { id: 'ann', limit: 2 } })
      expect(await stock.level('shoe')).toMatchObject({ sold: 2 })
      expect(await stock.find('o0', 'shoe')).toMatchObject({ buyerId: 'ann' })
      await stock.reserve({ sku: 'shoe', orderId: 'held', holdMs: 60_000, buyer: { id: 'bob', limit: 1 } })
      expect(await stock.cancel('held', 'shoe')).toBe('done')
      for await (const order of stock.orders('shoe')) expect(order.buyerId).toBe('ann')
      await stock.remove('shoe')
      await stock.close()
    })

    it('are enough for locks', async () => {
      const driver = redisLock(await as('lock'), { prefix: 'lock:' })
      await using lock = createLock(driver, { ttlMs: 9_000, ...patient })
      await using other = createLock(driver, patient)
      await using shared = createReadWriteLock(driver, patient)
      await using semaphore = createSemaphore(driver, { permits: 2, ...patient })
      const lease = await lock.acquire('k')
      const waiting = other.acquire('k')
      await renewed('lock:k')
      expect(await lease.release()).toBe(true)
      await (await waiting).release()
      await Promise.all([shared.read.run('k', () => undefined), shared.write.run('k', () => undefined)])
      const permits = await semaphore.acquire('k', { permits: 2 })
      const next = semaphore.acquire('k')
      await permits.release()
      await (await next).release()
    })

    it('are enough for a node of Redlock', async () => {
      const driver = redlockLock([await as('redlock')], { nodeTimeoutMs: 10_000 })
      await using lock = createLock(driver, { ttlMs: 9_000, ...patient })
      await using other = createLock(driver, patient)
      const lease = await lock.acquire('lock:k')
      const waiting = other.acquire('lock:k')
      await renewed('lock:k')
      expect(await lease.release()).toBe(true)
      await (await waiting).release()
    })
  },
  { private: true },
)
