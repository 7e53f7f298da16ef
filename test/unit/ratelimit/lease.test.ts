import { describe, expect, it } from 'vitest'
import { StoreUnavailableError } from '../../../src/core/errors.js'
import {
  createRateLimiter,
  memoryTokenBucket,
  type Quota,
  type RateLimiter,
  type RateLimiterOptions,
} from '../../../src/ratelimit/index.js'
import { toLimit } from '../../../src/ratelimit/bucket.js'
import { createLease } from '../../../src/ratelimit/lease.js'
import { toRequest } from '../../../src/ratelimit/runs.js'
import { settle, virtualClock } from '../../support/virtual-clock.js'
import { heldDriver } from './held-driver.js'

const hundred: Quota = { capacity: 100, refill: 1, perMs: 3_600_000 }

/** A leased limiter, and a plain one that shows what the store has. */
function setUp({
  lease = { tokens: 10, leaseMs: 1_000 },
  quotas = [hundred],
  ...options
}: Partial<RateLimiterOptions> = {}) {
  const clock = virtualClock()
  const driver = heldDriver(memoryTokenBucket({ clock }))
  const leased = (): RateLimiter => createRateLimiter(driver, { name: 'calls', quotas, clock, lease, ...options })
  const plain = createRateLimiter(driver, { name: 'calls', quotas, clock })
  const inStore = async (): Promise<number> => (await plain.peek('k')).remaining
  const trips = (): number => driver.sent.splice(0).length
  return { clock, driver, leased, limiter: leased(), inStore, trips }
}

const take = async (
  limiter: RateLimiter,
  count: number,
  options?: { cost?: number; atMost?: boolean },
): Promise<number> => {
  const decisions = await Promise.all(Array.from({ length: count }, () => limiter.take('k', options)))
  return decisions.reduce((sum, one) => sum + one.granted, 0)
}

describe('lease', () => {
  it('spends a block without a trip, and takes the next when it is spent', async () => {
    const { limiter, trips, inStore } = setUp()
    expect(await take(limiter, 1)).toBe(1)
    expect(trips()).toBe(1)
    expect(await take(limiter, 9)).toBe(9)
    expect(trips()).toBe(0)
    expect(await inStore()).toBe(90)
    trips()
    expect(await take(limiter, 1)).toBe(1)
    expect(trips()).toBe(1)
    expect(await inStore()).toBe(80)
  })

  it('takes one block for all who wait for one, as large as they need', async () => {
    const { limiter, trips, inStore } = setUp()
    expect(await take(limiter, 35)).toBe(35)
    expect(trips()).toBe(1)
    expect(await inStore()).toBe(65)
  })

  it('tells what the process knows', async () => {
    const { limiter } = setUp({ quotas: [{ capacity: 100, refill: 1, perMs: 100 }] })
    expect(await limiter.take('k')).toEqual({ allowed: true, granted: 1, remaining: 99, fullInMs: 1_000 })
    expect(await limiter.take('k', { cost: 4 })).toEqual({ allowed: true, granted: 4, remaining: 95, fullInMs: 1_000 })
    await take(limiter, 95)
    const refusal = await limiter.take('k', { cost: 3 })
    expect(refusal).toEqual({ allowed: false, granted: 0, remaining: 0, retryAfterMs: 300, fullInMs: 10_000 })
  })

  it('never admits more than the quota, however many processes share it, and leaves nothing over', async () => {
    const { leased } = setUp({ lease: { tokens: 7, leaseMs: 1_000 } })
    const processes = [leased(), leased(), leased(), leased()]
    const granted = await Promise.all(processes.map((limiter, n) => take(limiter, 60, { cost: 1 + (n % 3) })))
    const singles = await Promise.all(processes.map((limiter) => take(limiter, 100)))
    expect([...granted, ...singles].reduce((sum, one) => sum + one, 0)).toBe(100)
  })

  it('adds a new block to a rest that is too small for a call', async () => {
    const { limiter, inStore, trips } = setUp({ quotas: [{ ...hundred, capacity: 15 }] })
    expect(await take(limiter, 1, { cost: 7 })).toBe(7)
    expect(await inStore()).toBe(5)
    trips()
    expect((await limiter.take('k', { cost: 8 })).granted).toBe(8)
    expect(trips()).toBe(1)
    expect(await inStore()).toBe(0)
    expect((await limiter.take('k')).allowed).toBe(false)
  })

  it('gives with atMost what the block and the bucket have', async () => {
    const { limiter } = setUp({ quotas: [{ ...hundred, capacity: 12 }] })
    expect(await take(limiter, 1, { cost: 9 })).toBe(9)
    expect(await take(limiter, 1, { cost: 9, atMost: true })).toBe(3)
    expect(await limiter.take('k', { cost: 9, atMost: true })).toMatchObject({
      allowed: false,
      retryAfterMs: 3_600_000,
    })
  })

  it('gives the rest back when the lease ends, and spends it no more', async () => {
    const { clock, limiter, inStore } = setUp()
    await take(limiter, 4)
    await clock.advance(999)
    expect(await inStore()).toBe(90)
    await clock.advance(1)
    expect(await inStore()).toBe(96)
    expect(clock.pending).toBe(0)
    expect(await take(limiter, 1)).toBe(1)
    expect(await inStore()).toBe(86)
  })

  it('counts the lease from when the block was asked for', async () => {
    const { clock, driver, limiter, inStore } = setUp()
    driver.state = 'silent'
    const first = limiter.take('k')
    await clock.advance(600)
    driver.state = 'serving'
    driver.release()
    await first
    await clock.advance(400)
    expect(await inStore()).toBe(99)
  })

  it('notices the end of a lease within 64 takes of a turn that lasts', async () => {
    const { clock, limiter } = setUp({ lease: { tokens: 90, leaseMs: 1_000 } })
    await limiter.take('k')
    // Time passes, and no timer runs, since the event loop does not turn.
    let late = 0
    const frozen = clock.nowMs.bind(clock)
    clock.nowMs = () => frozen() + 5_000
    for (let n = 0; n < 89; n++) {
      const decision = limiter.take('k')
      late++
      if (await Promise.race([decision.then(() => false), Promise.resolve().then(() => true)])) break
    }
    expect(late).toBeLessThanOrEqual(65)
  })

  it('gives everything back on close, and what arrives later too', async () => {
    const { driver, clock, limiter, inStore } = setUp()
    await take(limiter, 4)
    const late = limiter.take('other')
    await settle()
    await late
    await limiter.close()
    expect(await inStore()).toBe(96)
    expect(clock.pending).toBe(0)
    expect(driver.sent.filter((verb) => verb === 'adjust')).toHaveLength(1)
  })

  it('keeps keys apart', async () => {
    const { limiter } = setUp({ quotas: [{ ...hundred, capacity: 5 }] })
    expect(await take(limiter, 9)).toBe(5)
    expect((await limiter.take('other')).allowed).toBe(true)
  })

  it('peeks at block and store together, and lets a wait spend the block', async () => {
    const { limiter, trips } = setUp({ quotas: [{ ...hundred, capacity: 10 }] })
    await take(limiter, 4)
    expect(await limiter.peek('k')).toMatchObject({ allowed: true, granted: 0, remaining: 6 })
    trips()
    await limiter.wait('k', { cost: 6 })
    expect(trips()).toBe(0)
    expect(await limiter.peek('k')).toMatchObject({ allowed: false, remaining: 0 })
  })

  it('drops the block on reset', async () => {
    const { limiter, inStore } = setUp({ quotas: [{ ...hundred, capacity: 10 }] })
    await take(limiter, 4)
    await limiter.reset('k')
    expect(await inStore()).toBe(10)
    expect(await take(limiter, 20)).toBe(10)
  })

  it('fails the calls that wait for a block when the store does, and serves later ones', async () => {
    const { driver, limiter } = setUp()
    driver.state = 'failing'
    for (const call of [limiter.take('k'), limiter.take('k')]) await expect(call).rejects.toThrow(StoreUnavailableError)
    driver.state = 'serving'
    expect(await take(limiter, 3)).toBe(3)
  })

  it('keeps a block that came after its callers had timed out, for later ones', async () => {
    const { clock, driver, limiter, inStore, trips } = setUp({ timeoutMs: 300 })
    driver.state = 'silent'
    const call = limiter.take('k')
    const failed = expect(call).rejects.toMatchObject({ applied: 'unknown' })
    await clock.advance(300)
    await failed
    driver.state = 'serving'
    driver.release()
    await clock.advance(0)
    trips()
    expect(await take(limiter, 10)).toBe(10)
    expect(trips()).toBe(0)
    expect(await inStore()).toBe(90)
  })

  it('keeps a block of which those who asked while it came leave a rest', async () => {
    const { clock, driver, limiter, inStore, trips } = setUp()
    driver.state = 'silent'
    const first = limiter.take('k')
    await clock.advance(0)
    const others = [limiter.take('k'), limiter.take('k', { cost: 3 })]
    driver.state = 'serving'
    driver.release()
    expect(await first).toMatchObject({ granted: 1, remaining: 99 })
    expect(await Promise.all(others)).toMatchObject([
      { granted: 1, remaining: 98 },
      { granted: 3, remaining: 95 },
    ])
    expect(await take(limiter, 5)).toBe(5)
    expect(trips()).toBe(1)
    expect(await inStore()).toBe(90)
  })

  it('gets blocks for all keys of a moment in one trip, and has one timer for all of them', async () => {
    const { clock, driver, limiter } = setUp()
    const keys = Array.from({ length: 2_500 }, (_, i) => `k${i}`)
    const decisions = await Promise.all(keys.map((key) => limiter.take(key)))
    expect(decisions.every((one) => one.granted === 1 && one.remaining === 99)).toBe(true)
    expect(driver.sent.splice(0)).toEqual(['take', 'take', 'take'])
    expect(clock.pending).toBe(1)
    await Promise.all(keys.map((key) => limiter.take(key, { cost: 9 })))
    expect(driver.sent).toEqual([])
    await clock.advance(1_000)
    expect(clock.pending).toBe(0)
  })

  it('keeps nothing of a key whose block has ended, nor more blocks than it may', async () => {
    const clock = virtualClock()
    const returned: string[] = []
    const lease = createLease({
      store: memoryTokenBucket({ clock }).open('calls'),
      limits: [toLimit('quota', hundred)],
      tokens: 3,
      leaseMs: 1_000,
      clock,
      giveBack: ({ key, tokens }) => void returned.push(`${key}:${tokens}`),
      mostBlocks: 4,
    })
    const trip = { signal: new AbortController().signal, sending: () => undefined }
    const keys = ['a', 'b', 'c', 'd', 'e', 'f']
    const requests = keys.map((key) => toRequest(key, 1))
    expect((await lease.serve(requests, trip)).every((one) => one.allowed)).toBe(true)
    expect(returned.splice(0)).toEqual(['a:2', 'b:2'])
    expect(keys.map((key) => lease.left(key))).toEqual([0, 0, 2, 2, 2, 2])
    expect(clock.pending).toBe(1)
    await clock.advance(1_000)
    expect(returned).toEqual(['c:2', 'd:2', 'e:2', 'f:2'])
    expect(keys.map((key) => lease.left(key))).toEqual([0, 0, 0, 0, 0, 0])
    expect(clock.pending).toBe(0)
  })

  it('answers within timeoutMs though a second block is needed', async () => {
    const { clock, driver, limiter } = setUp({ timeoutMs: 300 })
    driver.state = 'silent'
    const first = limiter.take('k')
    await settle()
    const rest = Array.from({ length: 20 }, () => limiter.take('k'))
    const outcomes = Promise.allSettled(rest)
    await clock.advance(250)
    driver.release()
    expect((await first).allowed).toBe(true)
    await clock.advance(50)
    expect((await outcomes).map(({ status }) => status)).toEqual(rest.map(() => 'rejected'))
  })
})
