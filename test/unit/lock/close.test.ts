import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import { describe, expect, it, onTestFinished } from 'vitest'
import { LockLostError, type LockHoldEvent } from '../../../src/index.js'
import { createLock } from '../../../src/lock/index.js'
import { settle, virtualClock } from '../../support/virtual-clock.js'
import { heldDriver } from './held-driver.js'

const key = 'sku-1'

const setUp = () => {
  const clock = virtualClock()
  const driver = heldDriver(clock)
  return { clock, driver, lock: createLock(driver, { clock, ttlMs: 3_000, timeoutMs: 500 }) }
}

describe('close', () => {
  it.each(['serving', 'failing', 'silent', 'unreachable'] as const)(
    'has told every holder when it returns its promise, also while the backend is %s',
    async (state) => {
      const { clock, driver, lock } = setUp()
      const outer = await lock.acquire(key)
      const leases = [outer, await lock.acquire(key, { reenter: outer }), await lock.acquire('another')]
      const signals = leases.map(({ signal }) => signal)
      driver.state = state
      driver.trips.length = 0
      const closed = lock.close()
      expect(signals.map(({ aborted }) => aborted)).toEqual([true, true, true])
      expect(driver.trips, 'nothing has been freed yet').toEqual([])
      for (const { reason } of signals) expect(reason).toBeInstanceOf(LockLostError)
      expect((signals[0]?.reason as Error).message).toContain('closed')
      await clock.advance(1_000)
      driver.letGo()
      await closed
      expect(driver.trips).toEqual(state === 'unreachable' ? [] : ['release release'])
      expect(await Promise.all(leases.map((lease) => lease.release()))).toEqual([false, false, false])
      expect(clock.pending).toBe(0)
    },
  )

  it('ends a hold whose renewal is under way, and the answer to that renews nothing', async () => {
    const { clock, driver, lock } = setUp()
    const { signal } = await lock.acquire(key)
    driver.state = 'silent'
    await clock.advance(1_000)
    expect(driver.trips).toEqual(['acquire', 'renew'])
    const closed = lock.close()
    expect(signal.aborted).toBe(true)
    driver.state = 'serving'
    driver.letGo()
    await closed
    await clock.advance(10_000)
    expect(driver.trips).toEqual(['acquire', 'renew', 'release'])
    expect(clock.pending).toBe(0)
  })

  it('tells the holder to whom the key was handed over last, and not the one before', async () => {
    const clock = virtualClock()
    const driver = heldDriver(clock)
    const lock = createLock(driver, { clock, localHandovers: 1 })
    const first = await lock.acquire(key)
    const waiting = lock.acquire(key)
    await settle()
    expect(await first.release()).toBe(true)
    const closed = lock.close()
    const second = await waiting
    expect([first.signal.aborted, second.signal.aborted]).toEqual([false, true])
    await closed
    expect(await first.release()).toBe(true)
  })

  it('leaves a release alone that was under way, and tells who listens of the holds that it ended', async () => {
    const events: string[] = []
    const note = (event: unknown): void => {
      const { key: name, outcome: what } = event as LockHoldEvent
      events.push(`${name} ${what}`)
    }
    subscribe('spillway:lock.hold', note)
    onTestFinished(() => void unsubscribe('spillway:lock.hold', note))
    const { lock } = setUp()
    const [released, held] = [await lock.acquire('released'), await lock.acquire('held')]
    const releasing = released.release()
    const closed = lock.close()
    expect(await releasing).toBe(true)
    await closed
    expect([released.signal.aborted, held.signal.aborted]).toEqual([false, true])
    expect(events).toEqual(['released granted', 'held granted', 'released released', 'held lost'])
  })
})
