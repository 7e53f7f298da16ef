import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import {
  createRateLimiter,
  memoryTokenBucket,
  type Quota,
  type RateLimiterOptions,
} from '../../../src/ratelimit/index.js'
import { settle, virtualClock } from '../../support/virtual-clock.js'
import { heldDriver } from './held-driver.js'

/** Ten tokens, one a millisecond: full again after ten. */
const quick: Quota = { capacity: 10, refill: 1, perMs: 1 }

function setUp(options: Partial<RateLimiterOptions> = {}) {
  const clock = virtualClock()
  const driver = heldDriver(memoryTokenBucket({ clock }))
  const over = (more: Partial<RateLimiterOptions> = {}) =>
    createRateLimiter(driver, { name: 'calls', quotas: [quick], clock, ...options, ...more })
  const [limiter, other] = [over(), over()]
  /** Has a take done that is answered only when the driver is released, after its caller has timed out. */
  async function late(cost: number): Promise<void> {
    driver.state = 'silent'
    const failed = expect(limiter.take('k', { cost })).rejects.toMatchObject({ applied: 'unknown' })
    await settle()
    driver.state = 'serving'
    await clock.advance(options.timeoutMs ?? 1_000)
    await failed
  }
  const there = async (): Promise<number> => (await other.peek('k')).remaining
  return { clock, driver, limiter, other, over, late, there }
}

describe('what is given back', () => {
  it('by a take that came too late is worth nothing once it has been gained in its place', async () => {
    const { driver, other, late, there, clock } = setUp({ timeoutMs: 10 })
    await late(10)
    expect((await other.take('k', { cost: 10 })).granted).toBe(10)
    driver.release()
    await settle()
    expect(driver.sent).toContain('adjust')
    expect(await there()).toBe(0)
    await clock.advance(1)
    expect(await there()).toBe(1)
  })

  it('is worth what would not have been gained yet, to the microsecond', async () => {
    const { driver, other, late, there, clock } = setUp({ timeoutMs: 2 })
    await late(6)
    await clock.advance(1.5)
    expect((await other.take('k', { cost: 7 })).granted).toBe(7)
    driver.release()
    await settle()
    // Never taken, the six would have left a full bucket of ten, and three of it by now.
    expect(await there()).toBe(3)
    await clock.advance(0.999)
    expect(await there()).toBe(3)
    await clock.advance(0.001)
    expect(await there()).toBe(4)
  })

  it('by a take is all of it from a bucket that was not near full', async () => {
    const { driver, other, late, there } = setUp({ timeoutMs: 3, quotas: [{ ...quick, capacity: 100 }] })
    await other.take('k', { cost: 90 })
    await late(10)
    expect(await there()).toBe(3)
    driver.release()
    await settle()
    expect(await there()).toBe(13)
  })

  it('by several calls of one trip is what all of them together are worth', async () => {
    const { clock, driver, limiter, other, there } = setUp({ timeoutMs: 4 })
    driver.state = 'silent'
    const calls = Promise.allSettled(Array.from({ length: 10 }, () => limiter.take('k')))
    await settle()
    driver.state = 'serving'
    await clock.advance(4)
    await calls
    expect((await other.take('k', { cost: 4 })).granted).toBe(4)
    driver.release()
    await settle()
    expect(await there()).toBe(6)
  })

  it('by a wait that was aborted is worth nothing once it has been gained in its place', async () => {
    const { clock, limiter, other, there } = setUp()
    await limiter.wait('k', { cost: 10 })
    const controller = new AbortController()
    const aborted = limiter.wait('k', { cost: 10, signal: controller.signal })
    await clock.advance(5)
    controller.abort(new Error('no longer'))
    await expect(aborted).rejects.toThrow('no longer')
    await settle()
    expect(await there(), 'all of it: the bucket had been empty').toBe(5)
    await clock.advance(20)
    expect((await other.take('k', { cost: 10 })).granted).toBe(10)
    expect(await there()).toBe(0)
  })

  it('by a lease that ends is worth nothing once it has been gained in its place', async () => {
    const { clock, over, other, there } = setUp()
    const leased = over({ lease: { tokens: 10, leaseMs: 50 } })
    expect((await leased.take('k')).granted).toBe(1)
    await clock.advance(49)
    expect((await other.take('k', { cost: 10 })).granted).toBe(10)
    await clock.advance(1)
    expect(await there()).toBe(1)
  })

  it('by a lease that ends is all that is left of it while the bucket had not been full', async () => {
    const { clock, over, there } = setUp({ quotas: [{ ...quick, perMs: 100 }] })
    const leased = over({ lease: { tokens: 10, leaseMs: 200 } })
    expect((await leased.take('k')).granted).toBe(1)
    await clock.advance(200)
    expect(await there()).toBe(10)
  })

  it('goes into no bucket that has been reset meanwhile', async () => {
    const { driver, other, late, there } = setUp({ timeoutMs: 3, quotas: [{ ...quick, initial: 2 }] })
    await late(2)
    await other.reset('k')
    driver.release()
    await settle()
    expect(await there()).toBe(2)
  })

  it("by a caller's own refund is worth what it says, up to the capacity", async () => {
    const { clock, limiter, there } = setUp()
    await limiter.take('k', { cost: 10 })
    await clock.advance(3)
    await limiter.refund('k', 5)
    expect(await there()).toBe(8)
    await limiter.refund('k', 50)
    expect(await there()).toBe(10)
  })

  it.each(['late', 'leased', 'wait'] as const)(
    'never lets more through in any time than a full bucket and what it gained: %s',
    async (kind) => {
      const step = fc.record({
        afterMs: fc.nat(8),
        cost: fc.integer({ min: 1, max: 10 }),
        how: fc.constantFrom('take', 'take', kind, kind, 'release'),
        abortAfterMs: fc.option(fc.nat(10), { nil: undefined }),
      })
      await fc.assert(
        fc.asyncProperty(fc.array(step, { minLength: 2, maxLength: 25 }), async (steps) => {
          const { clock, driver, limiter, over } = setUp({ timeoutMs: 3 })
          const [taking, waiting, leased] = [over(), over(), over({ lease: { tokens: 4, leaseMs: 7 } })]
          const through: { readonly atMs: number; readonly tokens: number }[] = []
          const all: Promise<unknown>[] = []
          for (const { afterMs, cost, how, abortAfterMs } of steps) {
            await clock.advance(afterMs)
            const note = (tokens: number): void => void through.push({ atMs: clock.nowMs(), tokens })
            if (how === 'release') driver.release()
            if (how === 'take') all.push(taking.take('k', { cost, atMost: true }).then((one) => note(one.granted)))
            // A block is paid for when it is taken, so it may be spent later: only what it gives back is tried here.
            if (how === 'leased') all.push(leased.take('k'))
            if (how === 'late') {
              driver.state = 'silent'
              all.push(limiter.take('k', { cost }).catch(() => undefined))
              await settle()
              driver.state = 'serving'
            }
            if (how === 'wait') {
              const controller = new AbortController()
              if (abortAfterMs !== undefined) clock.after(abortAfterMs, () => controller.abort(new Error('aborted')))
              const wait = waiting.wait('k', { cost, signal: controller.signal })
              all.push(wait.then(() => note(cost)).catch(() => undefined))
            }
            await settle()
          }
          driver.release()
          await clock.advance(500)
          await Promise.all(all)
          for (let from = 0; from < through.length; from++) {
            let sum = 0
            for (const { atMs, tokens } of through.slice(from)) {
              sum += tokens
              expect(sum).toBeLessThanOrEqual(10 + atMs - (through[from]?.atMs ?? 0) + 1e-6)
            }
          }
          expect(clock.pending).toBe(0)
        }),
        { numRuns: 500 },
      )
    },
    60_000,
  )
})
