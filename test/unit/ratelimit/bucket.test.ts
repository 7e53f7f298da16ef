import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import {
  assign,
  available,
  chargeOther,
  grant,
  levelAt,
  putBack,
  staysRefused,
  toLimit,
  untilUs,
  viewOf,
  type Limit,
  type Quota,
  type Run,
  type StoredLevel,
} from '../../../src/ratelimit/bucket.js'

const limit = (quota: Partial<Quota> = {}): Limit =>
  toLimit('quota', { capacity: 10, refill: 10, perMs: 1_000, ...quota })
const run = (more: Partial<Run> = {}): Run => ({ key: 'k', cost: 1, count: 1, atMost: false, withinUs: 0, ...more })

describe('toLimit', () => {
  it.each([
    [{ capacity: 0 }, RangeError, 'quota.capacity'],
    [{ capacity: 1.5 }, RangeError, 'quota.capacity'],
    [{ capacity: -1 }, RangeError, 'quota.capacity'],
    [{ capacity: Infinity }, RangeError, 'quota.capacity'],
    [{ capacity: '10' }, TypeError, 'quota.capacity'],
    [{ refill: 0 }, RangeError, 'quota.refill'],
    [{ refill: NaN }, RangeError, 'quota.refill'],
    [{ refill: null }, TypeError, 'quota: refill must not be null'],
    [{ perMs: -1 }, RangeError, 'quota.perMs'],
    [{ perMs: Infinity }, RangeError, 'quota.perMs'],
    [{ initial: -1 }, RangeError, 'quota.initial'],
    [{ initial: 11 }, RangeError, 'quota.initial'],
    [{ initial: 0.5 }, RangeError, 'quota.initial'],
    [{ initial: '1' }, TypeError, 'quota.initial'],
    [{ refill: 1e308, perMs: 1e-9 }, RangeError, 'finite rate'],
    [{ refill: 1e-300, perMs: 1e300 }, RangeError, 'finite rate'],
  ])('turns %j away', (wrong, error, named) => {
    const make = (): Limit => limit(wrong as Partial<Quota>)
    expect(make).toThrow(error)
    expect(make).toThrow(named)
  })

  it('turns away what is no quota', () => {
    for (const wrong of [undefined, null, 5, 'x'])
      expect(() => toLimit('quotas[0]', wrong as never)).toThrow(/quotas\[0\]/)
  })

  it('starts full unless told otherwise', () => {
    expect(limit().initial).toBe(10)
    expect(limit({ initial: 0 }).initial).toBe(0)
  })
})

describe('levels', () => {
  const tenth = limit()

  it.each([
    [0, 99_999, 0],
    [0, 100_000, 1],
    [0, 199_999, 1],
    [0, 1_000_000, 10],
    [-3, 299_999, -1],
    [-3, 300_000, 0],
    [5, -50, 5],
  ])('of %i tokens %i µs ago are %i now', (tokens, sinceUs, now) => {
    expect(available(tenth, { tokens, sinceUs })).toBe(now)
  })

  it.each([
    [0, 0, 1, 100_000],
    [0, 99_999, 1, 1],
    [0, 100_000, 1, 0],
    [-2, 0, 3, 500_000],
    [4, 0, 10, 600_000],
    [0, -250, 1, 100_250],
  ])('of %i tokens %i µs ago reach %i in %i µs', (tokens, sinceUs, wanted, us) => {
    expect(untilUs(tenth, { tokens, sinceUs }, wanted)).toBe(us)
  })

  it('stop at the capacity, and start from the initial tokens', () => {
    const stored = { tokens: 9, atUs: 1_000, tokensPerUs: tenth.tokensPerUs }
    expect(levelAt(tenth, stored, 100_999)).toEqual({ tokens: 9, sinceUs: 99_999 })
    expect(levelAt(tenth, stored, 101_000)).toEqual({ tokens: 10, sinceUs: 0 })
    expect(levelAt(tenth, stored, 9e15)).toEqual({ tokens: 10, sinceUs: 0 })
    expect(levelAt(limit({ initial: 3 }), undefined, 9e15)).toEqual({ tokens: 3, sinceUs: 0 })
  })

  it('gain nothing twice when the clock is set back', () => {
    const stored = { tokens: 2, atUs: 500_000, tokensPerUs: tenth.tokensPerUs }
    const back = levelAt(tenth, stored, 100_000)
    expect(available(tenth, back)).toBe(2)
    expect(untilUs(tenth, back, 3)).toBe(500_000)
    expect(available(tenth, levelAt(tenth, stored, 599_999))).toBe(2)
    expect(available(tenth, levelAt(tenth, stored, 600_000))).toBe(3)
  })

  it('keep what was gained by the rate of then when the quota is changed', () => {
    const stored = { tokens: -1_000_000, atUs: 0, tokensPerUs: limit({ refill: 1_000_000 }).tokensPerUs }
    expect(levelAt(tenth, stored, 1_000_004)).toEqual({ tokens: 4, sinceUs: 0 })
  })

  it('keep the part of a token as well when the quota is changed, in the time of the new rate', () => {
    const stored = { tokens: 0, atUs: 0, tokensPerUs: limit({ refill: 5 }).tokensPerUs }
    // 1.4 tokens at 5 a second are 1, and 0.4 that took 40 ms at 10 a second.
    expect(levelAt(tenth, stored, 280_000)).toEqual({ tokens: 1, sinceUs: 40_000 })
    expect(levelAt(tenth, stored, -5)).toEqual({ tokens: 0, sinceUs: -5 })
  })

  it('gain at a rate between the two however often they change hands', () => {
    const rates = [limit({ capacity: 1_000, refill: 7, perMs: 11 }), limit({ capacity: 1_000, refill: 6, perMs: 11 })]
    const random = fc.sample(fc.nat(300), 20_000)
    let stored: StoredLevel = { tokens: 0, atUs: 0, tokensPerUs: rates[0]?.tokensPerUs as number }
    let nowUs = 0
    let taken = 0
    for (const us of random) {
      const one = rates[us % 2] as Limit
      nowUs += us
      const { tokens, sinceUs } = levelAt(one, stored, nowUs)
      const some = Math.max(0, tokens)
      taken += some
      stored = { tokens: tokens - some, atUs: nowUs - sinceUs, tokensPerUs: one.tokensPerUs }
    }
    expect(taken).toBeGreaterThanOrEqual((nowUs * 6) / 11_000 - 2)
    expect(taken).toBeLessThanOrEqual((nowUs * 7) / 11_000 + 2)
  })
})

describe('grant', () => {
  const ten = limit()
  const level = (tokens: number) => ({ tokens, sinceUs: 0 })

  it.each([
    [run({ count: 3 }), 5, 3],
    [run({ count: 9 }), 5, 5],
    [run({ cost: 2, count: 9 }), 5, 4],
    [run({ cost: 6 }), 5, 0],
    [run({ cost: 6, atMost: true }), 5, 5],
    [run({ cost: 2, count: 2, atMost: true }), 5, 4],
    [run({ cost: 0, count: 9 }), 5, 0],
    [run({ count: 9 }), -5, 0],
    [run({ atMost: true }), -5, 0],
    [run({ count: 9, withinUs: 199_999 }), 5, 6],
    [run({ count: 9, withinUs: 200_000 }), 5, 7],
    [run({ cost: 4, count: 100, withinUs: Infinity }), 0, 400],
  ])('gives %j, of %i tokens, %i', (wanted, tokens, taken) => {
    expect(grant([ten], [level(tokens)], wanted)).toBe(taken)
  })

  it('asks every quota', () => {
    const limits = [ten, limit({ capacity: 100 }), limit({ capacity: 4 })]
    expect(grant(limits, [level(9), level(80), level(4)], run({ cost: 3, count: 5 }))).toBe(3)
    expect(grant(limits, [level(9), level(80), level(0)], run({ cost: 3, count: 5 }))).toBe(0)
  })
})

describe('a bucket that other limits wrote', () => {
  const perMinute = (refill: number): Limit => limit({ capacity: refill, refill, perMs: 60_000 })
  const storedAt = (...rates: number[]): StoredLevel[] =>
    rates.map((rate, tokens) => ({ tokens, atUs: 0, tokensPerUs: perMinute(rate).tokensPerUs }))

  // By the place of what is stored; -1 where a limit begins anew.
  it.each([
    ['the same', [5, 100], [5, 100], [0, 1], []],
    ['another rate', [60], [90], [0], []],
    ['one more', [5], [5, 100], [0, -1], []],
    ['one more in front', [5], [100, 5], [-1, 0], []],
    ['one less', [5, 100], [100], [1], [0]],
    ['another order', [5, 100], [100, 5], [1, 0], []],
    ['another order and other rates', [5, 100], [120, 6], [1, 0], []],
    ['the closest rate of two', [5], [600, 6], [-1, 0], []],
    ['the closest pair first', [10, 20], [19, 40], [1, 0], []],
    ['two that are the same', [7, 7], [7, 7, 7], [0, 1, -1], []],
    ['none that is alike', [1], [1_000_000], [0], []],
    ['fewer than there were', [1, 10, 100], [12], [1], [0, 2]],
  ])('is gone on with: %s', (_, before, after, places, left) => {
    const bucket = storedAt(...before)
    const { stored, others } = assign(after.map(perMinute), bucket)
    expect(stored.map((one) => (one ? bucket.indexOf(one) : -1))).toEqual(places)
    expect(others.map((one) => bucket.indexOf(one))).toEqual(left)
  })

  it('is unused for no one whose quotas are more or fewer', () => {
    const drained: StoredLevel[] = [{ tokens: 0, atUs: 0, tokensPerUs: perMinute(5).tokensPerUs }]
    const { levels } = viewOf([perMinute(5), limit({ capacity: 100, refill: 100, perMs: 86_400_000 })], drained, 1_000)
    expect(levels).toEqual([
      { tokens: 0, sinceUs: 1_000 },
      { tokens: 100, sinceUs: 0 },
    ])
  })

  it.each([
    ['its own limit is empty', [5], [5], 0, true],
    ['an unused one', [], [5], 0, false],
    ['the limit of another is empty', [5], [6], 0, false],
    ['its own is empty, and another one too', [5, 6], [5, 7], 0, true],
    ['its own is not empty, and another one is', [5, 6], [5, 7], 1, false],
  ])('stays as it is on a refusal when %s: %j by %j', (_, before, after, ownTokens, stays) => {
    const limits = after.map((rate) => limit({ capacity: rate, refill: rate, perMs: 60_000, initial: 0 }))
    const bucket = storedAt(...before).map((one, i) => ({ ...one, tokens: i === 0 ? ownTokens : 0 }))
    const view = viewOf(limits, bucket.length > 0 ? bucket : undefined, 0)
    expect(staysRefused(limits, view, run())).toBe(stays)
  })

  it('charges the limits of others, and drives none of them into debt', () => {
    const other = { tokens: 1, atUs: 0, tokensPerUs: limit().tokensPerUs }
    expect(chargeOther(other, 2, 100_000)).toEqual({ ...other, tokens: -1 })
    expect(chargeOther(other, 5, 100_000)).toEqual({ ...other, tokens: -1 })
    expect(chargeOther({ ...other, tokens: -9 }, 5, 100_000)).toEqual({ ...other, tokens: -9 })
    expect(chargeOther(other, 0, 100_000)).toEqual(other)
  })
})

describe('putBack', () => {
  const ten = limit()
  it.each([
    ['all of it while none has been gained in its place', 0, 0, 3, 300_000, { tokens: 3, sinceUs: 0 }],
    ['all of it where there is no end', 0, 50, 3, Infinity, { tokens: 3, sinceUs: 50 }],
    ['as much as is to be gained until then', 0, 20_000, 3, 230_000, { tokens: 0, sinceUs: 250_000 }],
    ['nothing once that has been gained', 4, 20_000, 3, 0, { tokens: 4, sinceUs: 20_000 }],
    ['nothing later', 4, 20_000, 3, -1, { tokens: 4, sinceUs: 20_000 }],
    ['no more than fits', 9, 20_000, 3, Infinity, { tokens: 10, sinceUs: 0 }],
    ['no more time than fits', 9, 20_000, 3, 80_000, { tokens: 10, sinceUs: 0 }],
  ])('gives %s', (_, tokens, sinceUs, back, leftUs, after) => {
    expect(putBack(ten, { tokens, sinceUs }, back, leftUs)).toEqual(after)
  })
})

describe('against exact fractions', () => {
  interface Exact {
    readonly capacity: bigint
    /** In tokens, times the microseconds of the quota. */
    scaled: bigint
    atUs: bigint
  }

  it('admits what whole numbers say, at every microsecond and after any history', () => {
    const quotas = fc.record({
      capacity: fc.integer({ min: 1, max: 500_000 }),
      refill: fc.integer({ min: 1, max: 10_000 }),
      perMs: fc.integer({ min: 1, max: 100_000 }),
    })
    const steps = fc.array(
      fc.record({ us: fc.oneof(fc.nat(50), fc.nat(5_000_000), fc.constant('due' as const)), cost: fc.nat(50) }),
      { minLength: 20, maxLength: 200 },
    )
    fc.assert(
      fc.property(quotas, steps, (quota, moves) => {
        const one = toLimit('quota', quota)
        const perUs = BigInt(quota.perMs) * 1_000n
        const exact: Exact = { capacity: BigInt(quota.capacity), scaled: BigInt(quota.capacity) * perUs, atUs: 0n }
        let stored = { tokens: quota.capacity, atUs: 0, tokensPerUs: one.tokensPerUs }
        let nowUs = 1_700_000_000_000_000
        exact.atUs = BigInt(nowUs)
        stored = { ...stored, atUs: nowUs }
        let dueUs = 1
        for (const { us, cost: any } of moves) {
          nowUs += us === 'due' ? dueUs : us
          const cost = Math.min(any + 1, quota.capacity)
          const gained = exact.scaled + (BigInt(nowUs) - exact.atUs) * BigInt(quota.refill)
          exact.scaled = gained > exact.capacity * perUs ? exact.capacity * perUs : gained
          exact.atUs = BigInt(nowUs)
          const level = levelAt(one, stored, nowUs)
          expect(available(one, level)).toBe(Number(exact.scaled / perUs))
          const taken = grant([one], [level], run({ cost }))
          expect(taken).toBe(exact.scaled >= BigInt(cost) * perUs ? cost : 0)
          const lacking = BigInt(cost) * perUs - exact.scaled
          dueUs = untilUs(one, level, cost)
          expect(dueUs).toBe(lacking <= 0n ? 0 : Number((lacking + BigInt(quota.refill) - 1n) / BigInt(quota.refill)))
          exact.scaled -= BigInt(taken) * perUs
          if (taken > 0) stored = { ...stored, tokens: level.tokens - taken, atUs: nowUs - level.sinceUs }
        }
      }),
    )
  })

  it('allows at the moment it promised, whatever the fractions of a quota', () => {
    const rate = fc.double({ min: 1e-6, max: 1e6, noNaN: true })
    fc.assert(
      fc.property(rate, rate, fc.integer({ min: -1_000, max: 100 }), fc.nat(1e9), (refill, perMs, tokens, sinceUs) => {
        const one = toLimit('quota', { capacity: 100, refill, perMs })
        const level = { tokens, sinceUs }
        const us = untilUs(one, level, 100)
        fc.pre(us < 2 ** 50)
        expect(available(one, { tokens, sinceUs: sinceUs + us })).toBeGreaterThanOrEqual(100)
      }),
    )
  })
})
