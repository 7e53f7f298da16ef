import { AsyncLocalStorage } from 'node:async_hooks'
import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import { describe, expect, it, onTestFinished } from 'vitest'
import type { LockHoldEvent } from '../../../src/index.js'
import { createLock, createSemaphore, memoryLock, type LockDriver } from '../../../src/lock/index.js'
import { settle, virtualClock } from '../../support/virtual-clock.js'
import { heldDriver } from './held-driver.js'

const key = 'sku-1'
const requests = new AsyncLocalStorage<string>()

/** Notes in which context the backend is asked, and what is set up there: watches, and timers of the clock. */
const setUp = (localHandovers = 0) => {
  const clock = virtualClock()
  const contexts: (string | undefined)[] = []
  const below = heldDriver(clock, memoryLock({ clock }))
  const driver: LockDriver = {
    ...below,
    commit(commands, trip) {
      contexts.push(requests.getStore())
      return below.commit(commands, trip)
    },
    watch(claim, wake) {
      contexts.push(requests.getStore())
      return below.watch?.(claim, wake) ?? (() => undefined)
    },
  }
  const timed = {
    ...clock,
    after(delayMs: number, run: () => void) {
      return clock.after(delayMs, () => {
        contexts.push(requests.getStore())
        run()
      })
    },
  }
  return {
    clock,
    driver: below,
    contexts,
    lock: createLock(driver, { clock: timed, localHandovers }),
    over: driver,
    timed,
  }
}

describe('in an async context of its own', () => {
  it.each([0, 5])('each caller sees its own in its body and after it, with %i hand-overs', async (localHandovers) => {
    const { clock, contexts, lock } = setUp(localHandovers)
    const seen: unknown[] = []
    const callers = Array.from({ length: 12 }, (_, i) =>
      requests.run(`request ${i}`, async () => {
        await lock.run(key, async () => void seen.push([i, requests.getStore()]))
        seen.push([i, requests.getStore()])
      }),
    )
    let done = false
    const all = Promise.all(callers).then(() => (done = true))
    while (!done) await clock.advance(1)
    await all
    expect(seen).toHaveLength(24)
    for (const [i, store] of seen as [number, string][]) expect(store).toBe(`request ${i}`)
    expect(new Set(contexts), 'nothing that serves all of them runs in that of one').toEqual(new Set([undefined]))
  })

  it('a waiter is served in its own, and renewals are in none', async () => {
    const { clock, driver, contexts, lock, over, timed } = setUp()
    const elsewhere = createLock(over, { clock: timed })
    const lease = await requests.run('first', () => elsewhere.acquire(key, { ttlMs: 3_000 }))
    const waiting = requests.run('second', async () => {
      const got = await lock.acquire(key)
      return [got, requests.getStore()] as const
    })
    await clock.advance(10_000)
    expect(driver.trips.filter((trip) => trip === 'renew').length).toBeGreaterThan(5)
    await requests.run('releaser', () => lease.release())
    await settle()
    const [got, store] = await waiting
    expect(store).toBe('second')
    await got.release()
    expect(new Set(contexts)).toEqual(new Set([undefined]))
    await Promise.all([lock.close(), elsewhere.close()])
  })

  it.each(['of a loss', 'of a close'])('a listener of a signal hears %s in that of its holder', async (why) => {
    const { clock, driver, lock } = setUp()
    const heard: unknown[] = []
    for (const name of ['one', 'two']) {
      await requests.run(name, async () => {
        const { signal } = await lock.acquire(name, { ttlMs: 1_000 })
        signal.addEventListener('abort', () => heard.push(requests.getStore()))
      })
    }
    driver.state = 'failing'
    if (why === 'of a loss') await clock.advance(1_000)
    else await requests.run('closer', () => lock.close())
    expect(heard).toEqual(['one', 'two'])
  })

  it('an event is told in that of the call that it is about', async () => {
    const { clock, driver, over, timed } = setUp()
    const semaphore = createSemaphore(over, { permits: 1, clock: timed, localHandovers: 1, ttlMs: 1_000 })
    const told: string[] = []
    const note = (message: unknown): void => {
      const { outcome } = message as LockHoldEvent
      told.push(`${outcome} in ${requests.getStore()}`)
    }
    subscribe('spillway:lock.hold', note)
    onTestFinished(() => void unsubscribe('spillway:lock.hold', note))
    const leases = ['a', 'b', 'c'].map((name) => requests.run(name, () => semaphore.acquire(key)))
    const [first, second] = [await leases[0], leases[1]]
    await requests.run('one', () => first?.release())
    const next = await second
    await requests.run('two', () => next?.release())
    await leases[2]
    driver.state = 'failing'
    await clock.advance(1_000)
    expect(told).toEqual([
      'granted in a',
      'released in one',
      'granted in b',
      'released in two',
      'granted in c',
      'lost in c',
    ])
  })
})
