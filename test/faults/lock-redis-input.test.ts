import type { Redis } from 'ioredis'
import { beforeEach, describe, expect, it } from 'vitest'
import { LockLostError } from '../../src/index.js'
import {
  createLock,
  createReadWriteLock,
  createSemaphore,
  type Lease,
  type Lock,
  type LockOptions,
} from '../../src/lock/index.js'
import { redisLock } from '../../src/lock/redis/index.js'
import { describeWithServices, uniqueName } from '../services/vitest.js'
import { until } from '../support/until.js'
import { closing, connect, taken } from './lock-support.js'

const patient = { timeoutMs: 30_000 }
const untyped = (value: unknown): never => value as never

describeWithServices(
  'what a lock on Redis refuses',
  ['redis'],
  ({ redis: server }) => {
    let redis: Redis
    beforeEach(async () => {
      redis = connect(server)
      await redis.flushall()
    })

    type Options = [options: LockOptions, kind: ErrorConstructor]
    const options: Options[] = [
      ...[0, -1, 0.5, NaN, Infinity, -Infinity, 2 ** 53].map((ttlMs): Options => [{ ttlMs }, RangeError]),
      ...['1000', {}, 5n].map((ttlMs): Options => [{ ttlMs: untyped(ttlMs) }, TypeError]),
      ...[0, -1, NaN].map((timeoutMs): Options => [{ timeoutMs }, RangeError]),
      ...[-1, 1.5, NaN, Infinity, 2 ** 20].map((localHandovers): Options => [{ localHandovers }, RangeError]),
      [{ timeoutMs: untyped('1000') }, TypeError],
      [{ localHandovers: untyped('1') }, TypeError],
    ]
    it.each(options)('the options %o', (wrong, kind) => {
      expect(() => createLock(redisLock(redis), wrong)).toThrow(kind)
    })

    type Call = [what: string, call: (lock: Lock) => Promise<unknown>, kind: ErrorConstructor]
    const badKey = (what: string, key: unknown, kind: ErrorConstructor): Call => [
      `the key ${what}`,
      (lock) => lock.acquire(untyped(key)),
      kind,
    ]
    const calls: Call[] = [
      badKey('that is empty', '', RangeError),
      badKey('that is too long', 'x'.repeat(8_193), RangeError),
      ...['\ud800', 'a\ud800b', '\udc00'].map((key) => badKey(JSON.stringify(key), key, RangeError)),
      ...[undefined, null, 7].map((key) => badKey(String(key), key, TypeError)),
      badKey('in an array', ['a'], TypeError),
      badKey('as bytes', Buffer.from('a'), TypeError),
      ...[0, -5, 0.5, NaN, Infinity].map((ttlMs): Call => [
        `a TTL of ${ttlMs}`,
        (lock) => lock.tryAcquire('key', { ttlMs }),
        RangeError,
      ]),
      ['a TTL of "5"', (lock) => lock.acquire('key', { ttlMs: untyped('5') }), TypeError],
      ...[-1, NaN, -Infinity].map((maxWaitMs): Call => [
        `a wait of ${maxWaitMs}`,
        (lock) => lock.acquire('key', { maxWaitMs }),
        RangeError,
      ]),
      ['a wait of "5"', (lock) => lock.acquire('key', { maxWaitMs: untyped('5') }), TypeError],
    ]
    it.each(calls)('%s', async (_, call, kind) => {
      const lock = closing(createLock(redisLock(redis), patient))
      const error = await call(lock).catch((why: unknown) => why)
      expect(error).toBeInstanceOf(kind)
      expect((error as Error).message).toMatch(/^(key|ttlMs|maxWaitMs) must /)
      expect(await redis.dbsize()).toBe(0)
    })

    it('takes the longest key and the longest TTL that it accepts', async () => {
      const lock = closing(createLock(redisLock(redis), patient))
      for (const name of ['x'.repeat(8_192), '\u{1f510}'.repeat(2_048), '\0', '日本', '}{', 'a{b}c', '{}']) {
        const lease = await lock.acquire(name, { ttlMs: 2 ** 51 })
        expect(await redis.pttl(name)).toBeGreaterThan(2 ** 50)
        expect(await lease.release()).toBe(true)
      }
      const semaphore = closing(createSemaphore(redisLock(redis), { permits: 2, ...patient }))
      const permit = await semaphore.acquire('}{', { ttlMs: 2 ** 51 })
      await (await semaphore.acquire('}{', { ttlMs: 1_000 })).release()
      expect(await permit.release()).toBe(true)
    })
  },
  { private: true },
)

describeWithServices('a lock on Redis', ['redis'], ({ redis: server }) => {
  it('fails alone where its key holds something else', async () => {
    const redis = connect(server)
    const lock = closing(createLock(redisLock(redis), patient))
    const [string, list, counted] = [uniqueName('string'), uniqueName('list'), uniqueName('counted')]
    await redis.set(string, 'not a lock')
    await redis.rpush(list, 'not a lock')
    await redis.set(`redisson_lock_token:{${counted}}`, 'no number')
    const calls = [string, list, counted, uniqueName('free')].map((key) => lock.acquire(key))
    const outcomes = await Promise.allSettled(calls)
    const wrong = { code: 'ERR_STORE_UNAVAILABLE', applied: 'no' }
    expect(outcomes.map(({ status }) => status)).toEqual(['rejected', 'rejected', 'rejected', 'fulfilled'])
    for (const key of [string, list, counted]) {
      const error = await lock.tryAcquire(key).catch((why: unknown) => why as Error)
      expect(error).toMatchObject(wrong)
      expect((error as Error).message).toContain(key)
      expect((error as Error).message).toMatch(/WRONGTYPE|not an integer/)
    }
    expect(await redis.exists(counted)).toBe(0)
    expect(await redis.get(string)).toBe('not a lock')
  })

  it.each(['permits', 'until', 'token'])(
    'shares permits of other keys while the %s of one is something else',
    async (part) => {
      const redis = connect(server)
      const semaphore = closing(createSemaphore(redisLock(redis), { permits: 2, ...patient }))
      const [broken, free] = [uniqueName('broken'), uniqueName('free')]
      await redis.rpush(`spillway:semaphore:{${broken}}:${part}`, 'no')
      const outcomes = await Promise.allSettled([broken, free].map((key) => semaphore.acquire(key)))
      expect(outcomes[0]).toMatchObject({ status: 'rejected', reason: { applied: 'no' } })
      expect(outcomes[1]).toMatchObject({ status: 'fulfilled' })
      await redis.del(`spillway:semaphore:{${broken}}:${part}`)
      await (await semaphore.acquire(broken, { permits: 2 })).release()
    },
  )

  it('loses a hold whose key somebody deletes or overwrites, without an error, and frees nothing', async () => {
    const redis = connect(server)
    const lock = closing(createLock(redisLock(redis), { ttlMs: 3_000, ...patient }))
    const keys = [uniqueName('deleted'), uniqueName('overwritten'), uniqueName('released')] as const
    const [deleted, overwritten, released] = await Promise.all(keys.map((key) => lock.acquire(key)))
    await redis.del(keys[0])
    await redis.set(keys[1], 'something else')
    await redis.set(keys[2], 'something else')
    expect(await released?.release()).toBe(false)
    await until(() => deleted?.signal.aborted && overwritten?.signal.aborted)
    expect(deleted?.signal.reason).toBeInstanceOf(LockLostError)
    expect(await redis.mget(keys[1], keys[2])).toEqual(['something else', 'something else'])
  })

  it.each([
    ['without a TTL', {}],
    ['with a TTL', { ttlMs: 60_000 }],
  ])('says at once that its key is a hash of somebody else %s', async (_, { ttlMs }: { ttlMs?: number }) => {
    const redis = connect(server)
    const lock = closing(createLock(redisLock(redis), patient))
    const key = uniqueName('user')
    const user = { name: 'Ada', age: '36' }
    await redis.hset(key, user)
    if (ttlMs) await redis.pexpire(key, ttlMs)
    const calls = [
      () => lock.acquire(key),
      () => lock.tryAcquire(key),
      () => lock.acquire(key, { maxWaitMs: 0 }),
      () => lock.acquire(key, { maxWaitMs: 60_000 }),
    ]
    for (const call of calls) {
      const error = await call().catch((why: unknown) => why as Error)
      expect(error).toMatchObject({ code: 'ERR_STORE_UNAVAILABLE', applied: 'no' })
      expect((error as Error).message).toMatch(/hash that is not a lock.*prefix/)
    }
    expect(await redis.hgetall(key)).toEqual(user)
    const prefixed = closing(createLock(redisLock(redis, { prefix: 'lock:' }), patient))
    const lease = await prefixed.acquire(key)
    expect(await redis.hlen(`lock:${key}`)).toBe(1)
    expect(await lease.release()).toBe(true)
  })

  it('leaves what somebody else wrote to the key of a held lock, and says so to the next', async () => {
    const redis = connect(server)
    const lock = closing(createLock(redisLock(redis), patient))
    const key = uniqueName('shared')
    const lease = await lock.acquire(key)
    await redis.hset(key, 'name', 'Ada')
    expect(await lease.release()).toBe(true)
    expect(await redis.hgetall(key)).toEqual({ name: 'Ada' })
    const error = await lock.acquire(key).catch((why: unknown) => why as Error)
    expect((error as Error).message).toMatch(/hash that is not a lock/)
  })

  it('waits for a read-write lock of Redisson at its key', async () => {
    const redis = connect(server)
    const lock = closing(createLock(redisLock(redis), patient))
    const key = uniqueName('jvm')
    const id = '285475da-9152-4c83-822a-67ee2f116a79:52'
    for (const fields of [
      { mode: 'read', [id]: '1' },
      { mode: 'write', [`${id}:write`]: '2' },
    ]) {
      await redis.hset(key, fields)
      await redis.pexpire(key, 30_000)
      for (let round = 0; round < 20; round++) expect(await lock.tryAcquire(key)).toBeNull()
      await redis.del(key)
    }
  })

  describe.each(['latch', 'token', 'waiting'])('beside whose key somebody wrote to the %s', (part) => {
    it.each(['list', 'text'])('a %s: other keys of the trip are unharmed, and what is freed is free', async (kind) => {
      const redis = connect(server)
      let front = ''
      const driver = redisLock(redis)
      const seeing: typeof driver = {
        ...driver,
        commit(commands, trip) {
          front = commands[0]?.claim.front ?? ''
          return driver.commit(commands, trip)
        },
      }
      const lock = closing(createLock(seeing, patient))
      const [broken, free] = [uniqueName('broken'), uniqueName('free')]
      const [held, other] = await Promise.all([broken, free].map((key) => lock.acquire(key)))
      const name = {
        latch: `redisson_unlock_latch:{${broken}}:${front.slice(0, 8)}`,
        token: `redisson_lock_token:{${broken}}`,
        waiting: `spillway:waiting:{${broken}}`,
      }[part] as string
      if (kind === 'list') {
        await redis.del(name)
        await redis.rpush(name, 'not ours')
      } else await redis.set(name, 'not ours')
      // Another caller waits, so that the release tries for it in the same step.
      const next = lock.acquire(broken).catch((why: unknown) => why as Error)
      expect(await Promise.all([held as Lease, other as Lease].map((lease) => lease.release()))).toEqual([true, true])
      const after = await next
      if (after instanceof Error) expect(after).toMatchObject({ applied: 'no' })
      else expect(await after.release()).toBe(true)
      expect(await redis.exists(broken)).toBe(0)
      await (await taken(lock.tryAcquire(free))).release()
    })
  })

  it.each(['used', 'wanted', 'wantedUntil', 'waiting', 'waitingUntil'])(
    'shares permits though somebody wrote no number to the field %s, and harms no other key',
    async (field) => {
      const redis = connect(server)
      const semaphore = closing(createSemaphore(redisLock(redis), { permits: 2, ...patient }))
      const [broken, free] = [uniqueName('broken'), uniqueName('free')]
      const held = await semaphore.acquire(broken)
      await redis.hset(`spillway:semaphore:{${broken}}:permits`, field, 'no number')
      const [second, other] = await Promise.all([broken, free].map((key) => semaphore.acquire(key)))
      expect(await Promise.all([held, second as Lease, other as Lease].map((lease) => lease.release()))).toEqual([
        true,
        true,
        true,
      ])
      await (await semaphore.acquire(broken, { permits: 2 })).release()
    },
  )

  it('works with a client that hands numbers out as strings', async () => {
    const here = closing(createLock(redisLock(connect(server, { stringNumbers: true })), patient))
    const there = closing(createLock(redisLock(connect(server)), patient))
    const key = uniqueName('key')
    const lease = await here.acquire(key, { ttlMs: 15_000 })
    expect(await here.tryAcquire(key)).toBeNull()
    const waiting = there.acquire(key)
    expect(lease.fencingToken).toBe(1n)
    expect(await lease.release()).toBe(true)
    const theirs = await waiting
    const again = here.acquire(key)
    await theirs.release()
    await (await again).release()
    const rw = closing(createReadWriteLock(redisLock(connect(server, { stringNumbers: true })), patient))
    const writer = await taken(rw.write.tryAcquire(key))
    expect(await rw.read.tryAcquire(key)).toBeNull()
    expect(await writer.release()).toBe(true)
  })
})
