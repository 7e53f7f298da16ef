import { expect, expectTypeOf, it } from 'vitest'
import {
  createLock,
  createReadWriteLock,
  createSemaphore,
  memoryLock,
  type Lease,
  type Lock,
} from '../../src/lock/index.js'
import { redisLock } from '../../src/lock/redis/index.js'
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
