import { describe, expect, it, onTestFinished } from 'vitest'
import {
  channels,
  ClosedError,
  LockLostError,
  StoreUnavailableError,
  type LockHoldEvent,
  type TripEvent,
} from '../../../src/index.js'
import {
  createLock,
  createReadWriteLock,
  createSemaphore,
  memoryLock,
  type HoldOptions,
  type Lease,
  type LockDriver,
  type LockReply,
  type LockOptions,
  type Semaphore,
} from '../../../src/lock/index.js'
import { settle, virtualClock } from '../../support/virtual-clock.js'
import { heldDriver } from './held-driver.js'

const key = 'sku-1'

const setUp = (options: LockOptions = {}) => {
  const clock = virtualClock()
  const driver = heldDriver(clock)
  return { clock, driver, lock: createLock(driver, { clock, ...options }) }
}

const taken = async (lease: Promise<Lease | null>): Promise<Lease> => {
  const got = await lease
  if (!got) throw new Error('the key was to be free')
  return got
}

describe('a hold', () => {
  it('is renewed every third of its TTL, by one trip for all that are due', async () => {
    const { clock, driver, lock } = setUp({ ttlMs: 3_000 })
    const leases = await Promise.all(['a', 'b', 'c'].map((name) => lock.acquire(name)))
    driver.trips.length = 0
    await clock.advance(999)
    expect(driver.trips).toEqual([])
    await clock.advance(1)
    expect(driver.trips).toEqual(['renew renew renew'])
    await clock.advance(20_000)
    expect(leases.map(({ signal }) => signal.aborted)).toEqual([false, false, false])
    await lock.close()
    expect(clock.pending).toBe(0)
  })

  it.each(['failing', 'silent', 'unreachable'] as const)('is lost in time when the backend is %s', async (state) => {
    const { clock, driver, lock } = setUp({ ttlMs: 10_000 })
    const lease = await lock.acquire(key)
    driver.state = state
    await clock.advance(9_499)
    const { signal } = lease
    expect(signal.aborted).toBe(false)
    await clock.advance(1)
    expect(signal.aborted).toBe(true)
    expect(signal.reason).toBeInstanceOf(LockLostError)
    expect(await lease.release()).toBe(false)
    driver.state = 'serving'
    driver.letGo()
    await clock.advance(5_000)
    expect(lease.signal.aborted).toBe(true)
    await lock.close()
    expect(clock.pending).toBe(0)
  })

  it('survives renewals that fail for a while', async () => {
    const { clock, driver, lock } = setUp({ ttlMs: 10_000 })
    const lease = await lock.acquire(key)
    driver.state = 'failing'
    await clock.advance(8_000)
    driver.state = 'serving'
    await clock.advance(30_000)
    expect(lease.signal.aborted).toBe(false)
    expect(await lease.release()).toBe(true)
  })

  it('is lost as soon as the backend says that it knows nothing of it', async () => {
    const { clock, driver, lock } = setUp({ ttlMs: 3_000 })
    const lease = await lock.acquire(key)
    const known = driver.commit.bind(driver)
    driver.commit = async (commands, trip) => {
      if (commands[0]?.verb === 'renew') return commands.map(() => ({ ok: false }))
      return known(commands, trip)
    }
    await clock.advance(1_000)
    expect(lease.signal.reason).toMatchObject({ message: expect.stringContaining('no longer knows') as string })
  })

  it('is over for whoever asks, though no timer has run: the process was stopped', async () => {
    const clock = virtualClock()
    let stoppedMs = 0
    const lock = createLock(heldDriver(clock), { clock: { ...clock, nowMs: () => clock.nowMs() + stoppedMs } })
    const lease = await lock.acquire(key)
    const { signal } = await lock.acquire('another')
    const { signal: thrown } = await lock.acquire('a third')
    const { signal: whole } = await lock.acquire('a fourth')
    const part = AbortSignal.any([whole])
    stoppedMs = 28_999
    expect(lease.signal.aborted).toBe(false)
    expect(signal.aborted).toBe(false)
    expect(() => thrown.throwIfAborted()).not.toThrow()
    stoppedMs = 29_000
    expect(lease.signal.aborted).toBe(true)
    expect(signal.aborted, 'a signal that was kept from before tells it, too').toBe(true)
    expect(() => thrown.throwIfAborted()).toThrow(LockLostError)
    expect([whole.aborted, part.aborted]).toEqual([true, true])
    expect(part.reason).toBeInstanceOf(LockLostError)
  })

  it('is refused if its grant took longer than its TTL, and is taken back', async () => {
    const { clock, driver, lock } = setUp({ ttlMs: 300 })
    driver.state = 'silent'
    const late = lock.acquire(key)
    late.catch(() => undefined)
    await clock.advance(290)
    driver.state = 'serving'
    driver.letGo()
    await expect(late).rejects.toMatchObject({ code: 'ERR_STORE_UNAVAILABLE', applied: 'no' })
    await settle()
    expect(driver.trips).toEqual(['acquire', 'release'])
    await lock.close()
  })
})

describe('run', () => {
  it('does not begin on a hold that has run out', async () => {
    const clock = virtualClock()
    let stoppedMs = 0
    const driver = heldDriver(clock)
    const lock = createLock(driver, { clock: { ...clock, nowMs: () => clock.nowMs() + stoppedMs } })
    const running = lock.run(key, async () => 'ran')
    // The grant has been taken, and its caller has not gone on yet.
    while (driver.trips.length === 0) await Promise.resolve()
    await Promise.resolve()
    stoppedMs = 60_000
    await expect(running).rejects.toMatchObject({ code: expect.stringMatching(/LOCK_LOST|UNAVAILABLE/) as string })
  })

  it('hands out the value although the release fails', async () => {
    const { clock, driver, lock } = setUp()
    const value = lock.run(key, async () => {
      driver.state = 'failing'
      return 7
    })
    await clock.advance(10)
    expect(await value).toBe(7)
    const failure = new Error('of the body')
    driver.state = 'serving'
    await clock.advance(60_000)
    const failing = lock.run(key, async () => {
      driver.state = 'failing'
      throw failure
    })
    await expect(failing).rejects.toBe(failure)
  })
})

describe('a release', () => {
  it('that fails rejects, the same way each time; renewal has stopped, and disposing does not throw', async () => {
    const { clock, driver, lock } = setUp()
    const lease = await lock.acquire(key)
    driver.state = 'failing'
    const first = lease.release()
    await expect(first).rejects.toBeInstanceOf(StoreUnavailableError)
    await expect(lease.release()).rejects.toBe(await first.catch((error: unknown) => error))
    await lease[Symbol.asyncDispose]()
    driver.trips.length = 0
    await clock.advance(60_000)
    expect(driver.trips).toEqual([])
    expect(lease.signal.aborted).toBe(false)
    expect(clock.pending).toBe(0)
  })

  it('and the next caller of the process share a trip, and one caller at a time is at the backend', async () => {
    const { driver, lock } = setUp()
    const order: number[] = []
    await Promise.all(
      Array.from({ length: 64 }, (_, i) =>
        lock.run(key, async () => {
          order.push(i)
        }),
      ),
    )
    expect(order).toEqual(Array.from({ length: 64 }, (_, i) => i))
    expect(driver.trips).toEqual(['acquire', ...Array<string>(63).fill('release+next'), 'release'])
    expect(driver.watched).toEqual([])
  })

  it('hands over inside the process with no trip, each time with a token of its own', async () => {
    const { driver, lock } = setUp({ localHandovers: 3 })
    const tokens: bigint[] = []
    await Promise.all(
      Array.from({ length: 8 }, () => lock.run(key, async ({ fencingToken }) => void tokens.push(fencingToken ?? 0n))),
    )
    expect(tokens).toEqual([1n, 2n, 3n, 4n, 5n, 6n, 7n, 8n])
    expect(driver.trips).toEqual(['acquire', 'release+next', 'release'])
  })

  it('does not hand a hold over that is not renewed: the next would get less time than it asked for', async () => {
    const { driver, lock } = setUp({ localHandovers: 3 })
    const bodies = [1, 2].map(() => lock.run(key, async () => undefined, { renew: false }))
    await Promise.all(bodies)
    expect(driver.trips).toEqual(['acquire', 'release+next', 'release'])
  })
})

describe('a waiter', () => {
  it('that leaves, leaves no watch and no timer', async () => {
    const { clock, driver, lock } = setUp()
    await using elsewhere = createLock(driver, { clock })
    const lease = await taken(elsewhere.tryAcquire(key, { renew: false }))
    const controller = new AbortController()
    const reason = new Error('changed my mind')
    const waiting: Promise<unknown>[] = [
      lock.acquire(key, { maxWaitMs: 200 }),
      lock.acquire(key, { signal: controller.signal }),
      lock.acquire(key, { maxWaitMs: 100 }),
    ]
    for (const one of waiting) one.catch(() => undefined)
    await clock.advance(150)
    expect(driver.watched).toEqual([key])
    controller.abort(reason)
    await clock.advance(100)
    await expect(waiting[0]).rejects.toMatchObject({ code: 'ERR_WAIT_TIMEOUT' })
    await expect(waiting[1]).rejects.toBe(reason)
    await expect(waiting[2]).rejects.toMatchObject({ code: 'ERR_WAIT_TIMEOUT' })
    expect(driver.watched).toEqual([])
    await lease.release()
    expect(clock.pending).toBe(0)
  })

  it('that leaves while its grant is on the way passes it on, or gives it back', async () => {
    const { clock, driver, lock } = setUp()
    driver.state = 'silent'
    const [first, second] = [new AbortController(), new AbortController()]
    const one = lock.acquire(key, { signal: first.signal })
    const two = lock.acquire(key, { signal: second.signal })
    await settle()
    first.abort(new Error('one'))
    await expect(one).rejects.toThrow('one')
    driver.state = 'serving'
    driver.letGo()
    const lease = await two
    expect(driver.trips).toEqual(['acquire'])
    await lease.release()

    driver.state = 'silent'
    const three = lock.acquire(key, { signal: second.signal })
    await settle()
    second.abort(new Error('three'))
    await expect(three).rejects.toThrow('three')
    driver.state = 'serving'
    driver.letGo()
    await clock.advance(1)
    expect(driver.trips).toEqual(['acquire', 'release', 'acquire', 'release'])
    expect(clock.pending).toBe(0)
  })

  it.each([
    ['failing', 'unknown', 'acquire release'],
    ['silent', 'unknown', 'acquire release'],
    ['unreachable', 'no', ''],
  ] as const)('learns within the time-out that the backend is %s', async (state, applied, sent) => {
    const { clock, driver, lock } = setUp({ timeoutMs: 500 })
    driver.state = state
    const waiting: Promise<unknown>[] = [lock.acquire(key), lock.acquire(key), lock.tryAcquire('other')]
    for (const one of waiting) one.catch(() => undefined)
    await clock.advance(500)
    for (const one of waiting) await expect(one).rejects.toMatchObject({ code: 'ERR_STORE_UNAVAILABLE', applied })
    driver.state = 'serving'
    driver.letGo()
    await clock.advance(500)
    // What may have been granted is taken back.
    expect(new Set(driver.trips.flatMap((trip) => trip.split(' ')))).toEqual(new Set(sent ? sent.split(' ') : []))
    await using _lease = await taken(lock.tryAcquire(key))
  })

  it('tries again when it is told to, or when the TTL it was told has passed', async () => {
    const { clock, driver, lock } = setUp()
    await using elsewhere = createLock(driver, { clock })
    const lease = await taken(elsewhere.tryAcquire(key, { ttlMs: 5_000, renew: false }))
    let granted = false
    const waiting = lock.acquire(key).then((got) => {
      granted = true
      return got
    })
    // The holder counts its hold as lost, and cannot say so to the backend.
    await clock.advance(4_700)
    driver.state = 'failing'
    await clock.advance(200)
    expect(lease.signal.aborted).toBe(true)
    driver.state = 'serving'
    await clock.advance(99)
    expect(granted).toBe(false)
    await clock.advance(1)
    expect(granted).toBe(true)
    const again = elsewhere.acquire(key)
    await clock.advance(1)
    await (await waiting).release()
    await (await again).release()
  })
})

describe('a process that has had its turn', () => {
  /** Refuses what a release would take with it, as Redis does when others wait, and then refuses all until told otherwise. */
  const among = (others: number) => {
    const clock = virtualClock()
    const driver = heldDriver(clock)
    const below = driver.commit.bind(driver)
    const bench = { clock, driver, taken: false, change: (): void => undefined }
    driver.commit = async (commands, trip) => {
      const [command] = commands
      if (command?.verb === 'acquire' && bench.taken) {
        driver.trips.push('refused')
        return [{ ok: false, retryAfterMs: 30_000 }]
      }
      if (command?.verb !== 'release' || !command.next) return below(commands, trip)
      const [reply] = await below([{ verb: 'release', claim: command.claim }], trip)
      bench.taken = true
      return [{ ...(reply as LockReply), next: { ok: false, retryAfterMs: 50, others } }]
    }
    driver.watch = (_, wake) => {
      bench.change = wake
      return () => undefined
    }
    return bench
  }

  /** Holds the key and has a second caller wait for it; then lets it go. */
  const turn = async (bench: ReturnType<typeof among>) => {
    const lock = createLock(bench.driver, { clock: bench.clock })
    const lease = await lock.acquire(key)
    const waiting = lock.acquire(key)
    await settle()
    const released = lease.release()
    await settle()
    expect(await released).toBe(true)
    bench.driver.trips.length = 0
    return { lock, waiting }
  }

  it('tries again when each of the others has had one', async () => {
    const bench = among(3)
    const { lock, waiting } = await turn(bench)
    for (const _ of ['its own', 'the first', 'the second']) {
      bench.change()
      await bench.clock.advance(4)
      expect(bench.driver.trips).toEqual([])
    }
    bench.taken = false
    bench.change()
    await settle()
    expect(bench.driver.trips).toEqual(['acquire'])
    await (await waiting).release()
    await lock.close()
    expect(bench.clock.pending).toBe(0)
  })

  it('waits no longer than 5 ms for others who do not come', async () => {
    const bench = among(3)
    const { lock, waiting } = await turn(bench)
    bench.change()
    bench.taken = false
    await bench.clock.advance(4)
    expect(bench.driver.trips).toEqual([])
    await bench.clock.advance(1)
    expect(bench.driver.trips).toEqual(['acquire'])
    await (await waiting).release()
    await lock.close()
    expect(bench.clock.pending).toBe(0)
  })

  it('is not kept from a key by changes that it lets pass, however long the others hold it', async () => {
    const bench = among(2)
    const { lock, waiting } = await turn(bench)
    bench.change()
    await bench.clock.advance(5)
    expect(bench.driver.trips, 'somebody else has it').toEqual(['refused'])
    bench.taken = false
    bench.change()
    await bench.clock.advance(5)
    await (await waiting).release()
    await lock.close()
    expect(bench.clock.pending).toBe(0)
  })
})

describe('tryAcquire', () => {
  it('counts what it is granted while another try of the key comes to nothing', async () => {
    const { clock, driver, lock } = setUp()
    await using elsewhere = createLock(driver, { clock })
    const theirs = await taken(elsewhere.tryAcquire(key))
    driver.state = 'silent'
    const refused = lock.tryAcquire(key)
    await settle()
    driver.state = 'serving'
    const granted = lock.tryAcquire(key)
    await theirs.release()
    driver.letGo()
    expect(await refused).toBeNull()
    await (await taken(granted)).release()

    await using _lease = await taken(lock.tryAcquire(key))
    driver.trips.length = 0
    expect(await lock.tryAcquire(key)).toBeNull()
    expect(driver.trips, 'the process knows that it holds the key').toEqual([])
  })
})

describe('close', () => {
  it('takes back what is granted while it closes', async () => {
    const { clock, driver, lock } = setUp()
    driver.state = 'silent'
    const waiting = lock.acquire(key)
    const trying = lock.tryAcquire('other')
    waiting.catch(() => undefined)
    trying.catch(() => undefined)
    await settle()
    const closing = lock.close()
    driver.state = 'serving'
    driver.letGo()
    await closing
    await expect(waiting).rejects.toBeInstanceOf(ClosedError)
    await expect(trying).rejects.toBeInstanceOf(ClosedError)
    await using elsewhere = createLock(driver, { clock })
    expect(await elsewhere.tryAcquire(key)).not.toBeNull()
    expect(await elsewhere.tryAcquire('other')).not.toBeNull()
  })
})

describe('a semaphore', () => {
  it('serves who stood back for many permits as soon as those are granted and some are left', async () => {
    const clock = virtualClock()
    const driver = memoryLock({ clock })
    const [holder, one, many] = [1, 2, 3].map(() => createSemaphore(driver, { permits: 5, clock })) as [
      Semaphore,
      Semaphore,
      Semaphore,
    ]
    const lease = await holder.acquire(key, { permits: 5 })
    const small = one.acquire(key)
    await settle()
    const large = many.acquire(key, { permits: 3 })
    await settle()
    await lease.release()
    await large
    await settle()
    let served = false
    void small.then(() => (served = true))
    await settle()
    expect(served, 'though no time has passed').toBe(true)
    await Promise.all([holder, one, many].map((semaphore) => semaphore.close()))
  })

  it('gives up the place that a release has taken for a waiter who has left meanwhile', async () => {
    const clock = virtualClock()
    const driver = heldDriver(clock)
    const elsewhere = createSemaphore(driver, { permits: 4, clock })
    await elsewhere.acquire(key, { permits: 2 })
    const semaphore = createSemaphore(driver, { permits: 4, clock })
    const lease = await semaphore.acquire(key, { permits: 2 })
    const controller = new AbortController()
    const waiting = semaphore.acquire(key, { permits: 3, signal: controller.signal })
    waiting.catch(() => undefined)
    await settle()
    driver.state = 'silent'
    driver.trips.length = 0
    const released = lease.release()
    await settle()
    expect(driver.trips).toEqual(['release+next'])
    controller.abort(new Error('left'))
    await expect(waiting).rejects.toThrow('left')
    driver.state = 'serving'
    driver.letGo()
    expect(await released).toBe(true)
    await settle()
    expect(await taken(elsewhere.tryAcquire(key))).toBeTruthy()
    await semaphore.close()
  })

  it('gives up the place of a waiter at the backend when the backend cannot be asked again', async () => {
    const clock = virtualClock()
    const driver = heldDriver(clock)
    await using elsewhere = createSemaphore(driver, { permits: 2, clock })
    const theirs = await elsewhere.acquire(key)
    const semaphore = createSemaphore(driver, { permits: 2, clock })
    const waiting = semaphore.acquire(key, { permits: 2 })
    waiting.catch(() => undefined)
    await settle()
    expect(await elsewhere.tryAcquire(key), 'the place keeps others away').toBeNull()
    const known = driver.commit.bind(driver)
    driver.commit = async (commands, trip) => {
      if (commands[0]?.verb === 'acquire') throw new StoreUnavailableError('not connected', { applied: 'no' })
      return known(commands, trip)
    }
    await clock.advance(1_000)
    await expect(waiting).rejects.toMatchObject({ applied: 'no' })
    driver.commit = known
    expect(await taken(elsewhere.tryAcquire(key))).toBeTruthy()
    expect(theirs.signal.aborted).toBe(false)
    await semaphore.close()
  })

  it('hands permits over to a caller who wants as many', async () => {
    const clock = virtualClock()
    const driver = heldDriver(clock)
    const semaphore = createSemaphore(driver, { permits: 4, localHandovers: 1, clock })
    const first = await semaphore.acquire(key, { permits: 3 })
    const waiting = semaphore.acquire(key, { permits: 3 })
    await settle()
    await first.release()
    await (await waiting).release()
    expect(driver.trips).toEqual(['acquire', 'release'])
    await semaphore.close()
  })
})

it.each([
  [{ ttlMs: 0 }, RangeError],
  [{ ttlMs: Infinity }, RangeError],
  [{ ttlMs: '1' }, TypeError],
  [{ timeoutMs: 0 }, RangeError],
  [{ localHandovers: -1 }, RangeError],
  [{ localHandovers: 1.5 }, RangeError],
  [{ localHandovers: 2 ** 20 }, RangeError],
])('refuses the options %o', (options, error) => {
  expect(() => createLock(heldDriver(virtualClock()), options as LockOptions)).toThrow(error)
})

it('has the defaults that are documented', async () => {
  const { clock, driver, lock } = setUp()
  const lease = await lock.acquire(key)
  driver.state = 'unreachable'
  await clock.advance(28_999)
  expect(lease.signal.aborted).toBe(false)
  await clock.advance(1)
  expect(lease.signal.aborted).toBe(true)
  const late = lock.acquire('other')
  late.catch(() => undefined)
  await clock.advance(1_000)
  await expect(late).rejects.toBeInstanceOf(StoreUnavailableError)
  // What the lost hold left behind is asked for once more.
  const closed = lock.close()
  await clock.advance(1_000)
  await closed
})

describe('events', () => {
  const listen = (): LockHoldEvent[] => {
    const events: LockHoldEvent[] = []
    const note = (event: LockHoldEvent): void => void events.push(event)
    channels.lockHold.subscribe(note)
    onTestFinished(() => void channels.lockHold.unsubscribe(note))
    return events
  }

  it('tell of grants, releases and losses, with how long was waited and held', async () => {
    const events = listen()
    const { clock, lock } = setUp({ ttlMs: 100, name: 'orders' })
    const first = await lock.acquire(key, { renew: false })
    const second = lock.acquire(key, { renew: false })
    await clock.advance(50)
    await first.release()
    await second
    await clock.advance(100)
    const common = { name: 'orders', kind: 'mutex', key }
    expect(events).toEqual([
      { ...common, outcome: 'granted', fencingToken: 1n, waitedMs: 0 },
      { ...common, outcome: 'released', fencingToken: 1n, heldMs: 50 },
      { ...common, outcome: 'granted', fencingToken: 2n, waitedMs: 50 },
      { ...common, outcome: 'lost', fencingToken: 2n, heldMs: 95, error: expect.any(LockLostError) as unknown },
    ])
  })

  it('tell of a try that was refused, and of callers that gave up and why', async () => {
    const { clock, lock } = setUp()
    await lock.acquire(key)
    const events = listen()
    const none = { name: 'lock', kind: 'mutex', key, fencingToken: undefined }
    expect(await lock.tryAcquire(key)).toBeNull()
    await lock.acquire(key, { maxWaitMs: 0 }).catch(() => undefined)
    const giving = new AbortController()
    const waiting = [
      lock.acquire(key, { maxWaitMs: 70 }),
      lock.acquire(key, { signal: giving.signal }),
      lock.run(key, () => 1),
    ]
    for (const each of waiting) each.catch(() => undefined)
    await clock.advance(80)
    giving.abort(new StoreUnavailableError('not what it looks like', { applied: 'no' }))
    await clock.advance(10)
    await lock.close()
    await settle()
    await expect(lock.acquire(key)).rejects.toBeInstanceOf(ClosedError)
    const error = (code: string): unknown => expect.objectContaining({ code })
    expect(events.filter(({ outcome }) => outcome !== 'lost')).toEqual([
      { ...none, outcome: 'refused', waitedMs: 0 },
      { ...none, outcome: 'gave-up', waitedMs: 0, error: error('ERR_WAIT_TIMEOUT') },
      { ...none, outcome: 'gave-up', waitedMs: 70, error: error('ERR_WAIT_TIMEOUT') },
      { ...none, outcome: 'gave-up', waitedMs: 80, error: giving.signal.reason as unknown },
      { ...none, outcome: 'gave-up', waitedMs: 90, error: error('ERR_CLOSED') },
    ])
  })

  it('tell of what the store failed: a try, a wait, a release', async () => {
    const { clock, driver, lock } = setUp({ timeoutMs: 200 })
    const lease = await lock.acquire(key)
    const events = listen()
    driver.state = 'failing'
    await lock.tryAcquire('a').catch(() => undefined)
    await lock.acquire('b').catch(() => undefined)
    driver.state = 'unreachable'
    const silent = lock.acquire('c').catch(() => undefined)
    await clock.advance(200)
    await silent
    driver.state = 'failing'
    await lease.release().catch(() => undefined)
    const failed = { outcome: 'failed', error: expect.any(StoreUnavailableError) as unknown }
    expect(events).toMatchObject([
      { key: 'a', waitedMs: 0, ...failed },
      { key: 'b', waitedMs: 0, ...failed },
      { key: 'c', waitedMs: 200, ...failed },
      { key, outcome: 'released' },
      { key, ...failed },
    ])
  })

  it('tell of what began before anybody listened, without how long it took', async () => {
    const { driver, lock } = setUp()
    const lease = await lock.acquire(key)
    driver.state = 'silent'
    const waiting = lock.acquire('another')
    await settle()
    const events = listen()
    driver.letGo()
    await waiting
    driver.state = 'serving'
    await lease.release()
    const common = { name: 'lock', kind: 'mutex' }
    expect(events).toEqual([
      { ...common, key: 'another', outcome: 'granted', fencingToken: 2n },
      { ...common, key, outcome: 'released', fencingToken: 1n },
    ])
  })

  it('and trips carry the name, by default that of the kind', async () => {
    const events = listen()
    const trips: string[] = []
    const note = ({ module, name, verb }: TripEvent): void => void trips.push(`${module} ${name} ${verb}`)
    channels.trip.subscribe(note)
    onTestFinished(() => void channels.trip.unsubscribe(note))
    const driver = memoryLock()
    await createLock(driver).tryAcquire(key)
    await createReadWriteLock(driver).read.tryAcquire(key)
    await createSemaphore(driver, { permits: 1 }).tryAcquire(key)
    await createSemaphore(driver, { permits: 1, name: 'printers' }).tryAcquire(key)
    expect(events.map(({ name, outcome }) => `${name} ${outcome}`)).toEqual([
      'lock granted',
      'read-write-lock granted',
      'semaphore granted',
      'printers refused',
    ])
    expect(trips).toEqual([
      'lock lock mutex',
      'lock read-write-lock read-write',
      'lock semaphore semaphore',
      'lock printers semaphore',
    ])
  })
})

describe('the error of a loss', () => {
  const lossOf = async (options: HoldOptions, state: 'serving' | 'failing' = 'serving'): Promise<Error> => {
    const { clock, driver, lock } = setUp()
    const { signal } = await lock.acquire(key, options)
    driver.state = state
    await clock.advance(options.ttlMs as number)
    return signal.reason as Error
  }

  it('says how long the TTL was, which may have been meant as seconds', async () => {
    expect((await lossOf({ ttlMs: 5, renew: false })).message).toBe(
      'lock: the hold of "sku-1" ended: its TTL of 5 ms ended, and it is not renewed',
    )
  })

  it('says why renewals failed', async () => {
    const loss = await lossOf({ ttlMs: 3_000 }, 'failing')
    expect(loss.message).toContain('it was not renewed in time, within its TTL of 3000 ms: lock: mutex failed')
    expect(loss.cause).toMatchObject({ code: 'ERR_STORE_UNAVAILABLE', cause: { message: 'LOADING the dataset' } })
  })

  it('speaks of the session where that decides', async () => {
    const clock = virtualClock()
    const driver: LockDriver = { ...memoryLock({ clock }), holdsBySession: true }
    const { signal } = await createLock(driver, { clock, ttlMs: 30_000 }).acquire(key, { ttlMs: 200, renew: false })
    await clock.advance(200)
    expect((signal.reason as Error).message).toContain('the 200 ms that its session lasts ended')
  })
})

describe('run', () => {
  it('takes a body that is synchronous, and releases after it', async () => {
    const { driver, lock } = setUp()
    expect(await lock.run(key, ({ fencingToken }) => fencingToken)).toBe(1n)
    const failing = lock.run(key, () => {
      throw new RangeError('the body')
    })
    await expect(failing).rejects.toThrow(new RangeError('the body'))
    expect(driver.trips).toEqual(['acquire', 'release', 'acquire', 'release'])
  })
})
