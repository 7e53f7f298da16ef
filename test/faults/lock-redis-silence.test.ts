import { Redis } from 'ioredis'
import { expect, it, onTestFinished } from 'vitest'
import { createLock } from '../../src/lock/index.js'
import { redisLock } from '../../src/lock/redis/index.js'
import { sleep } from '../services/net.js'
import { describeWithServices, uniqueName } from '../services/vitest.js'
import type { ProxyTarget } from '../support/proxy.js'
import { until } from '../support/until.js'
import { callsOf } from './cache-support.js'
import { closing, connect, proxied } from './lock-support.js'

const patient = { timeoutMs: 30_000 }
const channelOf = (key: string): string => `redisson_lock__channel:{${key}}`

/**
 * A client whose further connections, such as the one that waiters are woken on, go by another way. `more` is set for
 * these alone, where they are not given something else.
 */
function parted(server: ProxyTarget, other: ProxyTarget, more: { commandTimeout?: number } = {}): Redis {
  const client = new Redis({ host: server.host, port: server.port })
  const duplicate = client.duplicate.bind(client)
  client.duplicate = ((options: object) =>
    duplicate({ ...more, ...options, port: other.port, retryStrategy: () => 20 })) as typeof client.duplicate
  client.on('error', () => undefined)
  onTestFinished(() => client.disconnect())
  return client
}

describeWithServices(
  'a lock whose wake-ups fall silent',
  ['redis'],
  ({ redis: server }) => {
    const listeners = async (redis: Redis, key: string): Promise<number> =>
      Number(((await redis.pubsub('NUMSUB', channelOf(key))) as [string, number])[1])

    it('opens another connection, and its waiter is granted what was released in between', async () => {
      const [direct, proxy, key] = [connect(server), await proxied(server), uniqueName('key')]
      const lock = closing(createLock(redisLock(parted(server, proxy, { commandTimeout: 300 })), patient))
      const lease = await closing(createLock(redisLock(direct), patient)).acquire(key)
      const waiting = lock.acquire(key)
      await until(async () => (await listeners(direct, key)) === 1)
      // It tries once more when it is told that it is subscribed, and only then relies on being woken.
      await until(async () => {
        const tries = await callsOf(direct, 'evalsha')
        await sleep(300)
        return (await callsOf(direct, 'evalsha')) === tries
      }, 'it waits to be woken')
      const before = proxy.counters.connections
      proxy.freeze()
      await lease.release()
      const releasedMs = performance.now()
      // Frozen, new connections are as silent as the old one, and its replacement is seen.
      const theirs = await waiting
      expect(performance.now() - releasedMs, 'far less than the TTL of 30 s').toBeLessThan(15_000)
      expect(proxy.counters.connections).toBeGreaterThan(before)
      proxy.thaw()
      await theirs.release()
    })

    it('lives on when its connection was cut, got no answer to a subscription any more, and was closed', async () => {
      const [direct, proxy, key] = [connect(server), await proxied(server), uniqueName('key')]
      const unhandled: unknown[] = []
      const note = (reason: unknown): void => void unhandled.push(reason)
      process.on('unhandledRejection', note)
      onTestFinished(() => void process.off('unhandledRejection', note))
      const lease = await closing(createLock(redisLock(direct), patient)).acquire(key)
      for (const ends of ['the lock', 'the client']) {
        const client = parted(server, proxy)
        const lock = createLock(redisLock(client), patient)
        const waiting = lock.acquire(key).catch((error: unknown) => error)
        await until(async () => (await listeners(direct, key)) === 1)
        const before = proxy.counters.connections
        proxy.cut()
        await until(() => proxy.counters.connections > before)
        proxy.freeze()
        proxy.cut()
        await until(() => proxy.counters.connections > before + 1)
        await sleep(200)
        if (ends === 'the client') client.disconnect()
        await lock.close()
        expect(await waiting).toMatchObject({ code: 'ERR_CLOSED' })
        proxy.thaw()
        await until(async () => (await listeners(direct, key)) === 0)
      }
      await sleep(100)
      expect(unhandled).toEqual([])
      await lease.release()
    })

    it('is woken, polling, by strangers’ messages no more often than they come, and grants nothing by them', async () => {
      const [direct, key] = [connect(server), uniqueName('key')]
      const lock = closing(createLock(redisLock(connect(server)), patient))
      const lease = await closing(createLock(redisLock(direct), patient)).acquire(key)
      let granted = false
      const waiting = lock.acquire(key).then((got) => {
        granted = true
        return got
      })
      await until(async () => (await listeners(direct, key)) === 1)
      for (const message of ['', '0', '1', 'x'.repeat(100_000), '\0\ud7ff', '{}']) {
        await direct.publish(channelOf(key), message)
        await direct.publish(channelOf(key), Buffer.from([0xff, 0xfe, 0]))
      }
      await direct.ping()
      expect(granted).toBe(false)
      await lease.release()
      await (await waiting).release()
    })
  },
  { private: true },
)
