import assert from 'node:assert/strict'
import { sleep, type Clock } from '../core/clock.js'
import { WaitTimeoutError } from '../core/errors.js'
import type { LockDriver } from './driver.js'
import { createReadWriteLock, createSemaphore } from './lock.js'
import type { Lease, Lock, LockOptions } from './types.js'

/** What a case of the suites works with. */
export interface LockBench {
  readonly lock: Lock
  /** A second lock object over the same keys: another process. */
  readonly elsewhere: Lock
  readonly driver: LockDriver
  readonly another: (options?: LockOptions) => Lock
  readonly advance: (ms: number) => Promise<void>
  readonly clock: Clock
  readonly heldMs: (ttlMs: number) => number
}

/** Awaits an outcome while time passes, for outcomes that a poll or a TTL brings about. */
export async function meanwhile<T>(bench: LockBench, work: Promise<T>, stepMs = 100): Promise<T> {
  let pending = true
  const done = work.finally(() => (pending = false))
  done.catch(() => undefined)
  while (pending) {
    await bench.advance(stepMs)
    await new Promise<void>((resolve) => void sleep(0).then(resolve))
  }
  return done
}

const key = 'order 7'

async function held(lease: Promise<Lease | null>): Promise<Lease> {
  const got = await lease
  assert.ok(got, 'permits were to be free')
  return got
}

/** The part of the suite for permits: a driver that cannot share is refused, and that is all. */
export function sharedContract(check: (name: string, body: (bench: LockBench) => Promise<void>) => void): void {
  const shared = (name: string, body: (bench: LockBench) => Promise<void>): void =>
    check(name, async (bench) => {
      if (bench.driver.shares) return body(bench)
      assert.throws(() => createSemaphore(bench.driver, { permits: 2 }), TypeError)
      assert.throws(() => createReadWriteLock(bench.driver), TypeError)
    })
  const options = ({ clock }: LockBench) => ({ timeoutMs: 30_000, clock })

  shared('grants permits while there are some, to several processes', async (bench) => {
    await using here = createSemaphore(bench.driver, { permits: 3, ...options(bench) })
    await using there = createSemaphore(bench.driver, { permits: 3, ...options(bench) })
    const two = await held(here.tryAcquire(key, { permits: 2 }))
    const one = await held(there.tryAcquire(key))
    assert.equal(await there.tryAcquire(key), null)
    await assert.rejects(here.acquire(key, { permits: 4 }), RangeError)
    await assert.rejects(here.acquire(key, { permits: 0 }), RangeError)
    await assert.rejects(here.acquire(key, { permits: 1.5 }), RangeError)
    assert.equal(await two.release(), true)
    assert.equal(await there.tryAcquire(key, { permits: 3 }), null)
    const rest = await held(there.tryAcquire(key, { permits: 2 }))
    assert.deepEqual(await Promise.all([one.release(), rest.release()]), [true, true])
    await using _all = await held(here.tryAcquire(key, { permits: 3 }))
  })

  shared('never grants more permits than there are, and serves everybody', async (bench) => {
    const semaphores = [0, 1].map(() => createSemaphore(bench.driver, { permits: 4, ...options(bench) }))
    let used = 0
    let most = 0
    const work = semaphores.flatMap((semaphore) =>
      [1, 2, 3, 4, 1, 2].map(async (permits) => {
        for (let turn = 0; turn < 3; turn++) {
          const lease = await semaphore.acquire(key, { permits })
          used += permits
          most = Math.max(most, used)
          await sleep(1)
          used -= permits
          await lease.release()
        }
      }),
    )
    let pending = true
    const all = Promise.all(work).finally(() => (pending = false))
    while (pending) {
      await bench.advance(50)
      await sleep(0)
    }
    await all
    assert.ok(most <= 4 && most > 1, `${most} at once`)
    await Promise.all(semaphores.map((semaphore) => semaphore.close()))
  })

  shared('lets readers in together and writers alone', async (bench) => {
    await using here = createReadWriteLock(bench.driver, options(bench))
    await using there = createReadWriteLock(bench.driver, options(bench))
    const readers = [await held(here.read.tryAcquire(key)), await held(there.read.tryAcquire(key))]
    assert.equal(await here.write.tryAcquire(key), null)
    assert.equal(await there.write.tryAcquire(key), null)
    await assert.rejects(here.write.acquire(key, { reenter: readers[0] as Lease }), RangeError)
    for (const reader of readers) assert.equal(await reader.release(), true)
    const writer = await held(here.write.tryAcquire(key))
    assert.equal(await there.read.tryAcquire(key), null)
    assert.equal(await there.write.tryAcquire(key), null)
    const inner = await held(here.read.tryAcquire(key, { reenter: writer }))
    assert.equal(await writer.release(), true)
    assert.equal(await there.read.tryAcquire(key), null)
    assert.equal(await inner.release(), true)
    await using _reader = await held(there.read.tryAcquire(key))
  })

  shared('lets a writer have its turn though readers of other processes keep coming', async (bench) => {
    await using here = createReadWriteLock(bench.driver, options(bench))
    await using there = createReadWriteLock(bench.driver, options(bench))
    let done = false
    let reading = 0
    let rounds = 0
    const readers = [0, 1, 2].map(async (place) => {
      await sleep(place * 3)
      while (!done && rounds < 3_000) {
        const lease = await there.read.acquire(key)
        reading++
        rounds++
        await sleep(5)
        reading--
        await lease.release()
      }
    })
    while (reading < 2) await sleep(1)
    const writing = here.write.acquire(key).then(async (lease) => {
      assert.equal(reading, 0)
      done = true
      await lease.release()
    })
    let pending = true
    const all = Promise.all([writing, ...readers]).finally(() => (pending = false))
    while (pending) {
      await bench.advance(10)
      await sleep(1)
    }
    await all
    assert.ok(rounds < 3_000, 'the writer was not to wait for the readers to tire')
  })

  shared('serves readers at once when the writer before them has left', async (bench) => {
    await using here = createReadWriteLock(bench.driver, options(bench))
    await using _reader = await held(here.read.tryAcquire(key))
    const writing = here.write.acquire(key, { maxWaitMs: 200 })
    const reading = here.read.acquire(key, { maxWaitMs: 60_000 })
    await assert.rejects(meanwhile(bench, writing), WaitTimeoutError)
    await using _another = await meanwhile(bench, reading)
  })

  shared('serves who wants few permits when the caller before it, who wants many, has left', async (bench) => {
    await using here = createSemaphore(bench.driver, { permits: 10, ...options(bench) })
    await using _six = await held(here.tryAcquire(key, { permits: 6 }))
    const controller = new AbortController()
    const many = here.acquire(key, { permits: 8, signal: controller.signal })
    const few = here.acquire(key, { permits: 2, maxWaitMs: 60_000 })
    await bench.advance(100)
    controller.abort(new Error('gone'))
    await assert.rejects(many, /gone/)
    await using _two = await meanwhile(bench, few)
  })

  shared('serves who wants few permits when the caller before it was handed a hold', async (bench) => {
    await using here = createSemaphore(bench.driver, { permits: 10, localHandovers: 5, ...options(bench) })
    const six = await held(here.tryAcquire(key, { permits: 6 }))
    const many = here.acquire(key, { permits: 6, maxWaitMs: 60_000 })
    const few = here.acquire(key, { permits: 2, maxWaitMs: 60_000 })
    await six.release()
    await using _six = await meanwhile(bench, many)
    await using _two = await meanwhile(bench, few)
  })

  shared('keeps the kinds apart: one name for a lock, a read-write lock and a semaphore', async (bench) => {
    await using rw = createReadWriteLock(bench.driver, options(bench))
    await using semaphore = createSemaphore(bench.driver, { permits: 1, ...options(bench) })
    const leases = [
      await held(bench.lock.tryAcquire(key)),
      await held(rw.write.tryAcquire(key)),
      await held(semaphore.tryAcquire(key)),
    ]
    for (const lease of leases) assert.equal(await lease.release(), true)
  })
}
