import { describe, expect, it } from 'vitest'
import { createRateLimiter, memoryTokenBucket, type Quota } from '../../../src/ratelimit/index.js'
import { virtualClock } from '../../support/virtual-clock.js'

const slow: Quota = { capacity: 2, refill: 1, perMs: 60_000 }

describe('memoryTokenBucket', () => {
  it.each([0, -1, 1.5, NaN, Infinity])('turns maxKeys %d away', (maxKeys) => {
    expect(() => memoryTokenBucket({ maxKeys })).toThrow(RangeError)
  })

  it('forgets at maxKeys the bucket that was idle for longest', async () => {
    const limiter = createRateLimiter(memoryTokenBucket({ maxKeys: 3, clock: virtualClock() }), {
      name: 'calls',
      quotas: [slow],
    })
    for (const key of ['a', 'b', 'c']) await limiter.take(key, { cost: 2 })
    expect((await limiter.peek('a')).remaining).toBe(0)
    await limiter.refund('a', 1)
    await limiter.take('d')
    expect(await Promise.all(['a', 'b', 'c', 'd'].map(async (key) => (await limiter.peek(key)).remaining))).toEqual([
      1, 2, 0, 1,
    ])
  })

  it('counts a refusal as a use', async () => {
    const limiter = createRateLimiter(memoryTokenBucket({ maxKeys: 2, clock: virtualClock() }), {
      name: 'calls',
      quotas: [slow],
    })
    await limiter.take('a', { cost: 2 })
    await limiter.take('b', { cost: 2 })
    expect((await limiter.take('a')).allowed).toBe(false)
    await limiter.take('c')
    expect((await limiter.take('a')).allowed).toBe(false)
  })

  it('keeps apart what different factories made, and shares what one made', async () => {
    const clock = virtualClock()
    const driver = memoryTokenBucket({ clock })
    const [one, two] = [0, 1].map(() => createRateLimiter(driver, { name: 'calls', quotas: [slow], clock }))
    const other = createRateLimiter(memoryTokenBucket({ clock }), { name: 'calls', quotas: [slow], clock })
    await one?.take('k', { cost: 2 })
    expect((await two?.take('k'))?.allowed).toBe(false)
    expect((await other.take('k')).allowed).toBe(true)
  })

  it('forgets full buckets as others are used, so that idle keys cost nothing', async () => {
    const clock = virtualClock()
    const driver = memoryTokenBucket({ clock, maxKeys: 100 })
    const brief = createRateLimiter(driver, { name: 'calls', quotas: [{ capacity: 2, refill: 1, perMs: 1 }], clock })
    const lasting = createRateLimiter(driver, { name: 'calls', quotas: [slow], clock })
    await lasting.take('kept', { cost: 2 })
    for (let i = 0; i < 99; i++) await brief.take(`a${i}`)
    await clock.advance(10)
    // Were the idle ones still there, the longest idle, `kept`, would have to go.
    await lasting.take('kept')
    for (let i = 0; i < 99; i++) await lasting.take(`b${i}`, { cost: 2 })
    expect((await lasting.take('kept')).allowed).toBe(false)
  })

  it('remembers a full bucket that started with less for a day', async () => {
    const clock = virtualClock()
    const quota: Quota = { capacity: 10, refill: 10, perMs: 1_000, initial: 3 }
    const limiter = createRateLimiter(memoryTokenBucket({ clock }), { name: 'calls', quotas: [quota], clock })
    await limiter.take('k', { cost: 3 })
    await clock.advance(1_000 + 86_400_000 - 1)
    expect((await limiter.peek('k')).remaining).toBe(10)
    await clock.advance(1)
    expect((await limiter.peek('k')).remaining).toBe(3)
  })
})
