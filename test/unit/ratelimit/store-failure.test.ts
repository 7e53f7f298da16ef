import { describe, expect, it } from 'vitest'
import { StoreUnavailableError } from '../../../src/core/errors.js'
import { listReply } from '../../../src/core/redis-reply.js'
import {
  createRateLimiter,
  memoryTokenBucket,
  type RateLimitDriver,
  type RateLimiter,
  type RateLimiterOptions,
} from '../../../src/ratelimit/index.js'
import { settle, virtualClock } from '../../support/virtual-clock.js'
import { heldDriver } from './held-driver.js'

const quotas: RateLimiterOptions['quotas'] = [{ capacity: 5, refill: 1, perMs: 60_000 }]

function setUp(whenStoreFails?: RateLimiterOptions['whenStoreFails']) {
  const clock = virtualClock()
  const driver = heldDriver(memoryTokenBucket({ clock }))
  const options = { name: 'calls', quotas, clock, ...(whenStoreFails === undefined ? {} : { whenStoreFails }) }
  return { clock, driver, limiter: createRateLimiter(driver, options) }
}

/** How a call of every decision ended, with a store that fails at once. */
async function decide(whenStoreFails: RateLimiterOptions['whenStoreFails']) {
  const { driver, limiter } = setUp(whenStoreFails)
  driver.state = 'failing'
  return {
    take: await limiter.take('k', { cost: 2 }).catch((error: unknown) => error),
    peek: await limiter.peek('k').catch((error: unknown) => error),
    wait: await limiter.wait('k', { cost: 2 }).catch((error: unknown) => error),
    refund: await limiter.refund('k', 2).catch((error: unknown) => error),
    reset: await limiter.reset('k').catch((error: unknown) => error),
  }
}

describe('whenStoreFails', () => {
  it("throws by default, and with 'throw', and says what may be assumed", async () => {
    for (const policy of [undefined, 'throw'] as const) {
      const outcomes = await decide(policy)
      for (const [verb, outcome] of Object.entries(outcomes)) {
        expect(outcome, verb).toBeInstanceOf(StoreUnavailableError)
        expect(outcome, verb).toMatchObject({ applied: 'unknown', cause: new Error('LOADING the dataset') })
      }
    }
  })

  it("'allow' grants all that was asked", async () => {
    const { take, peek, wait, refund } = await decide('allow')
    expect(take).toEqual({ allowed: true, granted: 2, remaining: 0, fullInMs: 0 })
    expect(peek).toEqual({ allowed: true, granted: 0, remaining: 0, fullInMs: 0 })
    expect(wait).toBeUndefined()
    expect(refund).toBeInstanceOf(StoreUnavailableError)
  })

  it("'refuse' grants nothing, and a wait throws", async () => {
    const { take, peek, wait, reset } = await decide('refuse')
    const refusal = { allowed: false, granted: 0, remaining: 0, retryAfterMs: 1_000, fullInMs: 0 }
    expect(take).toEqual(refusal)
    expect(peek).toEqual(refusal)
    expect(wait).toBeInstanceOf(StoreUnavailableError)
    expect(reset).toBeInstanceOf(StoreUnavailableError)
  })

  it('another limiter decides in its place', async () => {
    const clock = virtualClock()
    const other = createRateLimiter(memoryTokenBucket({ clock }), { name: 'calls', quotas, clock })
    const { take, peek, wait } = await decide(other)
    expect(take).toMatchObject({ allowed: true, granted: 2, remaining: 3 })
    expect(peek).toMatchObject({ allowed: true, remaining: 3 })
    expect(wait).toBeUndefined()
    expect(await other.take('k')).toMatchObject({ allowed: true, remaining: 0 })
    await setUp(other).limiter.close()
    expect((await other.take('open still')).allowed).toBe(true)
  })

  it('lets a wait wait with the other limiter, by its own bounds', async () => {
    const clock = virtualClock()
    const other = createRateLimiter(memoryTokenBucket({ clock }), {
      name: 'calls',
      quotas: [{ capacity: 1, refill: 1, perMs: 100 }],
      clock,
    })
    const { driver, limiter } = setUp(other)
    driver.state = 'failing'
    await limiter.wait('k')
    await expect(limiter.wait('k', { maxWaitMs: 50 })).rejects.toMatchObject({ code: 'ERR_WAIT_TIMEOUT' })
    let woken = false
    const waiting = limiter.wait('k').then(() => (woken = true))
    await clock.advance(99)
    expect(woken).toBe(false)
    await clock.advance(1)
    await waiting
  })

  it('is not asked about wrong arguments, aborts and refusals', async () => {
    const { driver, limiter } = setUp('allow')
    await expect(limiter.take('k', { cost: 6 })).rejects.toThrow(RangeError)
    await expect(limiter.wait('k', { signal: AbortSignal.abort(new Error('mine')) })).rejects.toThrow('mine')
    await limiter.take('k', { cost: 5 })
    await expect(limiter.wait('k', { maxWaitMs: 1 })).rejects.toMatchObject({ code: 'ERR_WAIT_TIMEOUT' })
    expect((await limiter.take('k')).allowed).toBe(false)
    driver.state = 'failing'
    await limiter.close()
    await expect(limiter.take('k')).rejects.toMatchObject({ code: 'ERR_CLOSED' })
  })
})

describe('a store that does not answer', () => {
  it.each([
    ['unreachable', 'no'],
    ['silent', 'unknown'],
  ] as const)('%s: no call outlives the default time-out of a second, applied %s', async (state, applied) => {
    const { clock, driver, limiter } = setUp()
    driver.state = state
    const calls = [
      limiter.take('k'),
      limiter.take('other', { cost: 2, atMost: true }),
      limiter.wait('k'),
      limiter.peek('k'),
      limiter.refund('k', 1),
      limiter.reset('k'),
    ]
    let settled = 0
    for (const call of calls)
      call.then(
        () => settled++,
        () => settled++,
      )
    await clock.advance(999)
    expect(settled).toBe(0)
    await clock.advance(1)
    for (const call of calls) await expect(call).rejects.toMatchObject({ code: 'ERR_STORE_UNAVAILABLE', applied })
    expect(driver.sent.length > 0).toBe(applied === 'unknown')
    await limiter.close()
    expect(clock.pending).toBe(0)
  })

  it('gives back what a late reply took for a call that was told that it failed', async () => {
    for (const policy of ['throw', 'refuse'] as const) {
      const { clock, driver, limiter } = setUp(policy)
      driver.state = 'silent'
      const calls = Promise.allSettled([limiter.take('k'), limiter.take('k', { cost: 2 })])
      await clock.advance(1_000)
      await calls
      driver.state = 'serving'
      expect((await limiter.peek('k')).remaining).toBe(2)
      driver.release()
      await clock.advance(0)
      expect((await limiter.peek('k')).remaining).toBe(5)
    }
  })

  it('keeps what a late reply took for a call that was let through', async () => {
    const { clock, driver, limiter } = setUp('allow')
    driver.state = 'silent'
    const call = limiter.take('k')
    await clock.advance(1_000)
    expect(await call).toMatchObject({ allowed: true })
    driver.state = 'serving'
    driver.release()
    await clock.advance(0)
    expect((await limiter.peek('k')).remaining).toBe(4)
  })

  it('closes within the time-out', async () => {
    const { clock, driver, limiter } = setUp()
    driver.state = 'silent'
    const call = limiter.take('k')
    const failed = expect(call).rejects.toMatchObject({ applied: 'unknown' })
    await settle()
    let closed = false
    const closing = limiter.close().then(() => (closed = true))
    await clock.advance(999)
    expect(closed).toBe(false)
    await clock.advance(1)
    await Promise.all([failed, closing])
  })
})

/** As Node and undici make them. */
const withCode = <E extends Error>(error: E, code: string) => Object.assign(error, { code })
const fetchFailed = (cause: Error, code: string): TypeError =>
  new TypeError(`fetch failed: ${code}`, { cause: withCode(cause, code) })

/** What the driver over Redis makes of a reply that is no list. */
function faultOf(reply: unknown): Error {
  try {
    throw new Error(`a list of ${listReply(reply).length}`)
  } catch (error) {
    return error as Error
  }
}

const throwing = (error: Error): RateLimitDriver => ({
  open: (name) => ({ ...memoryTokenBucket().open(name), take: () => Promise.reject(error) }),
})

/** The four calls that `whenStoreFails` decides for. */
const decided = (limiter: RateLimiter) => [
  limiter.take('k'),
  limiter.wait('k'),
  limiter.peek('k'),
  limiter.reserve('k'),
]

describe('an error that a driver throws', () => {
  it.each([
    new TypeError('at is not a function'),
    new RangeError('Invalid array length'),
    new SyntaxError('Unexpected token'),
    new ReferenceError('bucket is not defined'),
    fetchFailed(new TypeError('Invalid URL'), 'ERR_INVALID_URL'),
    faultOf('QUEUED'),
  ])('is of the program, and no policy decides: %s', async (error) => {
    for (const whenStoreFails of ['allow', 'refuse', setUp().limiter] as const) {
      const limiter = createRateLimiter(throwing(error), { name: 'calls', quotas, whenStoreFails })
      for (const call of decided(limiter)) {
        await expect(call).rejects.toMatchObject({ code: 'ERR_STORE_UNAVAILABLE', cause: error })
      }
    }
  })

  it.each([
    new Error('LOADING the dataset'),
    withCode(new Error('connect'), 'ECONNREFUSED'),
    fetchFailed(new Error('connect'), 'ECONNREFUSED'),
    fetchFailed(new Error('other side closed'), 'UND_ERR_SOCKET'),
    fetchFailed(new AggregateError([]), 'ETIMEDOUT'),
    faultOf('OK'),
  ])('is of the store, and the policy decides: %s', async (error) => {
    const limiter = createRateLimiter(throwing(error), { name: 'calls', quotas, whenStoreFails: 'allow' })
    expect(await Promise.all(decided(limiter))).toMatchObject([{ allowed: true }, undefined, { allowed: true }, {}])
  })
})
