import { once } from 'node:events'
import type { Redis } from 'ioredis'
import { expect, it, onTestFinished } from 'vitest'
import { LockLostError, StoreUnavailableError, WaitTimeoutError } from '../../src/index.js'
import {
  createLock,
  createReadWriteLock,
  createSemaphore,
  type Lock,
  type LockDriver,
  type LockOptions,
} from '../../src/lock/index.js'
import { redisLock } from '../../src/lock/redis/index.js'
import { sleep } from '../services/net.js'
import { describeWithServices, uniqueName } from '../services/vitest.js'
import { until } from '../support/until.js'
import {
  closing,
  connect,
  contend,
  descents,
  knewWhenFreed,
  proxied,
  taken,
  timed,
  watchOverlaps,
} from './lock-support.js'

const patient = { timeoutMs: 30_000 }
/** Long enough for a call that is to succeed on a busy machine. */
const timeoutMs = 2_000

/** One lock of each kind that excludes, by how it is asked. */
type Make = (driver: LockDriver, options?: LockOptions) => Pick<Lock, 'acquire' | 'tryAcquire' | 'close'>
const kinds: [kind: string, make: Make][] = [
  ['a mutex', (driver, options = patient) => createLock(driver, options)],
  ['a semaphore of one', (driver, options = patient) => createSemaphore(driver, { permits: 1, ...options })],
  ['a write lock', (driver, options = patient) => createReadWriteLock(driver, options).write],
]

/** It is connected and owes no reply: the next one is that of what is sent next. */
async function isQuiet(redis: Redis): Promise<void> {
  await until(() => redis.status === 'ready')
  await redis.ping()
}

describeWithServices('a lock behind a bad network', ['redis'], ({ redis: server }) => {
  it('ends a hold before the server does when the server falls silent, and every wait in time', async () => {
    const proxy = await proxied(server)
    const direct = connect(server)
    const [held, other, free] = [uniqueName('held'), uniqueName('other'), uniqueName('free')]
    const driver = redisLock(connect(proxy))
    const lock = closing(createLock(driver, { timeoutMs }))
    // A waiter of the other may be under way when the server falls silent, and what comes behind it is not sent at all.
    const asking = closing(createLock(driver, { timeoutMs }))
    const elsewhere = closing(createLock(redisLock(direct), patient))
    const lease = await lock.acquire(held, { ttlMs: 6_000 })
    await elsewhere.acquire(other)
    const waiting = [
      timed(() => lock.acquire(held, { maxWaitMs: 1_000 })),
      timed(() => lock.acquire(other, { maxWaitMs: 1_000 })),
      timed(() => lock.acquire(held, { signal: AbortSignal.timeout(1_000) })),
    ]
    await sleep(200)

    proxy.freeze()
    const knew = knewWhenFreed(lease, async () => (await direct.exists(held)) === 0)
    const asked = await Promise.all([timed(() => asking.acquire(free)), timed(() => asking.tryAcquire(`${free} too`))])
    for (const { error, ms } of asked) {
      expect(error).toMatchObject({ code: 'ERR_STORE_UNAVAILABLE', applied: 'unknown' })
      expect(ms).toBeGreaterThanOrEqual(timeoutMs - 1)
      expect(ms).toBeLessThan(10_000)
    }
    for (const { error, ms } of await Promise.all(waiting)) {
      expect(error instanceof WaitTimeoutError || (error as Error).name === 'TimeoutError', String(error)).toBe(true)
      expect(ms).toBeGreaterThan(990)
      expect(ms).toBeLessThan(10_000)
    }
    expect(await knew, 'it ended before the server freed the key').toBe(true)
    expect(lease.signal.reason).toBeInstanceOf(LockLostError)
    expect(await lease.release()).toBe(false)

    proxy.thaw()
    // What was asked for in vain, and what was lost, is taken back.
    await until(async () => (await direct.exists(held, free, `${free} too`)) === 0)
    await (await taken(lock.tryAcquire(held))).release()
    await (await taken(lock.tryAcquire(free))).release()
  })

  it('closes in time in front of a silent server, with holds and waiters', async () => {
    const proxy = await proxied(server)
    const [held, other] = [uniqueName('held'), uniqueName('other')]
    const lock = createLock(redisLock(connect(proxy)), { timeoutMs })
    const direct = connect(server)
    const elsewhere = closing(createLock(redisLock(direct), patient))
    const lease = await lock.acquire(held, { ttlMs: 60_000 })
    await elsewhere.acquire(other)
    const waiting = [held, other].map((key) => timed(() => lock.acquire(key)))
    await until(async () => (await direct.pubsub('NUMSUB', `redisson_lock__channel:{${other}}`))[1] === 1)
    await sleep(200)
    // The waiter tries once more when it is subscribed. What comes behind that is answered after it.
    await (await taken(lock.tryAcquire(uniqueName('behind')))).release()
    proxy.freeze()
    const { ms } = await timed(() => lock.close())
    expect(ms).toBeGreaterThanOrEqual(timeoutMs - 1)
    expect(ms).toBeLessThan(10_000)
    for (const { error } of await Promise.all(waiting)) expect(error).toMatchObject({ code: 'ERR_CLOSED' })
    expect(await lease.release()).toBe(false)
    proxy.thaw()
    // What could not be told in time is told when the connection lives again.
    await (await elsewhere.acquire(held, { maxWaitMs: 20_000 })).release()
  })

  it('rejects a release that the server does not answer, and lets the TTL free the key', async () => {
    const proxy = await proxied(server)
    const direct = connect(server)
    const key = uniqueName('key')
    const redis = connect(proxy)
    const lock = closing(createLock(redisLock(redis), { timeoutMs }))
    const lease = await lock.acquire(key, { ttlMs: 10_000 })
    proxy.dropReplies(true)
    expect(await direct.pttl(key)).toBeGreaterThan(0)
    const { error, ms } = await timed(() => lease.release())
    expect(error).toMatchObject({ code: 'ERR_STORE_UNAVAILABLE', applied: 'unknown' })
    expect(ms).toBeGreaterThanOrEqual(timeoutMs - 1)
    await expect(lease.release(), 'asked again, the same').rejects.toBe(error)
    await lease[Symbol.asyncDispose]()
    const ready = once(redis, 'ready')
    proxy.dropReplies(false)
    await ready

    const second = await lock.acquire(key, { ttlMs: 4_000, maxWaitMs: 10_000 })
    proxy.freeze()
    await expect(second.release()).rejects.toBeInstanceOf(StoreUnavailableError)
    // Nobody renews it.
    await until(async () => (await direct.exists(key)) === 0)
    proxy.thaw()
  })

  it.each(kinds)('grants %s once though the reply to its acquire is lost', async (_, make) => {
    const proxy = await proxied(server)
    const redis = connect(proxy, { retryStrategy: () => 5 })
    const here = closing(make(redisLock(redis)))
    const there = closing(make(redisLock(connect(server))))
    const key = uniqueName('key')
    let last = 0n
    for (let round = 1; round <= 5; round++) {
      await isQuiet(redis)
      proxy.dropReplies(1)
      const lease = await taken(round % 2 ? here.acquire(key) : here.tryAcquire(key))
      expect(proxy.counters.droppedReplies).toBe(round)
      expect(lease.fencingToken, 'one token for one grant').toBe(last + 1n)
      last = lease.fencingToken as bigint
      expect(await there.tryAcquire(key)).toBeNull()
      expect(await lease.release()).toBe(true)
    }
    await (await taken(there.tryAcquire(key))).release()
  })

  it.each(kinds)('takes %s back when the client does not ask again for the lost reply', async (_, make) => {
    const proxy = await proxied(server)
    const redis = connect(proxy, { retryStrategy: () => 5, autoResendUnfulfilledCommands: false })
    const here = closing(make(redisLock(redis), { timeoutMs: 3_000 }))
    const there = closing(make(redisLock(connect(server))))
    const key = uniqueName('key')
    await there.tryAcquire(uniqueName('the script is known'))
    await isQuiet(redis)
    proxy.dropReplies(1)
    await expect(here.acquire(key)).rejects.toMatchObject({ applied: 'unknown' })
    expect(proxy.counters.droppedReplies).toBe(1)
    // Long before its TTL of 30 s.
    const startedMs = performance.now()
    const lease = await there.acquire(key, { maxWaitMs: 25_000 })
    expect(performance.now() - startedMs).toBeLessThan(20_000)
    await lease.release()
    await (await here.acquire(key)).release()
  })

  it.each(kinds)('answers true to a release of %s whose reply is lost, and frees nobody else', async (_, make) => {
    const proxy = await proxied(server)
    const redis = connect(proxy, { retryStrategy: () => 5, maxRetriesPerRequest: null })
    const here = closing(make(redisLock(redis)))
    const there = closing(make(redisLock(connect(server))))
    const key = uniqueName('key')
    for (let round = 1; round <= 5; round++) {
      await isQuiet(redis)
      const lease = await here.acquire(key)
      const next = there.acquire(key)
      // Once its reply is lost it cannot be sent again before they have the key.
      await proxy.refuse()
      proxy.dropReplies(1)
      const releasing = lease.release()
      const theirs = await next
      await proxy.accept()
      expect(await releasing).toBe(true)
      expect(proxy.counters.droppedReplies).toBe(round)
      expect(await here.tryAcquire(key), 'theirs stands').toBeNull()
      expect(await theirs.release()).toBe(true)
    }
  })

  it('never has two holders by their own word while connections are cut and replies are lost', async () => {
    const key = uniqueName('storm')
    const proxies = [await proxied(server), await proxied(server)]
    const [impatientMs, ttlMs] = [300, 1_000]
    const locks = proxies.map((proxy) =>
      closing(createLock(redisLock(connect(proxy, { retryStrategy: () => 5 })), { timeoutMs: impatientMs, ttlMs })),
    )
    const contention = { watch: watchOverlaps(), failed: { no: 0, unknown: 0, late: 0 }, longestMs: 0 }
    const { watch, failed } = contention
    const startedMs = performance.now()
    let cuts = 0
    const lost = (): number => proxies.reduce((sum, { counters }) => sum + counters.droppedReplies, 0)
    const isOver = (): boolean =>
      performance.now() - startedMs > 9_000 &&
      Math.min(cuts, lost()) > 2 &&
      failed.no + failed.unknown > 0 &&
      watch.tokens.length > 50
    const storm = (async () => {
      for (let round = 0; !isOver(); round++) {
        const proxy = proxies[round % 2]
        await sleep(60)
        if (round % 3 === 0) proxy?.dropReplies(1)
        else if (round % 3 === 1) cuts += proxy?.cut() ?? 0
        else {
          proxy?.freeze()
          // So long that who waits for its turn tries again, by the TTL, and is not answered.
          await sleep(ttlMs + impatientMs + 100)
          proxy?.thaw()
        }
      }
    })()
    await contend(locks, key, { isOver, contention })
    await storm
    expect(watch.overlaps).toEqual([])
    expect(descents(watch.tokens)).toBe(0)
    expect(contention.longestMs, 'every wait settles').toBeLessThan(20_000)
  })
})

describeWithServices(
  'a server that is down',
  ['redis'],
  ({ redis: server }) => {
    it('fails calls within the time-out, gets nothing later, and ends holds in time', async () => {
      const redis = connect(server)
      const lock = createLock(redisLock(redis), { timeoutMs })
      const ttlMs = 3_000
      const lease = await lock.acquire('held', { ttlMs })
      const listeners = ['ready', 'end'].map((event) => redis.listenerCount(event))
      await server.kill()
      const killedMs = performance.now()
      await until(() => redis.status !== 'ready')
      const calls = [
        () => lock.acquire('a'),
        () => lock.tryAcquire('b'),
        () => lock.acquire('c', { maxWaitMs: 20_000 }),
      ]
      for (const { error, ms } of await Promise.all(calls.map(timed))) {
        expect(error).toMatchObject({ code: 'ERR_STORE_UNAVAILABLE', applied: 'no' })
        expect(ms).toBeGreaterThanOrEqual(timeoutMs - 1)
        expect(ms).toBeLessThan(10_000)
      }
      await sleep(killedMs + ttlMs - performance.now())
      expect(lease.signal.aborted, 'by its TTL at the latest').toBe(true)
      expect(await lease.release()).toBe(false)
      // It is tried for a while to tell the server of the lost hold. That waits for the client to be ready, or to end.
      await until(() => redis.listenerCount('end') === listeners[1])
      await server.restart()
      await until(() => redis.status === 'ready')
      await redis.ping()
      expect(await redis.dbsize(), 'nothing was sent later').toBe(0)
      await (await taken(lock.tryAcquire('a'))).release()
      await lock.close()
      expect(['ready', 'end'].map((event) => redis.listenerCount(event))).toEqual(listeners)
    })

    it('tells a holder at the next renewal that the server came back without its hold', async () => {
      const redis = connect(server)
      const lock = closing(createLock(redisLock(redis), { timeoutMs }))
      const lease = await lock.acquire('held', { ttlMs: 20_000 })
      await server.kill()
      await server.restart()
      const startedMs = performance.now()
      await until(() => lease.signal.aborted)
      expect(performance.now() - startedMs).toBeLessThan(18_000)
      expect((lease.signal.reason as Error).message).toMatch(/no longer knows it|not renewed in time/)
    })
  },
  { private: true },
)

it('says within the time-out that there is no server at an address', async () => {
  const lock = createLock(redisLock(connect({ host: '127.0.0.1', port: 1 })), { timeoutMs })
  onTestFinished(() => lock.close())
  const { error, ms } = await timed(() => lock.acquire('key'))
  expect(error).toMatchObject({ code: 'ERR_STORE_UNAVAILABLE', applied: 'no' })
  expect(ms).toBeGreaterThanOrEqual(timeoutMs - 1)
  expect(ms).toBeLessThan(10_000)
})
