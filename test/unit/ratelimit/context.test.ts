import { AsyncLocalStorage } from 'node:async_hooks'
import { expect, it } from 'vitest'
import { createRateLimiter, memoryTokenBucket, type RateLimitDriver } from '../../../src/ratelimit/index.js'
import { systemClock, type Clock } from '../../../src/core/clock.js'
import { sleep } from '../../services/net.js'

const requests = new AsyncLocalStorage<string>()
const quotas = [{ capacity: 10, refill: 1, perMs: 20 }] as const

/** A driver that notes in whose context it is asked, and a clock that notes in whose context its timers run. */
function setUp() {
  const asked: (string | undefined)[] = []
  const woken: (string | undefined)[] = []
  const below = memoryTokenBucket()
  const noted = <R>(answer: R): R => {
    asked.push(requests.getStore())
    return answer
  }
  const driver: RateLimitDriver = {
    open(name) {
      const store = below.open(name)
      return {
        take: (...args) => noted(store.take(...args)),
        adjust: (...args) => noted(store.adjust(...args)),
        reset: (...args) => noted(store.reset(...args)),
      }
    },
  }
  const clock: Clock = {
    ...systemClock,
    after: (delayMs, run, unref) =>
      systemClock.after(
        delayMs,
        () => {
          woken.push(requests.getStore())
          run()
        },
        unref,
      ),
  }
  return { asked, woken, driver, clock }
}

it('asks the store, and sets its timers, in the context of no caller', async () => {
  const { asked, woken, driver, clock } = setUp()
  const leased = createRateLimiter(driver, { name: 'calls', quotas, clock, lease: { tokens: 2, leaseMs: 60 } })
  const plain = createRateLimiter(driver, { name: 'calls', quotas, clock })
  const slow = createRateLimiter(memoryTokenBucket(), {
    name: 'calls',
    quotas: [{ ...quotas[0], perMs: 3_600_000 }],
    clock,
  })
  await requests.run('first', async () => {
    await leased.take('k')
    await plain.wait('w', { cost: 10 })
    void plain.wait('w', { cost: 1 })
    void plain.wait('w', { cost: 1 })
    const controller = new AbortController()
    await slow.wait('w', { cost: 10 })
    const aborted = slow.wait('w', { signal: controller.signal })
    await slow.peek('w')
    controller.abort(new Error('no longer'))
    await expect(aborted).rejects.toThrow('no longer')
  })
  await requests.run('second', async () => {
    await Promise.all([leased.take('l'), plain.take('k'), plain.refund('k', 1), plain.reset('x')])
    await plain.wait('w')
  })
  await sleep(150)
  await Promise.all([leased.close(), plain.close(), slow.close()])
  expect(asked.length).toBeGreaterThan(8)
  expect(new Set(asked)).toEqual(new Set([undefined]))
  // One of the lease and one of the line at the least: on a busy machine one timer serves several.
  expect(woken.length).toBeGreaterThanOrEqual(2)
  expect(new Set(woken)).toEqual(new Set([undefined]))
})

it("goes on in the caller's own context, also where another limiter decides", async () => {
  const { driver } = setUp()
  const failing: RateLimitDriver = {
    open: (name) => ({
      ...driver.open(name),
      take: async (_limits, _runs, trip) => {
        trip.sending()
        throw new Error('LOADING')
      },
    }),
  }
  const seen: (string | undefined)[] = []
  const other = createRateLimiter(memoryTokenBucket(), { name: 'calls', quotas })
  const whenStoreFails = {
    ...other,
    take: async (...args: Parameters<typeof other.take>) => {
      seen.push(requests.getStore())
      return other.take(...args)
    },
    wait: async (...args: Parameters<typeof other.wait>) => {
      seen.push(requests.getStore())
      return other.wait(...args)
    },
  }
  const limiter = createRateLimiter(failing, { name: 'calls', quotas, whenStoreFails })
  await Promise.all(
    ['one', 'two', 'three'].map((name) =>
      requests.run(name, async () => {
        await limiter.take('k')
        expect(requests.getStore()).toBe(name)
        await limiter.wait('k')
        expect(requests.getStore()).toBe(name)
      }),
    ),
  )
  expect(seen.sort()).toEqual(['one', 'one', 'three', 'three', 'two', 'two'])
})
