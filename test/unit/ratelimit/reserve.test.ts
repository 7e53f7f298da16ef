import { describe, expect, it } from 'vitest'
import { ClosedError, StoreUnavailableError } from '../../../src/core/errors.js'
import { createRateLimiter, memoryTokenBucket, type RateLimiterOptions } from '../../../src/ratelimit/index.js'
import { virtualClock } from '../../support/virtual-clock.js'
import { heldDriver } from './held-driver.js'

const quotas: RateLimiterOptions['quotas'] = [{ capacity: 2, refill: 1, perMs: 100 }]

function setUp(options: Partial<RateLimiterOptions> = {}) {
  const clock = virtualClock()
  const driver = heldDriver(memoryTokenBucket({ clock }))
  return { clock, driver, limiter: createRateLimiter(driver, { name: 'calls', quotas, clock, ...options }) }
}

describe('reserve', () => {
  it('says in how long the tokens are due, and takes nothing that is due too late', async () => {
    const { limiter } = setUp()
    expect((await limiter.reserve('k', { cost: 2 }))?.dueInMs).toBe(0)
    expect((await limiter.reserve('k'))?.dueInMs).toBe(100)
    expect(await limiter.reserve('k', { maxWaitMs: 199 })).toBeUndefined()
    expect((await limiter.reserve('k', { maxWaitMs: 200 }))?.dueInMs).toBe(200)
  })

  it('stands in one line with those who wait', async () => {
    const { limiter, clock } = setUp()
    const woken: string[] = []
    await limiter.take('k', { cost: 2 })
    const first = await limiter.reserve('k')
    void limiter.wait('k').then(() => woken.push('a'))
    const second = await limiter.reserve('k')
    void limiter.wait('k').then(() => woken.push('b'))
    await clock.advance(0)
    expect([first?.dueInMs, second?.dueInMs]).toEqual([100, 300])
    await second?.cancel()
    await clock.advance(200)
    expect(woken).toEqual(['a'])
    await clock.advance(100)
    expect(woken).toEqual(['a', 'b'])
  })

  it('gives back once, however often it is cancelled, before and after it was due', async () => {
    const { limiter, clock } = setUp()
    await limiter.take('k', { cost: 2 })
    const early = await limiter.reserve('k')
    const late = await limiter.reserve('k')
    await Promise.all([early?.cancel(), early?.cancel()])
    expect(await limiter.take('k')).toMatchObject({ allowed: false, retryAfterMs: 200 })
    await clock.advance(150)
    await late?.cancel()
    await late?.cancel()
    expect(await limiter.take('k')).toMatchObject({ allowed: true, remaining: 0, fullInMs: 150 })
  })

  it('cancels again where the store was not reached, and not where it may have been', async () => {
    const { limiter, driver, clock } = setUp({ timeoutMs: 50 })
    const reserved = await limiter.reserve('k', { cost: 2 })
    await clock.advance(50)
    driver.state = 'unreachable'
    const cancelled = reserved?.cancel()
    const first = expect(cancelled).rejects.toMatchObject({ code: 'ERR_STORE_UNAVAILABLE', applied: 'no' })
    await clock.advance(50)
    await first
    driver.state = 'failing'
    await expect(reserved?.cancel()).rejects.toMatchObject({ applied: 'unknown' })
    driver.state = 'serving'
    await expect(reserved?.cancel()).rejects.toMatchObject({ applied: 'unknown' })
  })

  it('cancels again before it is due where the store was not reached, and gives back once', async () => {
    const { limiter, driver, clock } = setUp({ timeoutMs: 10 })
    await limiter.take('k', { cost: 2 })
    const reserved = await limiter.reserve('k')
    driver.state = 'unreachable'
    const first = expect(reserved?.cancel()).rejects.toMatchObject({ code: 'ERR_STORE_UNAVAILABLE', applied: 'no' })
    await clock.advance(10)
    await first
    driver.state = 'serving'
    expect(await limiter.take('k')).toMatchObject({ allowed: false, retryAfterMs: 190 })
    await Promise.all([reserved?.cancel(), reserved?.cancel()])
    await reserved?.cancel()
    expect(driver.sent.filter((verb) => verb === 'adjust')).toEqual(['adjust'])
    expect(await limiter.take('k')).toMatchObject({ allowed: false, retryAfterMs: 90 })
  })

  it('says that a store failed before it was due, and moves those behind up once all the same', async () => {
    const { limiter, driver, clock } = setUp({ timeoutMs: 10 })
    await limiter.take('k', { cost: 2 })
    const reserved = await limiter.reserve('k')
    let woken = false
    void limiter.wait('k').then(() => (woken = true))
    const last = await limiter.reserve('k')
    expect(last?.dueInMs).toBe(300)
    driver.state = 'failing'
    for (let n = 0; n < 2; n++) await expect(reserved?.cancel()).rejects.toMatchObject({ applied: 'unknown' })
    driver.state = 'serving'
    await clock.advance(99)
    expect(woken).toBe(false)
    await clock.advance(1)
    expect(woken).toBe(true)
    expect(driver.sent.filter((verb) => verb === 'adjust')).toEqual(['adjust'])
  })

  it('spends what is leased, and puts it back', async () => {
    const { limiter, driver } = setUp({ lease: { tokens: 2, leaseMs: 60_000 } })
    await limiter.take('k')
    driver.sent.splice(0)
    const reserved = await limiter.reserve('k')
    expect(driver.sent).toEqual([])
    expect(reserved?.dueInMs).toBe(0)
    await reserved?.cancel()
    expect((await limiter.peek('k')).remaining).toBe(1)
  })

  it('decides by whenStoreFails', async () => {
    for (const whenStoreFails of ['throw', 'refuse'] as const) {
      const { limiter, driver } = setUp({ whenStoreFails })
      driver.state = 'failing'
      await expect(limiter.reserve('k')).rejects.toBeInstanceOf(StoreUnavailableError)
    }
    const open = setUp({ whenStoreFails: 'allow' })
    open.driver.state = 'failing'
    const allowed = await open.limiter.reserve('k')
    expect(allowed?.dueInMs).toBe(0)
    await allowed?.cancel()
    const other = setUp()
    await other.limiter.take('k', { cost: 2 })
    const { limiter, driver } = setUp({ whenStoreFails: other.limiter })
    driver.state = 'failing'
    expect((await limiter.reserve('k'))?.dueInMs).toBe(100)
  })

  it('keeps its tokens when the limiter is closed, and can no longer be cancelled', async () => {
    const { limiter, driver, clock } = setUp()
    await limiter.take('k', { cost: 2 })
    const reserved = await limiter.reserve('k')
    const waiting = expect(limiter.wait('k')).rejects.toBeInstanceOf(ClosedError)
    await clock.advance(0)
    await limiter.close()
    await waiting
    expect(clock.pending).toBe(0)
    await expect(reserved?.cancel()).rejects.toBeInstanceOf(ClosedError)
    const next = createRateLimiter(driver, { name: 'calls', quotas, clock })
    expect(await next.take('k')).toMatchObject({ allowed: false, retryAfterMs: 200 })
  })

  it('leaves nothing behind once it was due', async () => {
    const { limiter, clock } = setUp()
    for (let n = 0; n < 5; n++) await limiter.reserve(`k${n}`, { cost: 2 })
    for (let n = 0; n < 5; n++) await limiter.reserve(`k${n}`)
    expect(clock.pending).toBe(5)
    await clock.advance(100)
    expect(clock.pending).toBe(0)
  })
})
