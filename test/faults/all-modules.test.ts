import { Redis } from 'ioredis'
import { createCache, memoryTier, startWriteBehind, type Cache } from 'spillway/cache'
import { redisTier, redisWriteBehind } from 'spillway/cache/redis'
import { createLock, createReadWriteLock, createSemaphore, memoryLock, type LockDriver } from 'spillway/lock'
import { redisLock } from 'spillway/lock/redis'
import { createRateLimiter, memoryTokenBucket, type RateLimitDriver } from 'spillway/ratelimit'
import { redisTokenBucket } from 'spillway/ratelimit/redis'
import { createStock, type Stock } from 'spillway/stock'
import { redisStock } from 'spillway/stock/redis'
import { describe, expect, it, onTestFinished } from 'vitest'
import { describeWithServices, uniqueName } from '../services/vitest.js'
import { complaints } from '../support/complaints.js'
import { startProxy } from '../support/proxy.js'
import { until } from '../support/until.js'

const quotas = [{ capacity: 1_000, refill: 1_000, perMs: 1_000 }] as const
const timeoutMs = 30_000

/** One object of every kind over a client, each under names of its own. */
async function oneOfEach(redis: Redis, prefix: string) {
  const flushed: string[] = []
  const limiter = createRateLimiter(redisTokenBucket(redis, { prefix }), { name: 'calls', quotas, timeoutMs })
  const lock = createLock(redisLock(redis), { timeoutMs })
  const rooms = createReadWriteLock(redisLock(redis), { timeoutMs })
  const seats = createSemaphore(redisLock(redis), { permits: 2, timeoutMs })
  const cache: Cache<string> = createCache<string>(
    [memoryTier({ maxEntries: 100 }), redisTier(redis, { prefix: `${prefix}cache:` })],
    { name: 'test', load: (key) => Promise.resolve(`value of ${key}`), ttlMs: 60_000, fleetLoadMs: 5_000, timeoutMs },
  )
  const stock: Stock = createStock(redisStock(redis, { prefix }), { local: { mode: 'gate', units: 10 }, timeoutMs })
  const totals = await startWriteBehind(redisWriteBehind(redis, { prefix }), {
    name: 'test',
    delayMs: 1,
    flush: (keys) => Promise.resolve(void flushed.push(...keys)),
    timeoutMs,
  })
  return {
    async use(): Promise<void> {
      const name = `${prefix}key`
      expect((await limiter.take(name)).allowed).toBe(true)
      await lock.run(name, async () => expect(await cache.get(name)).toBe(`value of ${name}`))
      await rooms.read.run(`${name}:rooms`, () => seats.acquire(`${name}:seats`).then((lease) => lease.release()))
      await cache.set(name, 'changed')
      await stock.open(name, 1)
      const sell = (orderId: string) => stock.sell({ sku: name, orderId })
      expect([(await sell('a')).ok, (await sell('b')).ok]).toEqual([true, false])
      await totals.touch(name)
      await until(() => flushed.includes(name), 'the total is flushed')
    },
    close: () =>
      Promise.all([limiter, lock, rooms, seats, cache, stock, totals].map((one) => one[Symbol.asyncDispose]())),
  }
}

describeWithServices('all modules', ['redis'], ({ redis: server }) => {
  const client = (port = server.port): Redis => {
    const redis = new Redis({ port, host: '127.0.0.1' })
    redis.on('error', () => undefined)
    onTestFinished(() => redis.disconnect())
    return redis
  }

  it('share one client, twenty objects of each, without a warning', async () => {
    const heard = complaints()
    const redis = client()
    await redis.ping()
    const events = ['ready', 'end', 'close', 'error', 'connect'] as const
    const listeners = () => events.map((event) => redis.listenerCount(event))
    const before = listeners()
    const name = uniqueName('many')
    const all = await Promise.all(Array.from({ length: 20 }, (_, i) => oneOfEach(redis, `${name}:${i}:`)))
    await Promise.all(all.map((one) => one.use()))
    for (const [i, count] of listeners().entries()) expect(count - (before[i] ?? 0)).toBeLessThanOrEqual(1)
    await Promise.all(all.map((one) => one.close()))
    expect(listeners(), 'nothing listens after the end').toEqual(before)
    expect(heard).toEqual([])
  })

  it('go through an outage of a client that all of them share without a warning or a rejection of their own', async () => {
    const proxy = await startProxy(server)
    onTestFinished(() => proxy.stop())
    const redis = client(proxy.port)
    const rejections: unknown[] = []
    const note = (what: unknown): void => void rejections.push(what)
    process.on('unhandledRejection', note)
    onTestFinished(() => void process.off('unhandledRejection', note))
    const name = uniqueName('outage')
    const all = await Promise.all(Array.from({ length: 5 }, (_, i) => oneOfEach(redis, `${name}:${i}:`)))
    await Promise.all(all.map((one) => one.use()))
    proxy.freezeAt('subscribe')
    expect(proxy.cut()).toBeGreaterThan(1)
    const during = Promise.allSettled(all.map((one) => one.use()))
    await new Promise((resolve) => setTimeout(resolve, 500))
    proxy.cut()
    proxy.thaw()
    await during
    await until(() => redis.status === 'ready', 'the client is back')
    await Promise.all(all.map((one) => one.close()))
    expect(rejections).toEqual([])
  })

  const lockDrivers: [string, () => LockDriver][] = [
    ['memory', memoryLock],
    ['redis', () => redisLock(client())],
  ]
  const limitDrivers: [string, () => RateLimitDriver][] = [
    ['memory', () => memoryTokenBucket()],
    ['redis', () => redisTokenBucket(client(), { prefix: uniqueName('limit') })],
  ]

  describe('fifty waits of a kind under one signal give no warning, and all end with its reason', () => {
    const fifty = (wait: (signal: AbortSignal, i: number) => Promise<unknown>, begun: () => unknown = () => true) =>
      (async () => {
        const heard = complaints()
        const shutdown = new AbortController()
        const reason = new Error('shutdown')
        const waits = Array.from({ length: 50 }, (_, i) => wait(shutdown.signal, i).catch((error: unknown) => error))
        await until(begun, 'all wait')
        await new Promise((resolve) => setTimeout(resolve, 50))
        shutdown.abort(reason)
        expect(await Promise.all(waits)).toEqual(waits.map(() => reason))
        expect(heard).toEqual([])
      })()

    it.each(limitDrivers)('limiter.wait, %s', async (_, driver) => {
      const limiter = createRateLimiter(driver(), {
        name: 'calls',
        quotas: [{ capacity: 1, refill: 1, perMs: 60_000 }],
        timeoutMs,
      })
      await limiter.take('a')
      await fifty((signal) => limiter.wait('a', { signal }))
      await fifty((signal, i) => limiter.wait(`b${i}`, { signal }).then(() => limiter.wait(`b${i}`, { signal })))
    })

    it.each(lockDrivers)('locks, read-write locks and semaphores, %s', async (_, driver) => {
      const name = uniqueName('held')
      const lock = createLock(driver(), { timeoutMs })
      await lock.acquire(name)
      await fifty((signal) => lock.acquire(name, { signal }))
      const rooms = createReadWriteLock(driver(), { timeoutMs })
      await rooms.write.acquire(`${name}:rooms`)
      await fifty((signal, i) => (i % 2 ? rooms.read : rooms.write).acquire(`${name}:rooms`, { signal }))
      const seats = createSemaphore(driver(), { permits: 1, timeoutMs })
      await seats.acquire(`${name}:seats`)
      await fifty((signal) => seats.acquire(`${name}:seats`, { signal }))
      await Promise.all([lock.close(), rooms[Symbol.asyncDispose](), seats.close()])
    })

    it('gets of a cache', async () => {
      let loads = 0
      const cache = createCache<string>([memoryTier({ maxEntries: 100 })], {
        name: 'test',
        load: () => new Promise(() => loads++),
        ttlMs: 1_000,
      })
      await fifty(
        (signal) => cache.get('a', { signal }),
        () => loads === 1,
      )
      await fifty(
        (signal, i) => cache.get(`b${i}`, { signal }),
        () => loads === 51,
      )
    })
  })
})
