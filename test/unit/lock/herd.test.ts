import { describe, expect, it, onTestFinished } from 'vitest'
import {
  createLock,
  createReadWriteLock,
  createSemaphore,
  memoryLock,
  type HoldOptions,
  type Lease,
  type WaitOptions,
} from '../../../src/lock/index.js'
import { virtualClock } from '../../support/virtual-clock.js'
import { heldDriver } from './held-driver.js'

const many = 20_000
type Held = readonly (Lease | null)[]

interface Herd {
  tryAcquire(key: string, options?: HoldOptions): Promise<Lease | null>
  acquire(key: string, options?: HoldOptions & WaitOptions): Promise<Lease>
  close(): Promise<void>
}

/** All kinds, and how many may hold one key at once. */
const kinds: [
  kind: string,
  make: (driver: ReturnType<typeof heldDriver>, clock: ReturnType<typeof virtualClock>) => Herd,
  of: number,
][] = [
  ['a lock', (driver, clock) => createLock(driver, { clock }), 1],
  ['a semaphore', (driver, clock) => createSemaphore(driver, { clock, permits: many }), many],
  ['readers', (driver, clock) => readers(driver, clock), many],
]

function readers(driver: ReturnType<typeof heldDriver>, clock: ReturnType<typeof virtualClock>): Herd {
  const lock = createReadWriteLock(driver, { clock })
  return { ...lock.read, close: () => lock.close() }
}

type Make = (typeof kinds)[0][1]

const all = <T>(call: (i: number) => Promise<T>): Promise<T[]> =>
  Promise.all(Array.from({ length: many }, (_, i) => call(i)))

const setUpWith = (make: Make) => {
  const clock = virtualClock()
  const driver = heldDriver(clock, memoryLock({ clock }))
  const herd = make(driver, clock)
  onTestFinished(() => herd.close())
  return { clock, driver, herd }
}
type Bench = ReturnType<typeof setUpWith>

describe.each(kinds)(`${many} calls of %s`, (_, make, of) => {
  const setUp = (): Bench => setUpWith(make)
  const release = async (leases: Held): Promise<void> => {
    const held = leases.filter((lease) => lease !== null)
    expect((await Promise.all(held.map((lease) => lease.release()))).every(Boolean)).toBe(true)
  }

  it.each(of === 1 ? (['tryAcquire', 'acquire'] as const) : (['tryAcquire'] as const))(
    'over as many keys share trips: %s and release',
    async (verb) => {
      const { driver, herd } = setUp()
      const leases: Held = await all((i) => herd[verb](`key ${i}`))
      expect(driver.trips.length).toBeLessThanOrEqual(many / 1_000 + 1)
      driver.trips.length = 0
      await release(leases)
      expect(driver.trips.length).toBeLessThanOrEqual(many / 1_000 + 1)
    },
  )

  it('of one key that try once are answered in as few trips', async () => {
    const { driver, herd } = setUp()
    const leases = await all(() => herd.tryAcquire('hot'))
    expect(leases.filter((lease) => lease !== null)).toHaveLength(of)
    expect(driver.trips.length).toBeLessThanOrEqual(many / 1_000 + 1)
    await release(leases)
  })

  it('of one key that wait are all served, in order, in linear time', async () => {
    const { herd } = setUp()
    const order: number[] = []
    await all(async (i) => {
      const lease = await herd.acquire('hot')
      order.push(i)
      await lease.release()
    })
    expect(order).toHaveLength(many)
    expect(order.every((place, i) => place === i)).toBe(true)
  })
})

it(`${many} calls that wait leave by one signal, or by their time, and leave nothing`, async () => {
  const { clock, driver, herd } = setUpWith((kinds[0] as (typeof kinds)[0])[1])
  const lease = await herd.acquire('hot')
  const controller = new AbortController()
  const reason = new Error('shut down')
  const warnings: Error[] = []
  const note = (warning: Error): void => void warnings.push(warning)
  process.on('warning', note)
  onTestFinished(() => void process.off('warning', note))
  const { signal } = controller
  const left = all((i) =>
    herd.acquire('hot', i % 2 ? { signal } : { maxWaitMs: 50, signal }).catch((error: unknown) => error),
  )
  await clock.advance(50)
  controller.abort(reason)
  const outcomes = (await left) as { code?: string }[]
  expect(outcomes.filter((error) => error === reason)).toHaveLength(many / 2)
  expect(outcomes.filter(({ code }) => code === 'ERR_WAIT_TIMEOUT')).toHaveLength(many / 2)
  expect(driver.watched).toEqual([])
  await lease.release()
  expect(clock.pending).toBe(0)
  expect(warnings).toEqual([])
})
