import { describe, expect, it } from 'vitest'
import { memoryTier, memoryWriteBehind } from '../../../src/cache/index.js'
import { ClosedError } from '../../../src/core/errors.js'
import {
  createRateLimiter,
  memoryTokenBucket,
  type Quota,
  type RateLimiterOptions,
} from '../../../src/ratelimit/index.js'
import { virtualClock } from '../../support/virtual-clock.js'

const tenASecond: Quota = { capacity: 10, refill: 10, perMs: 1_000 }

function setUp(quotas: RateLimiterOptions['quotas'] = [tenASecond], options: Partial<RateLimiterOptions> = {}) {
  const clock = virtualClock()
  const driver = memoryTokenBucket({ clock })
  return { clock, driver, limiter: createRateLimiter(driver, { name: 'calls', quotas, clock, ...options }) }
}

describe('createRateLimiter', () => {
  it.each([
    [{ name: undefined }, TypeError, 'name'],
    [{ name: '' }, RangeError, 'name'],
    [{ name: 5 }, TypeError, 'name'],
    [{ maxWait: 5 }, TypeError, 'there is no option "maxWait", only name, quotas, timeoutMs'],
    [{ lease: { tokens: 1, leaseMs: 1, ms: 1 } }, TypeError, '"ms"'],
    [{ lease: 5 }, TypeError, 'lease'],
    [{ lease: false }, TypeError, 'lease: options must be an object with tokens, leaseMs, got false'],
    [{ lease: 0 }, TypeError, 'got 0'],
    [{ lease: '' }, TypeError, 'got ""'],
    [{ quotas: [{ ...tenASecond, per: 1 }] }, TypeError, 'quotas[0]: there is no option "per"'],
    [{ quotas: [null] }, TypeError, 'quotas[0]'],
    [{ quotas: [] }, RangeError, 'quotas'],
    [{ quotas: undefined }, TypeError, 'quotas'],
    [{ quotas: [tenASecond, { ...tenASecond, refill: 0 }] }, RangeError, 'quotas[1].refill'],
    [{ timeoutMs: 0 }, RangeError, 'timeoutMs'],
    [{ timeoutMs: '1s' }, TypeError, 'timeoutMs'],
    [{ whenStoreFails: 'ignore' }, TypeError, 'whenStoreFails'],
    [{ whenStoreFails: null }, TypeError, 'whenStoreFails'],
    [{ whenStoreFails: false }, TypeError, 'got false'],
    [{ quotas: false }, TypeError, 'got false'],
    [{ quotas: [{ ...tenASecond, initial: '' }] }, TypeError, 'got ""'],
    [{ whenStoreFails: {} }, TypeError, 'whenStoreFails'],
    [{ lease: { tokens: 0, leaseMs: 1 } }, RangeError, 'lease.tokens'],
    [{ lease: { tokens: 1, leaseMs: 0 } }, RangeError, 'lease.leaseMs'],
    [{ lease: { tokens: 1 } }, TypeError, 'lease.leaseMs'],
  ])('turns %o away', (wrong, error, named) => {
    const make = () =>
      createRateLimiter(memoryTokenBucket(), { name: 'calls', quotas: [tenASecond], ...wrong } as never)
    expect(make).toThrow(error)
    expect(make).toThrow(named)
  })

  it.each([
    [undefined, 'undefined'],
    [null, 'null'],
    [{ status: 'ready', evalsha: () => undefined }, 'a Redis client'],
    [{ take: () => undefined, password: 'secret' }, 'an object with take, password'],
    [new (class Redis {})(), 'Redis'],
    [memoryTokenBucket, 'memoryTokenBucket'],
    [setUp().limiter, 'a limiter'],
  ])('turns a driver away that is none, and names it: %#', (wrong, named) => {
    const make = () => createRateLimiter(wrong as never, { name: 'calls', quotas: [tenASecond] })
    expect(make).toThrow(TypeError)
    expect(make).toThrow(/driver must be a driver of buckets/)
    expect(make).toThrow(named)
  })

  it.each([
    ['memoryTier', memoryTier({ maxEntries: 1 })],
    ['memoryWriteBehind', memoryWriteBehind()],
    ['nothing', { open: () => null }],
    ['a promise', { open: async () => memoryTokenBucket().open('calls') }],
    ['only some verbs', { open: () => ({ ...memoryTokenBucket().open('calls'), reset: undefined }) }],
  ])('turns a driver away that opens something else: %s', (_, wrong) => {
    const make = () => createRateLimiter(wrong as never, { name: 'calls', quotas: [tenASecond] })
    expect(make).toThrow(TypeError)
    expect(make).toThrow(/^what driver opens must be the buckets of a limiter, got /)
  })

  it('turns missing options away', () => {
    expect(() => createRateLimiter(memoryTokenBucket(), undefined as never)).toThrow(/options must be .*undefined/)
  })

  it('does no I/O', () => {
    const { clock } = setUp()
    expect(clock.pending).toBe(0)
  })
})

describe('arguments', () => {
  const { limiter, clock } = setUp()
  const any = limiter as unknown as Record<
    'take' | 'wait' | 'reserve' | 'peek' | 'refund' | 'charge' | 'reset',
    (...args: unknown[]) => Promise<unknown>
  >

  it.each([
    ['take', [''], RangeError, 'key'],
    ['take', [5], TypeError, 'key'],
    ['take', ['x'.repeat(8_193)], RangeError, 'key'],
    ['take', ['\ud800'], RangeError, 'key'],
    ['take', ['k', { cost: 0 }], RangeError, 'cost'],
    ['take', ['k', { cost: -1 }], RangeError, 'cost'],
    ['take', ['k', { cost: 1.5 }], RangeError, 'cost'],
    ['take', ['k', { cost: NaN }], RangeError, 'cost'],
    ['take', ['k', { cost: '1' }], TypeError, 'cost'],
    ['take', ['k', { cost: null }], TypeError, 'cost'],
    ['take', ['k', { cost: 11 }], RangeError, '11'],
    ['take', ['k', { cost: 11, atMost: true }], RangeError, '11'],
    ['take', ['k', { atMost: 'yes' }], TypeError, 'atMost'],
    ['take', ['k', { tokens: 5 }], TypeError, '"tokens", only cost, atMost'],
    ['take', ['k', 5], TypeError, 'options must be an object with cost, atMost, got 5'],
    ['wait', ['k', { maxWait: 5 }], TypeError, '"maxWait", only cost, maxWaitMs, signal'],
    ['reserve', ['k', { signal: undefined }], TypeError, '"signal", only cost, maxWaitMs'],
    ['reserve', ['k', { cost: 11 }], RangeError, '11'],
    ['reserve', ['k', { maxWaitMs: -1 }], RangeError, 'maxWaitMs'],
    ['charge', ['k', 0], RangeError, 'tokens'],
    ['charge', ['k', -3], RangeError, 'tokens'],
    ['charge', ['k', 0.5], RangeError, 'tokens'],
    ['charge', ['k', NaN], RangeError, 'tokens'],
    ['charge', ['', 1], RangeError, 'key'],
    ['wait', ['', {}], RangeError, 'key'],
    ['wait', ['k', { cost: 11 }], RangeError, '11'],
    ['wait', ['k', { maxWaitMs: -1 }], RangeError, 'maxWaitMs'],
    ['wait', ['k', { maxWaitMs: NaN }], RangeError, 'maxWaitMs'],
    ['wait', ['k', { maxWaitMs: '5' }], TypeError, 'maxWaitMs'],
    ['wait', ['k', { signal: false }], TypeError, 'signal must be an AbortSignal, got false'],
    [
      'wait',
      ['k', { signal: new AbortController() }],
      TypeError,
      'signal must be an AbortSignal, got an AbortController',
    ],
    ['peek', [''], RangeError, 'key'],
    ['refund', ['', 1], RangeError, 'key'],
    ['refund', ['k', 0], RangeError, 'tokens'],
    ['refund', ['k', -3], RangeError, 'tokens'],
    ['refund', ['k', 0.5], RangeError, 'tokens'],
    ['refund', ['k'], TypeError, 'tokens'],
    ['reset', [undefined], TypeError, 'key'],
  ] as const)('%s%j rejects and changes nothing', async (verb, args, error, named) => {
    const call = any[verb](...args)
    await expect(call).rejects.toThrow(error)
    await expect(call).rejects.toThrow(named)
    expect((await limiter.peek('k')).remaining).toBe(10)
    expect(clock.pending).toBe(0)
  })

  it('names the smallest capacity that a cost is above', async () => {
    const both = setUp([tenASecond, { ...tenASecond, capacity: 4 }]).limiter
    await expect(both.take('k', { cost: 5 })).rejects.toThrow(/at most 4.*got 5/)
  })
})

describe('decisions', () => {
  it('carry what was granted, what is left, and when it is back', async () => {
    const { limiter, clock } = setUp()
    expect(await limiter.take('k')).toEqual({ allowed: true, granted: 1, remaining: 9, fullInMs: 100 })
    expect(await limiter.take('k', { cost: 9 })).toEqual({ allowed: true, granted: 9, remaining: 0, fullInMs: 1_000 })
    await clock.advance(30)
    const refusal = { allowed: false, granted: 0, remaining: 0, fullInMs: 970 }
    expect(await limiter.take('k')).toEqual({ ...refusal, retryAfterMs: 70 })
    expect(await limiter.take('k', { cost: 3 })).toEqual({ ...refusal, retryAfterMs: 270 })
    expect(await limiter.take('k', { cost: 3, atMost: true })).toEqual({ ...refusal, retryAfterMs: 70 })
    expect(await limiter.peek('k')).toEqual({ ...refusal, retryAfterMs: 70 })
    await clock.advance(70)
    expect(await limiter.peek('k')).toEqual({ allowed: true, granted: 0, remaining: 1, fullInMs: 900 })
  })

  it('are neither early nor a token late, to the microsecond', async () => {
    const { limiter, clock } = setUp([{ capacity: 7, refill: 3, perMs: 10 }])
    await limiter.take('k', { cost: 7 })
    for (let n = 0; n < 200; n++) {
      const cost = 1 + (n % 7)
      const decision = await limiter.take('k', { cost })
      if (decision.allowed) throw new Error('the bucket was to be empty')
      await clock.advance(decision.retryAfterMs - 0.001)
      expect((await limiter.take('k', { cost })).allowed).toBe(false)
      await clock.advance(0.001)
      expect((await limiter.take('k', { cost })).allowed).toBe(true)
    }
  })

  it('tell the slowest of several quotas', async () => {
    const { limiter } = setUp([tenASecond, { capacity: 5, refill: 1, perMs: 60_000 }])
    expect(await limiter.take('k', { cost: 5 })).toEqual({ allowed: true, granted: 5, remaining: 0, fullInMs: 300_000 })
    expect(await limiter.take('k', { cost: 2 })).toMatchObject({ allowed: false, retryAfterMs: 120_000 })
  })

  it('are the same for calls that share a trip as for calls one by one', async () => {
    const costs = Array.from({ length: 300 }, (_, n) => ({
      key: `k${n % 3}`,
      cost: 1 + ((n * 7) % 4),
      atMost: n % 5 === 0,
    }))
    const quotas: RateLimiterOptions['quotas'] = [
      { capacity: 90, refill: 7, perMs: 31 },
      { capacity: 80, refill: 1, perMs: 9 },
    ]
    const [together, apart] = [setUp(quotas).limiter, setUp(quotas).limiter]
    const shared = await Promise.all(costs.map(({ key, ...options }) => together.take(key, options)))
    const alone = []
    for (const { key, ...options } of costs) alone.push(await apart.take(key, options))
    expect(shared).toEqual(alone)
    expect(alone.some((one) => one.allowed) && alone.some((one) => !one.allowed)).toBe(true)
  })

  it("admit the flash sale's rush: 50,000 at once, one a millisecond from then on, 500,000 at most", async () => {
    const { limiter, clock } = setUp([{ capacity: 500_000, refill: 1, perMs: 1, initial: 50_000 }])
    const rush = async (count: number): Promise<number> => {
      const decisions = await Promise.all(Array.from({ length: count }, () => limiter.take('sale')))
      return decisions.filter((one) => one.allowed).length
    }
    expect(await rush(60_000)).toBe(50_000)
    expect(await limiter.take('sale')).toMatchObject({ retryAfterMs: 1, fullInMs: 500_000 })
    for (let ms = 1; ms <= 50; ms++) {
      await clock.advance(1)
      expect(await rush(3)).toBe(1)
    }
    await clock.advance(700_000)
    expect((await limiter.peek('sale')).remaining).toBe(500_000)
    await clock.advance(86_400_000)
    expect((await limiter.peek('sale')).remaining, 'forgotten, and so a new one').toBe(50_000)
  })

  it('hold over a year of use, to the token', async () => {
    const { limiter, clock } = setUp([{ capacity: 1_000, refill: 3, perMs: 7 }])
    await limiter.take('k', { cost: 1_000 })
    let taken = 0
    for (let day = 0; day < 365; day++) {
      for (let n = 0; n < 20; n++) {
        await clock.advance(0.333)
        taken += (await limiter.take('k', { cost: 1_000, atMost: true })).granted
      }
    }
    expect(taken).toBe(Math.floor((365 * 20 * 0.333 * 3) / 7))
  })
})

describe('close', () => {
  it('turns later calls away, and may be called twice', async () => {
    const { limiter } = setUp()
    await limiter.take('k')
    await Promise.all([limiter.close(), limiter.close()])
    await limiter[Symbol.asyncDispose]()
    for (const call of [
      limiter.take('k'),
      limiter.wait('k'),
      limiter.peek('k'),
      limiter.refund('k', 1),
      limiter.reset('k'),
    ]) {
      await expect(call).rejects.toThrow(ClosedError)
    }
  })

  it('answers the calls that are under way', async () => {
    const { limiter } = setUp()
    const call = limiter.take('k')
    await limiter.close()
    expect((await call).allowed).toBe(true)
  })

  it('works by `await using`', async () => {
    const { limiter } = setUp()
    {
      await using door = limiter
      await door.take('k')
    }
    await expect(limiter.take('k')).rejects.toThrow(ClosedError)
  })
})
