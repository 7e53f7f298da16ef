import type { Redis } from 'ioredis'
import { describe, expect, it } from 'vitest'
import {
  createLock,
  createReadWriteLock,
  createSemaphore,
  type Lease,
  type Lock,
  type LockDriver,
  type Semaphore,
} from '../../src/lock/index.js'
import { redisLock } from '../../src/lock/redis/index.js'
import { sleep } from '../services/net.js'
import { describeWithServices, uniqueName } from '../services/vitest.js'
import { whileScriptsAreFlushed } from '../support/flush-scripts.js'
import { until } from '../support/until.js'
import { closing, connect, proxied, taken, timed } from './lock-support.js'

const patient = { timeoutMs: 30_000 }

/** The clients that are subscribed to something, by what `CLIENT LIST` says. */
async function subscribers(redis: Redis): Promise<{ id: string; name: string }[]> {
  const list = String(await redis.call('CLIENT', 'LIST', 'TYPE', 'pubsub'))
  return list
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => ({ id: /\bid=(\d+)/.exec(line)?.[1] ?? '', name: /\bname=(\S*)/.exec(line)?.[1] ?? '' }))
}

const channelOf = (key: string): string => `redisson_lock__channel:{${key}}`

async function listeners(redis: Redis, channel: string): Promise<number> {
  const [, count] = (await redis.pubsub('NUMSUB', channel)) as [string, number]
  return Number(count)
}

describeWithServices('waiters on Redis', ['redis'], ({ redis: server }) => {
  /** A front with a client of its own name, so that its connections are known. */
  const front = (options: Parameters<typeof connect>[1] = {}, target: Parameters<typeof connect>[0] = server) => {
    const name = uniqueName('front')
    const redis = connect(target, { connectionName: name, retryStrategy: () => 5, ...options })
    const lock = closing(createLock(redisLock(redis), patient))
    return { name, redis, lock }
  }
  const killSubscriber = async (redis: Redis, name: string): Promise<void> => {
    const found = (await subscribers(redis)).find((client) => client.name === name)
    expect(found, 'the subscriber is there to be killed').toBeDefined()
    await redis.client('KILL', 'ID', found?.id as string)
  }

  it('are woken by messages when the connection that hears them has been killed and stands again', async () => {
    const direct = connect(server)
    const { name, lock } = front()
    const holder = closing(createLock(redisLock(direct), patient))
    const key = uniqueName('key')
    for (let round = 0; round < 4; round++) {
      const lease = await holder.acquire(key)
      const waiting = timed(() => lock.acquire(key))
      await until(async () => (await listeners(direct, channelOf(key))) === 1)
      await killSubscriber(direct, name)
      // At once, so that the message is lost, or when the new connection stands.
      if (round % 2) await until(async () => (await listeners(direct, channelOf(key))) === 1)
      const startedMs = performance.now()
      await lease.release()
      const { value } = await waiting
      expect(performance.now() - startedMs, 'far less than the TTL of 30 s').toBeLessThan(10_000)
      await (value as typeof lease).release()
    }
  })

  it('poll while the connection that would hear the message is away', async () => {
    const proxy = await proxied(server)
    const direct = connect(server)
    const { name, lock } = front({}, proxy)
    const key = uniqueName('key')
    const holder = closing(createLock(redisLock(direct), patient))
    const lease = await holder.acquire(key)
    const waiting = lock.acquire(key)
    await until(async () => (await listeners(direct, channelOf(key))) === 1)
    await proxy.refuse()
    await killSubscriber(direct, name)
    await until(async () => (await listeners(direct, channelOf(key))) === 0)
    const releasedMs = performance.now()
    expect(await lease.release()).toBe(true)
    const theirs = await waiting
    expect(performance.now() - releasedMs, 'far less than the TTL of 30 s').toBeLessThan(10_000)
    expect(await listeners(direct, channelOf(key)), 'nothing could be heard').toBe(0)
    await theirs.release()
    await proxy.accept()
  })

  it('get another connection where the client does not make one by itself', async () => {
    const direct = connect(server)
    const { name, lock } = front({ retryStrategy: () => null })
    const holder = closing(createLock(redisLock(direct), patient))
    const key = uniqueName('key')
    const lease = await holder.acquire(key)
    const waiting = timed(() => lock.acquire(key))
    await until(async () => (await listeners(direct, channelOf(key))) === 1)
    await killSubscriber(direct, name)
    await until(async () => (await listeners(direct, channelOf(key))) === 0)
    await (await lock.acquire(`${key} too`)).release()
    await until(async () => (await listeners(direct, channelOf(key))) === 1)
    const startedMs = performance.now()
    await lease.release()
    const { value } = await waiting
    expect(performance.now() - startedMs).toBeLessThan(10_000)
    await (value as typeof lease).release()
  })

  it('that stood back for many permits are woken when those are granted and some are left', async () => {
    const hearing = connect(server)
    const truth = connect(server)
    const [holder, one, many] = [1, 2, 3].map(() =>
      closing(createSemaphore(redisLock(connect(server)), { permits: 5, ...patient })),
    ) as [Semaphore, Semaphore, Semaphore]
    const messages: string[] = []
    hearing.on('message', (_, message) => messages.push(message))
    // A place that keeps others away ends after two seconds; a machine may be too busy to renew it in one round.
    for (let round = 0; round < 5 && messages.length < 2; round++) {
      const key = uniqueName('key')
      const channel = `spillway:semaphore:{${key}}:channel`
      const lease = await holder.acquire(key, { permits: 5 })
      const small = one.acquire(key)
      await until(async () => (await listeners(truth, channel)) === 1)
      const large = many.acquire(key, { permits: 3 })
      await until(async () => (await listeners(truth, channel)) === 2)
      await until(async () => (await truth.hexists(`spillway:semaphore:{${key}}:permits`, 'wanted')) === 1)
      messages.length = 0
      await hearing.subscribe(channel)
      await lease.release()
      await Promise.all([small, large])
      await hearing.unsubscribe(channel)
    }
    expect(messages, 'of the release, and of the grant').toEqual(['0', '0'])
  })

  it('take turns with those of another lock object over the same driver', async () => {
    const driver = redisLock(connect(server))
    const key = uniqueName('key')
    const locks = [closing(createLock(driver, patient)), closing(createLock(driver, patient))]
    const served = [0, 0]
    const all = 200
    const caller = async (place: number): Promise<void> => {
      while ((served[0] as number) + (served[1] as number) < all) {
        await (locks[place] as Lock).run(key, async () => {
          ;(served[place] as number)++
          await sleep(1)
        })
      }
    }
    await Promise.all([0, 1, 0, 1, 0, 1].map(caller))
    for (const mine of served) expect(mine, served.join()).toBeGreaterThan(all / 10)
  })

  type Make = (driver: LockDriver) => { acquire(key: string): Promise<Lease> }
  const drivers: [kind: string, make: Make, channel: (key: string) => string][] = [
    ['a mutex', (driver) => createLock(driver, patient), channelOf],
    [
      'a semaphore',
      (driver) => {
        const semaphore = createSemaphore(driver, { permits: 2, ...patient })
        return { acquire: (key) => semaphore.acquire(key, { permits: 2 }) }
      },
      (key) => `spillway:semaphore:{${key}}:channel`,
    ],
    [
      'a read-write lock',
      (driver) => createReadWriteLock(driver, patient).write,
      (key) => `spillway:read-write:{${key}}:channel`,
    ],
  ]
  describe.each(drivers)('of %s', (_, make, channel) => {
    it('are woken within far less than the TTL, however many they are', async () => {
      const direct = connect(server)
      const key = uniqueName('key')
      const fronts = [1, 2, 3, 4].map(() => make(redisLock(connect(server))))
      const lease = await (fronts[0] as (typeof fronts)[0]).acquire(key)
      const waiting = fronts.flatMap((one) => [1, 2, 3].map(() => one.acquire(key)))
      await until(async () => (await listeners(direct, channel(key))) >= 3)
      const startedMs = performance.now()
      await lease.release()
      for (const got of waiting) void got.then((next) => next.release())
      await Promise.all(waiting)
      expect(performance.now() - startedMs).toBeLessThan(15_000)
    })
  })
})

describeWithServices(
  'waiters on a Redis that forgets its scripts',
  ['redis'],
  ({ redis: server }) => {
    it('count exactly', async () => {
      const redis = connect(server)
      const locks = [1, 2, 3].map(() => closing(createLock(redisLock(connect(server)), patient)))
      let counter = 0
      const caller = async (lock: Lock): Promise<void> => {
        for (let turn = 0; turn < 25; turn++) {
          await lock.run('hot', async () => {
            const seen = counter
            await redis.ping()
            counter = seen + 1
          })
        }
      }
      const { flushes } = await whileScriptsAreFlushed(redis, 1, () =>
        Promise.all(locks.flatMap((lock) => [1, 2, 3, 4].map(() => caller(lock)))),
      )
      expect(flushes).toBeGreaterThan(10)
      expect(counter).toBe(300)
      await (await taken((locks[0] as Lock).tryAcquire('hot'))).release()
    })
  },
  { private: true },
)
