// The code of docs/guides/testing.md, and every module under the fake timers of Vitest.
import { constantBackoff, StoreUnavailableError, WaitTimeoutError } from 'spillway'
import { createCache, memoryTier, memoryWriteBehind, startWriteBehind } from 'spillway/cache'
import { createLock, memoryLock } from 'spillway/lock'
import { memoryQueue, startConsumer, startPublisher } from 'spillway/queue'
import { createRateLimiter, memoryTokenBucket, type RateLimiter } from 'spillway/ratelimit'
import { createStock, memoryStock, type Stock, type StockDriver } from 'spillway/stock'
import { afterEach, describe, expect, it, vi } from 'vitest'
import { virtualClock } from './virtual-clock.js'

// #region subject
/** What is to be tested: a door that takes its limiter as an argument. */
async function door(limiter: RateLimiter, user: string): Promise<'come in' | 'later'> {
  const decision = await limiter.take(user)
  return decision.allowed ? 'come in' : 'later'
}
// #endregion subject

describe('with a clock of their own', () => {
  // #region limiter
  it('lets a user in again after a minute', async () => {
    const clock = virtualClock()
    await using limiter = createRateLimiter(memoryTokenBucket({ clock }), {
      name: 'door',
      quotas: [{ capacity: 1, refill: 1, perMs: 60_000 }],
      clock, // the driver and the front have a clock each: give both the same
    })
    expect(await door(limiter, 'ann')).toBe('come in')
    expect(await door(limiter, 'ann')).toBe('later')
    await clock.advance(60_000)
    expect(await door(limiter, 'ann')).toBe('come in')
  })
  // #endregion limiter

  it('gives up when somebody else holds the lock', async () => {
    const clock = virtualClock()
    await using lock = createLock(memoryLock({ clock }), { clock })
    await using _held = await lock.acquire('report')
    const waiting = lock.acquire('report', { maxWaitMs: 5_000 })
    const outcome = expect(waiting).rejects.toThrow(WaitTimeoutError)
    await clock.advance(5_000)
    await outcome
  })

  it('loads again when the value has expired', async () => {
    const clock = virtualClock()
    let loads = 0
    await using cache = createCache([memoryTier({ maxEntries: 10, clock })], {
      name: 'prices',
      load: () => ++loads,
      ttlMs: 60_000,
      jitter: 0, // no chance in a test: expires after a minute sharp
      earlyRefresh: 0,
      clock,
    })
    expect(await cache.get('shoe')).toBe(1)
    await clock.advance(59_999)
    expect(await cache.get('shoe')).toBe(1)
    await clock.advance(1)
    expect(await cache.get('shoe')).toBe(2)
  })

  // #region queue
  it('tries a message again after its back-off', async () => {
    const clock = virtualClock()
    const queue = memoryQueue({ clock })
    const attempts: number[] = []
    await using _consumer = await startConsumer<string>(queue, {
      topic: 'mails',
      group: 'sender',
      backoff: constantBackoff(30_000),
      clock,
      handle: ({ attempt }) => {
        attempts.push(attempt)
        if (attempt === 1) throw new Error('the mail server is away')
      },
    })
    await using publisher = await startPublisher<string>(queue, { topic: 'mails', clock })
    await publisher.publish({ id: 'm-1', body: 'hello' })
    await clock.advance(0)
    expect(attempts).toEqual([1])
    await clock.advance(30_000)
    expect(attempts).toEqual([1, 2])
  })
  // #endregion queue
})

describe('a store that fails', () => {
  async function buy(stock: Stock): Promise<number> {
    try {
      return (await stock.sell({ sku: 'shoe', orderId: 'o-1' })).ok ? 202 : 409
    } catch (error) {
      if (error instanceof StoreUnavailableError) return 503
      throw error
    }
  }

  // #region failing
  it('answers 503 while the stock is away', async () => {
    const away: StockDriver = {
      ...memoryStock(),
      sell: () => Promise.reject(new StoreUnavailableError('away', { applied: 'no' })),
    }
    await using stock = createStock(away)
    expect(await buy(stock)).toBe(503)
  })
  // #endregion failing
})

describe('the fake timers of Vitest', () => {
  afterEach(() => void vi.useRealTimers())

  // #region vitest
  it('move a limiter', async () => {
    vi.useFakeTimers() // Vitest's default set is right
    await using limiter = createRateLimiter(memoryTokenBucket(), {
      name: 'door',
      quotas: [{ capacity: 1, refill: 1, perMs: 60_000 }],
    })
    expect(await door(limiter, 'ann')).toBe('come in')
    const waiting = limiter.wait('ann')
    await vi.advanceTimersByTimeAsync(60_000) // the …Async call: promises settle in between
    await waiting
  })
  // #endregion vitest

  it('move a lock: the wait, the renewals and the end of a hold', async () => {
    vi.useFakeTimers()
    await using lock = createLock(memoryLock())
    const renewed = await lock.acquire('a', { ttlMs: 3_000 })
    const lost = await lock.acquire('b', { ttlMs: 3_000, renew: false })
    const outcome = expect(lock.acquire('a', { maxWaitMs: 5_000 })).rejects.toThrow(WaitTimeoutError)
    await vi.advanceTimersByTimeAsync(5_000)
    await outcome
    expect(renewed.signal.aborted).toBe(false)
    expect(lost.signal.aborted).toBe(true)
  })

  it('move a cache and a write-behind', async () => {
    vi.useFakeTimers()
    let loads = 0
    await using cache = createCache([memoryTier({ maxEntries: 10 })], {
      name: 'prices',
      load: () => ++loads,
      ttlMs: 60_000,
      jitter: 0,
      earlyRefresh: 0,
    })
    await cache.get('shoe')
    await vi.advanceTimersByTimeAsync(60_000)
    expect(await cache.get('shoe')).toBe(2)
    const flushed: string[] = []
    const behind = await startWriteBehind(memoryWriteBehind(), {
      name: 'totals',
      delayMs: 10_000,
      flush: (keys) => void flushed.push(...keys),
    })
    await behind.touch('k')
    await vi.advanceTimersByTimeAsync(10_001)
    expect(flushed).toEqual(['k'])
    await behind.close()
  })

  it('move a stock', async () => {
    vi.useFakeTimers()
    const silent: StockDriver = { ...memoryStock(), sell: () => new Promise(() => undefined) }
    const stock = createStock(silent, { timeoutMs: 2_000 })
    const outcome = expect(stock.sell({ sku: 'shoe', orderId: 'o-1' })).rejects.toThrow(StoreUnavailableError)
    await vi.advanceTimersByTimeAsync(2_000)
    await outcome
  })

  it('move a queue', async () => {
    vi.useFakeTimers()
    const queue = memoryQueue()
    const attempts: number[] = []
    await using _consumer = await startConsumer<string>(queue, {
      topic: 'mails',
      group: 'sender',
      backoff: constantBackoff(30_000),
      handle: ({ attempt }) => {
        attempts.push(attempt)
        if (attempt === 1) throw new Error('the mail server is away')
      },
    })
    await using publisher = await startPublisher<string>(queue, { topic: 'mails' })
    await publisher.publish({ id: 'm-1', body: 'hello' })
    await vi.advanceTimersByTimeAsync(30_000)
    expect(attempts).toEqual([1, 2])
  })
})
