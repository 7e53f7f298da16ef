import assert from 'node:assert/strict'
import { sleep } from '../core/clock.js'
import { LockLostError } from '../core/errors.js'
import { meanwhile, type LockBench } from './contract-shared.js'
import type { LockDriver } from './driver.js'
import { createLock, createReadWriteLock, createSemaphore } from './lock.js'
import type { Lease } from './types.js'

const key = 'order 7'

/** What is held when it is closed: how it is made over a driver, acquired, and acquired whole by somebody else. */
interface Closable extends AsyncDisposable {
  acquire(): Promise<Lease[]>
  acquireAll(): Promise<Lease>
  close(): Promise<void>
}

/** Notes, at each release that goes to the backend, whether every signal that it frees had aborted. */
function noting(driver: LockDriver, signals: readonly AbortSignal[]): { driver: LockDriver; told: boolean[] } {
  const told: boolean[] = []
  const noted = Object.create(driver) as { commit: LockDriver['commit'] } & LockDriver
  noted.commit = (commands, trip) => {
    for (const { verb } of commands) if (verb === 'release') told.push(signals.every(({ aborted }) => aborted))
    return driver.commit(commands, trip)
  }
  return { driver: noted, told }
}

const only = async (lease: Promise<Lease>): Promise<Lease[]> => [await lease]

function closables({ clock, driver }: LockBench): [what: string, make: (over: LockDriver) => Closable][] {
  const options = { timeoutMs: 30_000, clock }
  const locked = (over: LockDriver, acquire: (lock: ReturnType<typeof createLock>) => Promise<Lease[]>): Closable => {
    const lock = createLock(over, { ...options, localHandovers: 3 })
    const close = (): Promise<void> => lock.close()
    const acquireAll = (): Promise<Lease> => lock.acquire(key)
    return { acquire: () => acquire(lock), acquireAll, close, [Symbol.asyncDispose]: close }
  }
  const permitted = (over: LockDriver): Closable => {
    const semaphore = createSemaphore(over, { permits: 3, ...options })
    const close = (): Promise<void> => semaphore.close()
    return {
      acquire: async () => [await semaphore.acquire(key), await semaphore.acquire(key, { permits: 2 })],
      acquireAll: () => semaphore.acquire(key, { permits: 3 }),
      close,
      [Symbol.asyncDispose]: close,
    }
  }
  const shared = (over: LockDriver, side: 'read' | 'write'): Closable => {
    const lock = createReadWriteLock(over, options)
    const close = (): Promise<void> => lock.close()
    const acquireAll = (): Promise<Lease> => lock.write.acquire(key)
    return { acquire: () => only(lock[side].acquire(key)), acquireAll, close, [Symbol.asyncDispose]: close }
  }
  const exclusive: [string, (over: LockDriver) => Closable][] = [
    ['a lease', (over) => locked(over, (lock) => only(lock.acquire(key)))],
    [
      'a lease and one that re-enters it',
      (over) =>
        locked(over, async (lock) => {
          const outer = await lock.acquire(key)
          return [outer, await lock.acquire(key, { reenter: outer })]
        }),
    ],
    [
      'a lease that was handed over inside the process',
      (over) =>
        locked(over, async (lock) => {
          const [first, second] = [lock.acquire(key), lock.acquire(key)]
          await (await first).release()
          return [await second]
        }),
    ],
  ]
  if (!driver.shares) return exclusive
  return [
    ...exclusive,
    ['permits', permitted],
    ['a reader', (over) => shared(over, 'read')],
    ['a writer', (over) => shared(over, 'write')],
  ]
}

/** The part of the suite for `close`: nobody may believe that he holds what it has freed. */
export function closeContract(check: (name: string, body: (bench: LockBench) => Promise<void>) => void): void {
  check('tells every holder before it frees the key, when it is closed', async (bench) => {
    for (const [what, make] of closables(bench)) {
      const signals: AbortSignal[] = []
      const { driver, told } = noting(bench.driver, signals)
      await using closing = make(driver)
      await using elsewhere = make(bench.driver)
      const leases = await closing.acquire()
      signals.push(...leases.map(({ signal }) => signal))
      told.length = 0
      const next = elsewhere.acquireAll().then((lease) => {
        assert.ok(
          signals.every(({ aborted }) => aborted),
          `${what}: two holders by their own signals`,
        )
        return lease
      })
      await bench.advance(50)
      const closed = closing.close()
      assert.ok(told.length === 0 || told.every(Boolean))
      await meanwhile(bench, closed)
      await (await meanwhile(bench, next)).release()
      assert.ok(told.length > 0 && told.every(Boolean), `${what}: ${told.join()}`)
      for (const lease of leases) {
        assert.ok(lease.signal.reason instanceof LockLostError, what)
        assert.match(lease.signal.reason.message, /closed/)
        assert.equal(await lease.release(), false, what)
      }
    }
  })

  check(
    'tells the bodies that run, when it is closed, and calls that their listeners make are turned away',
    async (bench) => {
      const { lock, elsewhere } = bench
      const events: string[] = []
      const nested: Promise<unknown>[] = []
      const body = async ({ signal }: Lease): Promise<string> => {
        signal.addEventListener('abort', () => {
          events.push('told')
          nested.push(
            lock.acquire('another key').catch((error: { code: string }) => error.code),
            lock.close(),
          )
        })
        events.push('begun')
        while (!signal.aborted) await sleep(1)
        return 'value'
      }
      const running = lock.run(key, body)
      while (events.length === 0) await sleep(1)
      const next = elsewhere.run(key, async () => void events.push('next'))
      await bench.advance(50)
      await meanwhile(bench, lock.close())
      await meanwhile(bench, next)
      assert.deepEqual(events, ['begun', 'told', 'next'])
      assert.equal(await running, 'value')
      assert.deepEqual(await Promise.all(nested), ['ERR_CLOSED', undefined])
    },
  )
}
