import { afterEach, expect, it, vi } from 'vitest'
import { createRateLimiter, memoryTokenBucket } from '../../../src/ratelimit/index.js'

afterEach(() => void vi.useRealTimers())

it('goes by the fake timers of Vitest', async () => {
  vi.useFakeTimers()
  const quotas = [{ capacity: 1, refill: 1, perMs: 3_600_000 }] as const
  await using limiter = createRateLimiter(memoryTokenBucket(), { name: 'calls', quotas })
  expect((await limiter.take('k')).allowed).toBe(true)
  expect(await limiter.take('k')).toMatchObject({ allowed: false, retryAfterMs: 3_600_000 })
  const waiting = limiter.wait('k')
  await vi.advanceTimersByTimeAsync(3_600_000)
  await waiting
  await vi.advanceTimersByTimeAsync(3_600_000)
  expect((await limiter.take('k')).allowed).toBe(true)
})
