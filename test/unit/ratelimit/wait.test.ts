import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { ClosedError, WaitTimeoutError } from '../../../src/core/errors.js'
import { createRateLimiter, memoryTokenBucket, type RateLimiterOptions } from '../../../src/ratelimit/index.js'
import { settle, virtualClock } from '../../support/virtual-clock.js'
import { heldDriver } from './held-driver.js'

/** A bucket of two that gains one every 100 ms, and a record of who woke when. */
function setUp(quotas: RateLimiterOptions['quotas'] = [{ capacity: 2, refill: 1, perMs: 100 }]) {
  const clock = virtualClock()
  const startMs = clock.nowMs()
  const driver = heldDriver(memoryTokenBucket({ clock }))
  const limiter = createRateLimiter(driver, { name: 'calls', quotas, clock })
  const woken: [string, number][] = []
  const wait = (name: string, options?: Parameters<typeof limiter.wait>[1]): Promise<void> =>
    limiter.wait('k', options).then(() => void woken.push([name, clock.nowMs() - startMs]))
  return { clock, driver, limiter, wait, woken }
}

describe('wait', () => {
  it('wakes callers in order, each at the moment its tokens are due', async () => {
    const { clock, wait, woken } = setUp()
    for (const name of ['a', 'b', 'c', 'd']) void wait(name)
    void wait('e', { cost: 2 })
    void wait('f')
    await clock.advance(1_000)
    expect(woken).toEqual([
      ['a', 0],
      ['b', 0],
      ['c', 100],
      ['d', 200],
      ['e', 400],
      ['f', 500],
    ])
    expect(clock.pending).toBe(0)
  })

  it('is due to the microsecond', async () => {
    const { clock, wait, woken } = setUp([{ capacity: 1, refill: 3, perMs: 1 }])
    for (const name of ['a', 'b', 'c', 'd']) void wait(name)
    await clock.advance(2)
    expect(woken.map(([, ms]) => Math.round(ms * 1_000))).toEqual([0, 334, 667, 1_000])
  })

  it('keeps takes out until the reserved tokens have come', async () => {
    const { clock, limiter, wait } = setUp()
    for (const name of ['a', 'b', 'c']) void wait(name)
    expect(await limiter.take('k')).toMatchObject({ allowed: false, remaining: 0, retryAfterMs: 200, fullInMs: 300 })
    await clock.advance(199)
    expect((await limiter.take('k')).allowed).toBe(false)
    await clock.advance(1)
    expect((await limiter.take('k')).allowed).toBe(true)
  })

  it('rejects at once what cannot be due in time, and takes nothing for it', async () => {
    const { clock, limiter, wait, woken } = setUp()
    await limiter.take('k', { cost: 2 })
    await expect(wait('a', { maxWaitMs: 99.9 })).rejects.toThrow(WaitTimeoutError)
    await expect(wait('b', { maxWaitMs: 0 })).rejects.toThrow(/due in 100 ms/)
    void wait('c', { maxWaitMs: 100 })
    await expect(wait('d', { maxWaitMs: 199.999 })).rejects.toThrow(WaitTimeoutError)
    void wait('e', { maxWaitMs: 200 })
    await clock.advance(200)
    expect(woken).toEqual([
      ['c', 100],
      ['e', 200],
    ])
  })

  it('rejects with the reason of a signal that has aborted already, and takes nothing', async () => {
    const { limiter } = setUp()
    const reason = { any: 'value' }
    await expect(limiter.wait('k', { signal: AbortSignal.abort(reason) })).rejects.toBe(reason)
    expect((await limiter.peek('k')).remaining).toBe(2)
  })

  it('gives tokens back on abort, and lets those behind move up', async () => {
    const { clock, limiter, wait, woken } = setUp()
    await limiter.take('k', { cost: 2 })
    const controller = new AbortController()
    const reason = new Error('no longer')
    void wait('a')
    const aborted = wait('b', { cost: 2, signal: controller.signal })
    void wait('c')
    void wait('d')
    await clock.advance(50)
    controller.abort(reason)
    await expect(aborted).rejects.toBe(reason)
    void wait('e')
    await clock.advance(1_000)
    expect(woken).toEqual([
      ['a', 100],
      ['c', 200],
      ['d', 300],
      ['e', 400],
    ])
  })

  it('gives back what a call took whose abort came while its answer was under way', async () => {
    const { clock, driver, limiter } = setUp()
    const controller = new AbortController()
    driver.state = 'silent'
    const waiting = limiter.wait('k', { cost: 2, signal: controller.signal })
    await settle()
    expect(driver.sent).toEqual(['take'])
    controller.abort(new Error('no longer'))
    await expect(waiting).rejects.toThrow('no longer')
    driver.state = 'serving'
    driver.release()
    await clock.advance(0)
    expect(driver.sent).toEqual(['take', 'adjust'])
    expect((await limiter.peek('k')).remaining).toBe(2)
  })

  it('leaves no listener on the signal', async () => {
    const { clock, limiter } = setUp()
    let listeners = 0
    const { signal } = new AbortController()
    const add = signal.addEventListener.bind(signal)
    const remove = signal.removeEventListener.bind(signal)
    signal.addEventListener = (...args: Parameters<typeof add>) => void (listeners++, add(...args))
    signal.removeEventListener = (...args: Parameters<typeof remove>) => void (listeners--, remove(...args))
    const waits = Array.from({ length: 5 }, () => limiter.wait('k', { signal }))
    await settle()
    expect(listeners).toBeGreaterThan(0)
    await clock.advance(1_000)
    await Promise.all(waits)
    expect(listeners).toBe(0)
  })

  it('sends sleepers away on close, and gives their tokens back', async () => {
    const { clock, driver, limiter } = setUp()
    const waits = Array.from({ length: 4 }, () => limiter.wait('k'))
    await settle()
    const closing = limiter.close()
    for (const wait of waits.slice(2)) await expect(wait).rejects.toThrow(ClosedError)
    await closing
    await Promise.all(waits.slice(0, 2))
    expect(clock.pending).toBe(0)
    const next = createRateLimiter(driver, { name: 'calls', quotas: [{ capacity: 2, refill: 1, perMs: 100 }], clock })
    expect(await next.take('k')).toMatchObject({ allowed: false, retryAfterMs: 100 })
  })

  it('never lets more through than the bucket gained, whatever callers do', async () => {
    const call = fc.record({
      afterMs: fc.nat(60),
      cost: fc.constantFrom(1, 2, 3, 3),
      abortAfterMs: fc.option(fc.nat(600), { nil: undefined }),
      maxWaitMs: fc.constantFrom(Infinity, 0, 250),
    })
    await fc.assert(
      fc.asyncProperty(fc.array(call, { minLength: 1, maxLength: 25 }), async (calls) => {
        const { clock, limiter } = setUp([{ capacity: 3, refill: 1, perMs: 50 }])
        const started: number[] = []
        const through: { readonly atMs: number; readonly cost: number; readonly order: number }[] = []
        const all: Promise<unknown>[] = []
        for (const [order, { afterMs, cost, abortAfterMs, maxWaitMs }] of calls.entries()) {
          await clock.advance(afterMs)
          const controller = new AbortController()
          if (abortAfterMs !== undefined) clock.after(abortAfterMs, () => controller.abort(new Error('aborted')))
          started.push(clock.nowMs())
          const wait = limiter.wait('k', { cost, maxWaitMs, signal: controller.signal })
          all.push(
            wait.then(
              () => through.push({ atMs: clock.nowMs(), cost, order }),
              () => undefined,
            ),
          )
        }
        await clock.advance(60_000)
        await Promise.all(all)
        expect(through.map(({ order }) => order)).toEqual(through.map(({ order }) => order).sort((a, b) => a - b))
        for (let from = 0; from < through.length; from++) {
          let sum = 0
          for (const { atMs, cost } of through.slice(from)) {
            sum += cost
            expect(sum).toBeLessThanOrEqual(3 + (atMs - (through[from]?.atMs ?? 0)) / 50 + 1e-6)
          }
        }
        expect((await limiter.peek('k')).remaining).toBe(3)
        expect(clock.pending).toBe(0)
      }),
      { numRuns: 300 },
    )
  }, 60_000)
})
