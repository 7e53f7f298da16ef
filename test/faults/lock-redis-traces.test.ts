import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import type { Redis } from 'ioredis'
import { beforeEach, describe, expect, it, onTestFinished } from 'vitest'
import { ClosedError, WaitTimeoutError, type TripEvent } from '../../src/index.js'
import { createLock, createReadWriteLock, createSemaphore, type Lease, type LockDriver } from '../../src/lock/index.js'
import { redisLock } from '../../src/lock/redis/index.js'
import { describeWithServices, uniqueName } from '../services/vitest.js'
import { until } from '../support/until.js'
import { closing, connect } from './lock-support.js'

const patient = { timeoutMs: 30_000 }
const key = 'order 7'
const latchMs = 20_000

interface Waits {
  acquire(key: string, options?: { maxWaitMs?: number; signal?: AbortSignal }): Promise<Lease>
  close(): Promise<void>
}

/** What is locked, and the keys that one hold has in Redis besides counters and latches. */
const kinds: [kind: string, make: (driver: LockDriver) => Waits, keys: string[]][] = [
  ['a mutex', (driver) => createLock(driver, patient), [key]],
  [
    'a semaphore',
    (driver) => {
      const semaphore = createSemaphore(driver, { permits: 3, ...patient })
      return {
        acquire: (name, options) => semaphore.acquire(name, { permits: 3, ...options }),
        close: () => semaphore.close(),
      }
    },
    [`spillway:semaphore:{${key}}:permits`, `spillway:semaphore:{${key}}:until`],
  ],
  [
    'a read-write lock',
    (driver) => createReadWriteLock(driver, patient).write,
    [`spillway:read-write:{${key}}:permits`, `spillway:read-write:{${key}}:until`],
  ],
]

const isLatch = (name: string): boolean => /^redisson_unlock_latch:|:latch:/.test(name)
const isCounter = (name: string): boolean => /^redisson_lock_token:|:token$/.test(name)

describeWithServices(
  'a Redis where nothing else is',
  ['redis'],
  ({ redis: server }) => {
    let truth: Redis
    beforeEach(async () => {
      truth = connect(server)
      await truth.flushall()
    })

    /** The keys, after checking that a latch has a TTL and that nothing but a counter has none. */
    const keysLeft = async (): Promise<string[]> => {
      const names = await truth.keys('*')
      for (const name of names) {
        const leftMs = await truth.pttl(name)
        if (isCounter(name)) expect(leftMs, name).toBe(-1)
        else expect(leftMs, name).toBeGreaterThan(0)
        if (isLatch(name)) expect(leftMs, name).toBeLessThanOrEqual(latchMs)
      }
      return names.filter((name) => !isLatch(name) && !isCounter(name)).sort()
    }
    const channels = async (): Promise<unknown> => truth.pubsub('CHANNELS')
    const connections = async (name: string): Promise<number> =>
      String(await truth.call('CLIENT', 'LIST'))
        .split('\n')
        .filter((line) => line.includes(` name=${name} `)).length
    const events = ['ready', 'end', 'close', 'error', 'message', 'connect']
    const front = () => {
      const name = uniqueName('front')
      const redis = connect(server, { connectionName: name })
      return {
        name,
        redis,
        driver: redisLock(redis),
        listening: () => events.map((event) => redis.listenerCount(event)),
      }
    }

    describe.each(kinds)('%s', (_, make, keys) => {
      it('has nothing left of waiters that gave up, and nothing of a lock that was closed', async () => {
        const { name, redis, driver, listening } = front()
        await until(() => redis.status === 'ready')
        const before = listening()
        const holder = closing(make(redisLock(connect(server))))
        const lease = await holder.acquire(key)
        const lock = make(driver)
        const reason = new Error('changed my mind')
        const controller = new AbortController()
        const waiting = [
          lock.acquire(key, { maxWaitMs: 300 }),
          lock.acquire(key, { signal: controller.signal }),
          lock.acquire(key, { maxWaitMs: 200 }),
        ].map((call) => call.catch((error: unknown) => error))
        await until(async () => ((await channels()) as string[]).length === 1)
        expect(await connections(name)).toBe(2)
        controller.abort(reason)
        const [late, aborted, later] = await Promise.all(waiting)
        expect([late, later].every((error) => error instanceof WaitTimeoutError)).toBe(true)
        expect(aborted).toBe(reason)
        await until(async () => ((await channels()) as string[]).length === 0)
        expect(await keysLeft()).toEqual(keys)
        const permits = keys.find((one) => one.endsWith(':permits'))
        if (permits) await until(async () => (await truth.hexists(permits, 'wanted')) === 0)

        const closed = lock.acquire(key).catch((error: unknown) => error)
        const other = await lock.acquire(`${key} too`)
        await until(async () => ((await channels()) as string[]).length === 1)
        await lock.close()
        expect(await closed).toBeInstanceOf(ClosedError)
        expect(await other.release()).toBe(false)
        await until(async () => ((await channels()) as string[]).length === 0)
        await until(async () => (await connections(name)) === 1)
        expect(await keysLeft()).toEqual(keys)
        expect(listening()).toEqual(before)

        expect(await lease.release()).toBe(true)
        expect(await keysLeft()).toEqual([])
        expect(redis.status, 'the client is its owner’s').toBe('ready')
      })

      it('closes its own connection when the client ends, though nobody closed the lock', async () => {
        const { name, redis, driver } = front()
        const lock = make(driver)
        const lease = await lock.acquire(key)
        const elsewhere = make(driver)
        const controller = new AbortController()
        const waiting = elsewhere.acquire(key, { signal: controller.signal }).catch(() => undefined)
        await until(async () => ((await channels()) as string[]).length === 1)
        controller.abort()
        await waiting
        expect(await connections(name)).toBe(2)
        await lease.release()
        await redis.quit()
        await until(async () => (await connections(name)) === 0)
        await expect(lock.acquire(key)).rejects.toMatchObject({ applied: 'no' })
        await Promise.all([lock.close(), elsewhere.close()])
      })
    })

    it('gets the renewals of a thousand holds in one command', async () => {
      const { driver } = front()
      const ttlMs = 18_000
      const lock = createLock(driver, { ttlMs, ...patient })
      const startedMs = performance.now()
      const leases = await Promise.all(Array.from({ length: 1_000 }, (_, i) => lock.acquire(`key ${i}`)))
      const trips: TripEvent[] = []
      const note = (event: unknown): void => void trips.push(event as TripEvent)
      subscribe('spillway:trip', note)
      onTestFinished(() => void unsubscribe('spillway:trip', note))
      await truth.config('RESETSTAT')
      await until(() => trips.length >= 2)
      expect(performance.now() - startedMs, 'no more often than needed').toBeGreaterThan((2 * ttlMs) / 3 - 10)
      const stats = await truth.info('commandstats')
      expect(trips.map(({ calls }) => calls)).toEqual([1_000, 1_000])
      expect(Number(/cmdstat_evalsha:calls=(\d+)/.exec(stats)?.[1])).toBe(trips.length)
      expect(Number(/cmdstat_pexpire:calls=(\d+)/.exec(stats)?.[1])).toBe(trips.length * 1_000)
      expect(leases.every(({ signal }) => !signal.aborted)).toBe(true)
      trips.length = 0
      await lock.close()
      expect(trips.map(({ calls }) => calls)).toEqual([1_000])
      expect(await keysLeft()).toEqual([])
    })
  },
  { private: true },
)
