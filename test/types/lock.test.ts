import { expect, expectTypeOf, it } from 'vitest'
import {
  createLock,
  createReadWriteLock,
  createSemaphore,
  memoryLock,
  type Lease,
  type Lock,
} from '../../src/lock/index.js'
import { redisLock, type RedisLockOptions } from '../../src/lock/redis/index.js'
import { offlineClients } from '../support/redis-clients.js'

it('takes the clients of ioredis 5 and 6 and of iovalkey', () => {
  const clients = offlineClients()
  const drivers = [
    redisLock(clients[0]),
    redisLock(clients[1]),
    redisLock(clients[2]),
    redisLock(clients[3]),
    redisLock(clients[4]),
    redisLock(clients[5]),
  ]
  expect(drivers).toHaveLength(6)
  clients.forEach((client) => client.disconnect())
})

it('types what is held', async () => {
  const lock = createLock(memoryLock())
  expectTypeOf(lock).toExtend<AsyncDisposable>()
  expectTypeOf(lock.tryAcquire('other')).resolves.toEqualTypeOf<Lease | null>()
  expectTypeOf(lock.run('key', async () => 7)).resolves.toEqualTypeOf<number>()
  expectTypeOf<Lease['fencingToken']>().toEqualTypeOf<bigint | undefined>()
  expectTypeOf(createReadWriteLock(memoryLock()).read).toEqualTypeOf<Lock>()
  const semaphore = createSemaphore(memoryLock(), { permits: 2 })
  await using lease = await semaphore.acquire('key', { permits: 2, maxWaitMs: 10 })
  expect(lease.fencingToken).toBe(1n)
  // @ts-expect-error -- a semaphore has permits
  expect(() => createSemaphore(memoryLock(), {})).toThrow(TypeError)
})

it('takes options that are undefined as absent ones', async () => {
  const maybeSignal = undefined as AbortSignal | undefined
  const maybe = undefined as number | undefined
  const lock = createLock(memoryLock({ clock: undefined }), { name: undefined, ttlMs: maybe, timeoutMs: maybe })
  await using lease = await lock.acquire('a', { signal: maybeSignal, ttlMs: undefined, maxWaitMs: maybe })
  await using inner = await lock.acquire('a', { reenter: lease, renew: undefined })
  expect(inner.fencingToken).toBe(1n)
  const semaphore = createSemaphore(memoryLock(), { permits: 1, clock: undefined, localHandovers: undefined })
  await using permit = await semaphore.tryAcquire('a', { permits: maybe })
  expect(permit?.key).toBe('a')
})

it('takes a body that is synchronous, or at times', async () => {
  const lock = createLock(memoryLock())
  expectTypeOf(lock.run('a', () => 7)).resolves.toEqualTypeOf<number>()
  const either = (lease: Lease): Promise<string> | string => (lease.signal.aborted ? Promise.resolve('a') : 'b')
  expectTypeOf(lock.run('b', either)).resolves.toEqualTypeOf<string>()
  expectTypeOf(lock.run('c', () => undefined)).resolves.toEqualTypeOf<undefined>()
  const onBackgroundError = (error: unknown): void => void error
  expectTypeOf(onBackgroundError).toExtend<NonNullable<RedisLockOptions['onBackgroundError']>>()
  expect(await lock.run('d', () => 7)).toBe(7)
})

it('knows no other options', () => {
  const never = (lock: Lock): void => {
    // @ts-expect-error -- maxWaitMs
    void lock.acquire('a', { maxWait: 300 })
    // @ts-expect-error -- a try does not wait
    void lock.tryAcquire('a', { maxWaitMs: 300 })
    // @ts-expect-error -- ttlMs
    createLock(memoryLock(), { ttl: 5 })
  }
  expectTypeOf(never).toBeFunction()
})
