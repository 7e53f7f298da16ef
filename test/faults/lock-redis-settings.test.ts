import type { Cluster, Redis } from 'ioredis'
import { describe, expect, it, onTestFinished } from 'vitest'
import { createLock, createReadWriteLock, createSemaphore, type Lease, type LockDriver } from '../../src/lock/index.js'
import { redisLock, type RedisLockClient } from '../../src/lock/redis/index.js'
import { describeWithServices, uniqueName } from '../services/vitest.js'
import { closing, connect } from './lock-support.js'
import {
  clientLibraries,
  clusterClient,
  clusterSettings,
  serverClient,
  serverSettings,
} from './redis-client-settings.js'

const options = { timeoutMs: 30_000, localHandovers: 1 }
const promptMs = 12_000

const kinds: ((driver: LockDriver) => { acquire(key: string): Promise<Lease> })[] = [
  (driver) => closing(createLock(driver, options)),
  (driver) => {
    const semaphore = closing(createSemaphore(driver, { permits: 3, ...options }))
    return { acquire: (key) => semaphore.acquire(key, { permits: 3 }) }
  },
  (driver) => closing(createReadWriteLock(driver, options)).write,
]

/** Every verb over many keys (on a Cluster: many slots), between two clients with the same settings. */
async function locks(connectOne: () => Redis | Cluster): Promise<void> {
  const clients = [connectOne(), connectOne()] as const
  onTestFinished(() => clients.forEach((client) => client.disconnect()))
  const name = uniqueName('key')
  const keys = Array.from({ length: 8 }, (_, i) => `${name}-${i}`)
  const all = <T>(call: (key: string, i: number) => Promise<T>): Promise<T[]> => Promise.all(keys.map(call))
  const drivers = clients.map((client) => redisLock(client as RedisLockClient, { counterTtlMs: 600_000 }))
  for (const make of kinds) {
    const [here, there] = drivers.map(make) as [ReturnType<typeof make>, ReturnType<typeof make>]
    const held = await all((key) => here.acquire(key))
    expect(held.map(({ fencingToken }) => fencingToken)).toEqual(keys.map(() => 1n))
    const waiting = all((key) => there.acquire(key))
    const own = all((key) => here.acquire(key))
    own.catch(() => undefined)
    const startedMs = performance.now()
    const released = await all((_, i) => (held[i] as Lease).release())
    expect(released).toEqual(keys.map(() => true))
    const both = [waiting, own].map(async (leases) => {
      for (const lease of await leases) expect(await lease.release()).toBe(true)
    })
    await Promise.all(both)
    expect(performance.now() - startedMs, 'woken, or polling, and not at the end of a TTL of 30 s').toBeLessThan(
      promptMs,
    )
  }
}

describeWithServices('locks over a client', ['redis', 'redis-cluster'], ({ redis, 'redis-cluster': cluster }) => {
  describe.each(clientLibraries)('of %s', (library) => {
    it.each(serverSettings)('of one server with $title', async ({ options: settings }) => {
      await locks(() => serverClient(redis, settings, library))
    })
    it.each(clusterSettings)('of a Cluster with $title', async ({ options: settings }) => {
      await locks(() => clusterClient(cluster.nodes, settings, library))
    })
  })

  it('with a keyPrefix lock what others lock by the whole name, and have Redisson’s names for it', async () => {
    const direct = connect(redis)
    const key = uniqueName('key')
    const plain = closing(createLock(redisLock(direct), { timeoutMs: 30_000 }))
    for (const prefix of ['app:', '{app}:', 'a{b}c:']) {
      const client = serverClient(redis, { keyPrefix: prefix })
      onTestFinished(() => client.disconnect())
      const prefixed = closing(createLock(redisLock(client, { prefix: 'lock:' }), { timeoutMs: 30_000 }))
      const whole = `${prefix}lock:${key}`
      const tag = whole.includes('{') ? whole : `{${whole}}`
      const lease = await prefixed.acquire(key)
      expect(await plain.tryAcquire(whole)).toBeNull()
      expect(await direct.get(`redisson_lock_token:${tag}`)).toBe('1')
      const waiting = plain.acquire(whole)
      const listening = async () => (await direct.pubsub('NUMSUB', `redisson_lock__channel:${tag}`))[1]
      await expect.poll(listening, { timeout: 30_000 }).toBe(1)
      await lease.release()
      const theirs = await waiting
      expect(theirs.fencingToken).toBe(2n)
      await theirs.release()
      expect((await direct.keys(`*${key}*`)).filter((name) => name.startsWith(`${prefix}${prefix}`))).toEqual([])
    }
  })

  it('keep a fencing counter for as long as counterTtlMs says, and for ever without it', async () => {
    const direct = connect(redis)
    const [kept, bounded] = [uniqueName('kept'), uniqueName('bounded')]
    const counters = async (key: string): Promise<number[]> => {
      const names = [`redisson_lock_token:{${key}}`, `spillway:semaphore:{${key}}:token`]
      return Promise.all(names.map((name) => direct.pttl(name)))
    }
    for (const [key, driver] of [
      [kept, redisLock(direct)],
      [bounded, redisLock(direct, { counterTtlMs: 86_400_000 })],
    ] as const) {
      await (await closing(createLock(driver, options)).acquire(key)).release()
      await (await closing(createSemaphore(driver, { permits: 1, ...options })).acquire(key)).release()
    }
    expect(await counters(kept)).toEqual([-1, -1])
    for (const leftMs of await counters(bounded)) {
      expect(leftMs).toBeGreaterThan(80_000_000)
      expect(leftMs).toBeLessThanOrEqual(86_400_000)
    }
    // Never shorter than the hold itself.
    const short = closing(createLock(redisLock(direct, { counterTtlMs: 10 }), options))
    const lease = await short.acquire(bounded)
    expect((await counters(bounded))[0]).toBeGreaterThan(20_000)
    await lease.release()
  })
})
