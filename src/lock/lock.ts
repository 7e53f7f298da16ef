import { positiveInteger, shown } from '../core/check.js'
import { checkedDriver, knownLockOptions, knownSemaphoreOptions, permitsOf, sharing } from './check.js'
import type { LockDriver } from './driver.js'
import { createFront, type Front } from './front.js'
import { HeldLease } from './lease.js'
import type { Lock, LockOptions, ReadWriteLock, Semaphore, SemaphoreOptions } from './types.js'

/** More readers than a process can have; all of them are a writer's. */
const everyReader = 2 ** 31

/** A lock that takes so many permits at a time. */
function lockOver(front: Front, permits: number): Lock {
  const lock: Omit<Lock, typeof Symbol.asyncDispose> = {
    tryAcquire: (key, options) => front.tryAcquire(key, permits, options),
    acquire: (key, options) => front.acquire(key, permits, options),
    async run(key, body, options) {
      if (typeof body !== 'function') throw new TypeError(`run: body must be a function, got ${shown(body)}`)
      const lease = await front.acquire(key, permits, options, 'run')
      try {
        HeldLease.assertHeld(lease)
        return await body(lease)
      } finally {
        await lease[Symbol.asyncDispose]()
      }
    },
    close: () => front.close(),
  }
  return { ...lock, [Symbol.asyncDispose]: () => front.close() }
}

/**
 * Mutual exclusion over `driver`: `memoryLock()` within a process, `redisLock`, `redlockLock` or `zookeeperLock` among
 * many. Does no I/O by itself.
 *
 * @throws TypeError for what is no lock driver and for options that are not known, TypeError or RangeError for values that
 * make no sense.
 */
export function createLock(driver: LockDriver, options?: LockOptions): Lock {
  checkedDriver('createLock', driver)
  return lockOver(createFront(driver, 'mutex', 1, knownLockOptions('createLock', options)), 1)
}

/**
 * Many readers or one writer. On Redis a writer that waits keeps new readers of other processes away as well; on ZooKeeper
 * readers and writers are served in the order in which they came.
 *
 * @throws TypeError for a driver that cannot share (Redlock).
 */
export function createReadWriteLock(driver: LockDriver, options?: LockOptions): ReadWriteLock {
  checkedDriver('createReadWriteLock', driver)
  sharing(driver, 'A read-write lock')
  const known = knownLockOptions('createReadWriteLock', options)
  const front = createFront(driver, 'read-write', everyReader, known)
  const close = (): Promise<void> => front.close()
  return { read: lockOver(front, 1), write: lockOver(front, everyReader), close, [Symbol.asyncDispose]: close }
}

/**
 * At most `permits` permits of a key are held at any time.
 *
 * @throws TypeError for a driver that cannot share (Redlock), RangeError for permits that are no positive integer.
 */
export function createSemaphore(driver: LockDriver, options: SemaphoreOptions): Semaphore {
  checkedDriver('createSemaphore', driver)
  sharing(driver, 'A semaphore')
  const known = knownSemaphoreOptions(options)
  const of = positiveInteger('permits', known.permits)
  const front = createFront(driver, 'semaphore', of, known)
  const close = (): Promise<void> => front.close()
  return {
    tryAcquire: async (key, options) => front.tryAcquire(key, permitsOf(options?.permits, of), options),
    acquire: async (key, options) => front.acquire(key, permitsOf(options?.permits, of), options),
    close,
    [Symbol.asyncDispose]: close,
  }
}
