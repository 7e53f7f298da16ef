import { Redis } from 'ioredis'
import { afterEach, beforeEach, describe, expect, it, onTestFinished } from 'vitest'
import { createLock, createReadWriteLock, createSemaphore, type Lease, type LockDriver } from '../../src/lock/index.js'
import { redisLock } from '../../src/lock/redis/index.js'
import { describeWithServices, uniqueName } from '../services/vitest.js'
import { until } from '../support/until.js'
import { closing, connect } from './lock-support.js'

const patient = { timeoutMs: 30_000 }

/** All that may be held, and taken by one holder at a time. */
const kinds: [kind: string, make: (driver: LockDriver) => { acquire(key: string): Promise<Lease> }][] = [
  ['a mutex', (driver) => closing(createLock(driver, patient))],
  [
    'a semaphore',
    (driver) => {
      const semaphore = closing(createSemaphore(driver, { permits: 2, ...patient }))
      return { acquire: (key) => semaphore.acquire(key, { permits: 2 }) }
    },
  ],
  ['a writer', (driver) => closing(createReadWriteLock(driver, patient)).write],
]

describeWithServices(
  'a Redis that does not allow everything',
  ['redis'],
  ({ redis: server }) => {
    let admin: Redis
    const warnings: string[] = []
    const note = (warning: Error): void => void warnings.push(warning.message)
    beforeEach(async () => {
      admin = connect(server)
      await admin.flushall()
      warnings.length = 0
      process.on('warning', note)
    })
    afterEach(async () => {
      process.off('warning', note)
      await admin.config('SET', 'maxmemory', '0')
    })

    /** A client of a user of its own. */
    const as = async (...rules: string[]): Promise<Redis> => {
      const name = uniqueName('user')
      await admin.acl('SETUSER', name, 'on', '>pw', ...rules)
      const redis = new Redis({ host: server.host, port: server.port, username: name, password: 'pw' })
      redis.on('error', () => undefined)
      onTestFinished(() => redis.disconnect())
      return redis
    }

    /** Whether a claim that waits was refused not long ago. */
    const waitsFor = async (key: string): Promise<boolean> => {
      const inHash = ['semaphore', 'read-write'].map((kind) =>
        admin.hexists(`spillway:${kind}:{${key}}:permits`, 'waiting'),
      )
      return (await Promise.all([admin.exists(`spillway:waiting:{${key}}`), ...inHash])).includes(1)
    }

    describe.each(kinds)('%s', (_, make) => {
      it('is released, woken by polling, and told of once, where its user has no channels', async () => {
        const clients = [await as('~*', '+@all', 'resetchannels'), await as('~*', '+@all', 'resetchannels')] as const
        await Promise.all(clients.map((redis) => redis.ping()))
        const [here, there] = [make(redisLock(clients[0])), make(redisLock(clients[1]))]
        const keys = ['one', 'two', 'three'].map((key) => uniqueName(key))
        const leases = await Promise.all(keys.map((key) => here.acquire(key)))
        const waiting = there.acquire(keys[0] as string)
        const own = here.acquire(keys[1] as string)
        await until(() => waitsFor(keys[0] as string))
        const startedMs = performance.now()
        expect(await Promise.all(leases.map((lease) => lease.release()))).toEqual([true, true, true])
        await (await own).release()
        await (await waiting).release()
        expect(performance.now() - startedMs, 'far less than the TTL of 30 s').toBeLessThan(15_000)
        const told = (what: string): number => warnings.filter((text) => text.includes(what)).length
        // Both released, and one waited.
        await until(() => told('publish releases') === 2 && told('listen for releases') === 1)
        for (let round = 0; round < 5; round++) {
          const again = await here.acquire(keys[2] as string)
          const next = there.acquire(keys[2] as string)
          await again.release()
          await (await next).release()
        }
        expect(warnings).toHaveLength(3)
      })

      it('tells a listener instead of warning, of each refusal once', async () => {
        const told: string[] = []
        const onBackgroundError = (error: unknown): void => void told.push((error as Error).message)
        const [quiet, loud] = [await as('~*', '+@all', 'resetchannels'), connect(server)]
        const [here, there] = [make(redisLock(quiet, { onBackgroundError })), make(redisLock(loud))]
        for (let round = 0; round < 3; round++) {
          const key = uniqueName('key')
          const lease = await there.acquire(key)
          const waiting = here.acquire(key)
          await until(() => told.some((text) => text.includes('listen for releases')))
          await lease.release()
          await (await waiting).release()
        }
        expect(told.filter((text) => text.includes('publish releases'))).toHaveLength(1)
        expect(warnings).toEqual([])
      })

      it('is granted to a waiter that polls because no connection is left to listen on', async () => {
        const [redis, other] = [connect(server), connect(server)]
        const [here, there] = [make(redisLock(redis)), make(redisLock(other))]
        const key = uniqueName('key')
        const lease = await there.acquire(key)
        await redis.ping()
        const [, most] = (await admin.config('GET', 'maxclients')) as [string, string]
        const info = await admin.info('clients')
        await admin.config('SET', 'maxclients', /connected_clients:(\d+)/.exec(info)?.[1] as string)
        try {
          const waiting = here.acquire(key)
          await until(() => warnings.some((text) => text.includes('listen for releases')))
          const releasedMs = performance.now()
          expect(await lease.release()).toBe(true)
          await (await waiting).release()
          expect(performance.now() - releasedMs, 'far less than the TTL of 30 s').toBeLessThan(15_000)
        } finally {
          await admin.config('SET', 'maxclients', most)
        }
      })

      it('keeps and releases what is held while Redis takes no more, and what is free is refused: not applied', async () => {
        const here = make(redisLock(connect(server)))
        const key = uniqueName('key')
        const lease = await here.acquire(key)
        await admin.config('SET', 'maxmemory', '1')
        const refused = await here.acquire(uniqueName('new')).catch((error: unknown) => error as Error)
        expect(refused).toMatchObject({ code: 'ERR_STORE_UNAVAILABLE', applied: 'no' })
        expect((refused as Error).message).toContain('OOM')
        expect(await lease.release()).toBe(true)
        await admin.config('SET', 'maxmemory', '0')
        await (await here.acquire(key)).release()
      })

      it('is renewed while Redis takes no more', async () => {
        const driver = redisLock(connect(server))
        const lock = make(driver)
        const commits: string[] = []
        const watched: LockDriver = {
          ...driver,
          async commit(commands, trip) {
            const replies = await driver.commit(commands, trip)
            replies.forEach((reply, i) =>
              commits.push(`${commands[i]?.verb} ${reply instanceof Error ? 'failed' : reply.ok}`),
            )
            return replies
          },
        }
        const short = closing(createLock(watched, { ttlMs: 9_000, ...patient }))
        const permits = closing(createSemaphore(watched, { permits: 3, ttlMs: 9_000, ...patient }))
        const leases = [await short.acquire(uniqueName('key')), await permits.acquire(uniqueName('key'))]
        await admin.config('SET', 'maxmemory', '1')
        commits.length = 0
        await until(() => commits.filter((commit) => commit === 'renew true').length >= 4)
        expect(commits).not.toContain('renew failed')
        expect(leases.map(({ signal }) => signal.aborted)).toEqual([false, false])
        await expect(lock.acquire(uniqueName('free'))).rejects.toMatchObject({ applied: 'no' })
        expect(await Promise.all(leases.map((lease) => lease.release()))).toEqual([true, true])
      })

      it.each(['hset', 'pexpire', 'pexpireat', 'zadd', 'hdel', 'set', 'incrby'])(
        'ends as one of: held or not applied, where its user may not %s, and leaves nothing for ever',
        async (command) => {
          const here = make(redisLock(await as('~*', '&*', '+@all', `-${command}`)))
          const key = uniqueName('key')
          const lease = await here.acquire(key).catch((error: unknown) => error as Error)
          if (lease instanceof Error) expect(lease).toMatchObject({ code: 'ERR_STORE_UNAVAILABLE', applied: 'no' })
          else {
            const released = await lease.release().catch((error: unknown) => error as Error)
            if (released instanceof Error) expect(released).toMatchObject({ applied: 'no' })
            else expect(released).toBe(true)
          }
          for (const name of await admin.keys(`*${key}*`)) {
            if (!/token/.test(name)) expect(await admin.pttl(name), name).toBeGreaterThan(0)
          }
        },
      )
    })

    it('works with the rights that the guide names', async () => {
      const rules = [
        ...['~app:*', '~redisson_lock_token:{app:*', '~redisson_unlock_latch:{app:*', '~spillway:*'],
        ...['&redisson_lock__channel:{app:*', '&spillway:*'],
        ...['-@all', '+@connection', '+evalsha', '+eval', '+info', '+cluster|slots', '+cluster|info'],
        ...[
          '+get',
          '+mget',
          '+set',
          '+del',
          '+exists',
          '+incrby',
          '+pttl',
          '+pexpire',
          '+pexpireat',
          '+hset',
          '+hget',
          '+hmget',
        ],
        ...['+hdel', '+hexists', '+hincrby', '+hrandfield', '+zadd', '+zrem', '+zrange', '+zrevrange'],
        ...['+zrangebyscore', '+time', '+publish', '+subscribe', '+unsubscribe', '+pubsub|numsub'],
      ]
      for (const [kind, make] of kinds) {
        const [here, there] = await Promise.all([as(...rules), as(...rules)])
        const [one, two] = [here, there].map((redis) => make(redisLock(redis, { prefix: 'app:' }))) as [
          ReturnType<typeof make>,
          ReturnType<typeof make>,
        ]
        const key = uniqueName('key')
        const lease = await one.acquire(key)
        const waiting = [two.acquire(key), one.acquire(key)]
        expect(await lease.release(), kind).toBe(true)
        await Promise.all(waiting.map(async (call) => (await call).release()))
      }
      expect(warnings).toEqual([])
    })
  },
  { private: true },
)
