import assert from 'node:assert/strict'
import { systemClock, type Clock } from '../core/clock.js'
import { WaitTimeoutError } from '../core/errors.js'
import type { Quota } from './bucket.js'
import { admitsBetween, type Bench, type Quotas } from './contract-settings.js'
import type { RateLimitDriver } from './driver.js'
import { createRateLimiter } from './ratelimit.js'
import type { Decision } from './runs.js'
import type { RateLimiter, ReservedTokens } from './types.js'

/** A driver under test. */
export interface RateLimitSubject extends AsyncDisposable {
  /** Makes a driver over the store, as each process would. */
  readonly driver: () => RateLimitDriver
  /** Lets time pass, in the store and by `clock`. */
  advance(ms: number): Promise<void>
  /** @defaultValue systemClock */
  readonly clock?: Clock | undefined
}

const hourMs = 3_600_000
/** On real time nothing to speak of comes back while a test runs. */
const slow = (capacity: number, more: Partial<Quota> = {}): Quota => ({ capacity, refill: 1, perMs: hourMs, ...more })

const grantedOf = (decisions: readonly Decision[]): number => decisions.reduce((sum, one) => sum + one.granted, 0)

const between = (value: number, low: number, high: number): void =>
  assert.ok(value >= low && value <= high, `${value} is not from ${low} to ${high}`)

function refused(decision: Decision): Decision & { readonly allowed: false } {
  assert.equal(decision.allowed, false)
  return decision
}

/**
 * What every driver of buckets must do. `it` is a test runner's, `create` gives each case a subject with an empty store.
 * On real time it takes some seconds; no case depends on the machine being quick.
 */
export function rateLimitContract(
  it: (name: string, run: () => Promise<void>) => void,
  create: () => Promise<RateLimitSubject>,
): void {
  const check = (name: string, body: (bench: Bench) => Promise<void>): void =>
    it(name, async () => {
      const subject = await create()
      const { clock = systemClock } = subject
      const limiters: RateLimiter[] = []
      try {
        await body({
          clock,
          advance: (ms) => subject.advance(ms),
          limiter(quotas, options = {}, name = 'a') {
            const settings = { name, quotas, timeoutMs: 30_000, clock, ...options }
            const limiter = createRateLimiter(subject.driver(), settings)
            limiters.push(limiter)
            return limiter
          },
        })
      } finally {
        await Promise.all(limiters.map((limiter) => limiter.close()))
        await subject[Symbol.asyncDispose]()
      }
    })

  check('admits exactly the capacity, however many ask at once', async ({ limiter }) => {
    const door = limiter([slow(50)])
    const decisions = await Promise.all(Array.from({ length: 400 }, () => door.take('k')))
    assert.equal(grantedOf(decisions), 50)
    assert.ok(decisions.slice(0, 50).every((one) => one.allowed))
    assert.deepEqual(
      decisions.slice(0, 50).map((one) => one.remaining),
      Array.from({ length: 50 }, (_, i) => 49 - i),
    )
  })

  check('admits exactly the capacity to several limiters at once', async ({ limiter }) => {
    const doors = [limiter([slow(60)]), limiter([slow(60)]), limiter([slow(60)])]
    const decisions = await Promise.all(Array.from({ length: 300 }, (_, i) => (doors[i % 3] as RateLimiter).take('k')))
    assert.equal(grantedOf(decisions), 60)
  })

  check('keeps keys apart, whatever is in them', async ({ limiter }) => {
    const door = limiter([slow(1)])
    const long = 'x'.repeat(8_191)
    const odd = ['{a}', 'a}', '{', '}', '%7Ba%7D', '%257B', '{}', ':once:', 'a:b', 'ä', 'a\u0308', '令牌', ' ', '\0']
    const keys = ['a', 'A', ...odd, `${long}a`, `${long}A`, '{'.repeat(8_192), '%7B'.repeat(2_730), '令'.repeat(2_730)]
    assert.equal(grantedOf(await Promise.all(keys.map((key) => door.take(key)))), keys.length)
    assert.equal(grantedOf(await Promise.all(keys.map((key) => door.take(key)))), 0)
  })

  check('keeps the buckets of names apart, whatever is in them', async ({ limiter }) => {
    const pairs = [
      ['a', 'b:c'],
      ['a:b', 'c'],
      ['a:{b', 'c'],
      ['a', '{b:c'],
      ['{a}', 'k'],
      ['%7Ba%7D', 'k'],
      ['a', ':k'],
      ['a:', 'k'],
    ] as const
    const doors = pairs.map(([name]) => limiter([slow(1)], {}, name))
    const takeAll = async (): Promise<number> =>
      grantedOf(await Promise.all(pairs.map(([, key], i) => (doors[i] as RateLimiter).take(key))))
    assert.equal(await takeAll(), pairs.length)
    assert.equal(await takeAll(), 0)
    const [login, api] = [limiter([slow(5)], {}, 'login'), limiter([slow(1_000)], {}, 'api')]
    for (let n = 0; n < 5; n++) assert.equal((await login.take('ann')).allowed, true)
    assert.deepEqual([(await login.take('ann')).allowed, (await api.take('ann')).remaining], [false, 999])
    await login.reset('ann')
    assert.equal((await api.peek('ann')).remaining, 999)
    assert.equal((await limiter([slow(1_000)], {}, 'api').peek('ann')).remaining, 999)
  })

  check('takes all of the cost or nothing; a refusal consumes nothing', async ({ limiter }) => {
    const door = limiter([slow(10)])
    assert.deepEqual([(await door.take('k', { cost: 6 })).granted, (await door.take('k', { cost: 6 })).granted], [6, 0])
    const last = await door.take('k', { cost: 4 })
    assert.deepEqual([last.granted, last.remaining], [4, 0])
  })

  check('takes what there is with atMost', async ({ limiter }) => {
    const door = limiter([slow(10)])
    const decisions = await Promise.all([7, 7, 7].map((cost) => door.take('k', { cost, atMost: true })))
    assert.deepEqual(
      decisions.map((one) => [one.allowed, one.granted, one.remaining]),
      [
        [true, 7, 3],
        [true, 3, 0],
        [false, 0, 0],
      ],
    )
    between(refused(decisions[2] as Decision).retryAfterMs, hourMs - 60_000, hourMs)
  })

  check('decides calls of different kinds in the order in which they came', async ({ limiter }) => {
    const door = limiter([slow(10)])
    const costs = [4, 4, 4, 1, 4, 1, 1]
    const decisions = await Promise.all(costs.map((cost) => door.take('k', { cost })))
    assert.deepEqual(
      decisions.map((one) => one.granted),
      [4, 4, 0, 1, 0, 1, 0],
    )
    assert.deepEqual(
      decisions.map((one) => one.remaining),
      [6, 2, 2, 1, 1, 0, 0],
    )
  })

  check(
    'says when a refused call would be allowed, and when the bucket is full',
    async ({ limiter, clock, advance }) => {
      const door = limiter([{ capacity: 4, refill: 1, perMs: 500 }])
      const startedMs = clock.nowMs()
      const first = await door.take('k', { cost: 4 })
      assert.equal(first.fullInMs, 2_000)
      const decision = await door.take('k', { cost: 3 })
      if (decision.allowed) return assert.ok(clock.nowMs() - startedMs >= 1_500, 'allowed too early')
      between(decision.retryAfterMs, 1_500 - (clock.nowMs() - startedMs), 1_500)
      between(decision.fullInMs, 2_000 - (clock.nowMs() - startedMs), 2_000)
      await advance(decision.retryAfterMs)
      assert.equal((await door.take('k', { cost: 3 })).granted, 3)
      const { granted } = await door.take('k', { cost: 4, atMost: true })
      assert.ok(3 + granted <= Math.floor((clock.nowMs() - startedMs) / 500), 'more than was gained')
    },
  )

  check('never holds more than the capacity, however long it is idle', async ({ limiter, advance }) => {
    const door = limiter([{ capacity: 3, refill: 3, perMs: 50 }])
    await door.take('k', { cost: 3 })
    await advance(400)
    assert.equal((await door.peek('k')).remaining, 3)
    const slowDoor = limiter([slow(3)], {}, 'b')
    assert.equal(grantedOf(await Promise.all(Array.from({ length: 9 }, () => slowDoor.take('k')))), 3)
  })

  check('takes from all quotas or from none', async ({ limiter }) => {
    const door = limiter([slow(10), slow(4)])
    assert.equal((await door.take('k', { cost: 3 })).remaining, 1)
    for (let i = 0; i < 5; i++) assert.equal((await door.take('k', { cost: 2 })).granted, 0)
    assert.deepEqual(await door.take('k').then((one) => [one.granted, one.remaining]), [1, 0])
    await door.refund('k', 4)
    // The wider quota kept its 6 through the refusals, and has 10 of 10 again.
    const wide = limiter([slow(10), slow(4)])
    assert.deepEqual(await wide.take('k', { cost: 4 }).then((one) => [one.granted, one.remaining]), [4, 0])
  })

  check('starts with the initial tokens, and refills from the first use on, refused or not', async (bench) => {
    const { limiter, advance } = bench
    const door = limiter([slow(100, { initial: 3 })])
    assert.equal((await door.peek('k')).remaining, 3)
    assert.equal((await door.take('k', { cost: 3 })).remaining, 0)
    assert.equal((await door.take('k')).allowed, false)
    const empty = limiter([{ capacity: 1, refill: 1, perMs: 300, initial: 0 }], {}, 'b')
    const { retryAfterMs } = refused(await empty.take('k'))
    assert.equal(retryAfterMs, 300)
    await advance(retryAfterMs)
    assert.equal((await empty.take('k')).allowed, true)
  })

  check('peeks without taking, and without starting the refill', async ({ limiter, advance }) => {
    const door = limiter([slow(2)])
    await Promise.all([door.peek('k'), door.peek('k'), door.peek('k')])
    await door.take('k', { cost: 2 })
    between(refused(await door.peek('k')).retryAfterMs, hourMs - 60_000, hourMs)
    const empty = limiter([{ capacity: 1, refill: 1, perMs: 250, initial: 0 }], {}, 'b')
    assert.equal(refused(await empty.peek('k')).retryAfterMs, 250)
    await advance(300)
    assert.equal(refused(await empty.peek('k')).retryAfterMs, 250)
  })

  check('puts tokens back, never above capacity', async ({ limiter }) => {
    const door = limiter([slow(10)])
    await door.take('k', { cost: 5 })
    await door.refund('k', 2)
    assert.equal((await door.peek('k')).remaining, 7)
    await Promise.all([door.refund('k', 100), door.refund('k', 100), door.refund('unused', 5)])
    assert.equal((await door.peek('k')).remaining, 10)
    assert.equal((await door.take('unused', { cost: 10 })).remaining, 0)
    const started = limiter([slow(10, { initial: 1 })], {}, 'b')
    await started.refund('k', 4)
    assert.equal((await started.peek('k')).remaining, 5)
  })

  check(
    'charges what is not there, and refuses until the bucket has recovered',
    async ({ limiter, advance, clock }) => {
      const door = limiter([{ capacity: 10, refill: 1, perMs: 100 }])
      const startedMs = clock.nowMs()
      await door.take('k', { cost: 8 })
      await door.charge('k', 7)
      const refusal = await door.take('k')
      if (refusal.allowed) return assert.ok(clock.nowMs() - startedMs >= 600, 'allowed too early')
      assert.equal(refusal.remaining, 0)
      between(refusal.retryAfterMs, 600 - (clock.nowMs() - startedMs), 600)
      between(refusal.fullInMs, 1_500 - (clock.nowMs() - startedMs), 1_500)
      await advance(refusal.retryAfterMs)
      assert.equal((await door.take('k')).allowed, true)
    },
  )

  check('charges each quota down to its negative capacity at the lowest', async ({ limiter }) => {
    const door = limiter([slow(10), slow(100)])
    await Promise.all([door.charge('k', 5), door.charge('k', 2)])
    assert.equal((await door.peek('k')).remaining, 3)
    await door.charge('k', 60)
    await door.charge('k', Number.MAX_SAFE_INTEGER)
    await door.refund('k', 11)
    // 11 of -10, and 11 of -100 of the wider one.
    between(refused(await door.take('k')).retryAfterMs, 89 * hourMs, 90 * hourMs)
    const wide = limiter([slow(10), slow(100)], {}, 'b')
    await wide.charge('k', 60)
    await wide.refund('k', 12)
    assert.equal((await wide.peek('k')).remaining, 2)
    await wide.refund('k', 1_000)
    assert.equal((await wide.take('k', { cost: 10 })).granted, 10)
  })

  check('reserves tokens that are due later, in order', async ({ limiter }) => {
    const door = limiter([slow(2)])
    const dues = await Promise.all([1, 1, 1, 2].map((cost) => door.reserve('k', { cost })))
    const dueIn = (i: number): number => (dues[i] as ReservedTokens).dueInMs
    assert.deepEqual([dueIn(0), dueIn(1)], [0, 0])
    between(dueIn(2), hourMs - 60_000, hourMs)
    between(dueIn(3), 3 * hourMs - 60_000, 3 * hourMs)
    assert.equal(await door.reserve('k', { maxWaitMs: 3 * hourMs }), undefined)
    between(refused(await door.take('k')).retryAfterMs, 4 * hourMs - 60_000, 4 * hourMs)
    await Promise.all([(dues[2] as ReservedTokens).cancel(), (dues[2] as ReservedTokens).cancel()])
    await (dues[2] as ReservedTokens).cancel()
    between(refused(await door.take('k')).retryAfterMs, 3 * hourMs - 60_000, 3 * hourMs)
  })

  check('lets those who wait behind move up when a reservation is cancelled', async ({ limiter, advance, clock }) => {
    const door = limiter([{ capacity: 1, refill: 1, perMs: 400 }])
    const startedMs = clock.nowMs()
    await door.take('k')
    const reserved = (await door.reserve('k', { cost: 1 })) as ReservedTokens
    const waiting = door.wait('k')
    await door.peek('k')
    await reserved.cancel()
    await advance(400)
    await waiting
    assert.ok(clock.nowMs() - startedMs >= 399, 'not before its token was there')
    if ((await door.take('k')).allowed) assert.ok(clock.nowMs() - startedMs >= 799, 'a token too many')
  })

  check('cancels what was due already', async ({ limiter, advance }) => {
    const door = limiter([{ capacity: 2, refill: 1, perMs: 3_600_000 }])
    const reserved = (await door.reserve('k', { cost: 2 })) as ReservedTokens
    await advance(50)
    assert.equal((await door.peek('k')).remaining, 0)
    await reserved.cancel()
    assert.equal((await door.peek('k')).remaining, 2)
    await reserved.cancel()
    await door.take('k', { cost: 2 })
    assert.equal((await door.peek('k')).remaining, 0)
  })

  check('resets a bucket to an unused one', async ({ limiter }) => {
    const door = limiter([slow(10, { initial: 4 })])
    await Promise.all([door.take('k', { cost: 4 }), door.take('other', { cost: 4 })])
    await Promise.all([door.reset('k'), door.reset('never used')])
    assert.deepEqual([(await door.peek('k')).remaining, (await door.peek('other')).remaining], [4, 0])
  })

  check('lets calls wait in order until their tokens are due', async ({ limiter, clock, advance }) => {
    const door = limiter([{ capacity: 2, refill: 1, perMs: 200 }])
    const startedMs = clock.nowMs()
    const woken: number[] = []
    const waits = [0, 1, 2, 3, 4].map(async (n) => {
      await door.wait('k')
      woken.push(n)
      const tookMs = clock.nowMs() - startedMs
      assert.ok(tookMs >= (n - 1) * 200 - 1, `call ${n} woke after ${tookMs} ms`)
    })
    await advance(700)
    await Promise.all(waits)
    assert.deepEqual(woken, [0, 1, 2, 3, 4])
  })

  check('refuses at once to wait longer than maxWaitMs, and takes nothing then', async ({ limiter }) => {
    const door = limiter([slow(2)])
    await door.wait('k', { cost: 2, maxWaitMs: 0 })
    await assert.rejects(door.wait('k', { maxWaitMs: 60_000 }), WaitTimeoutError)
    between(refused(await door.take('k')).retryAfterMs, hourMs - 60_000, hourMs)
  })

  check('gives back what an aborted wait took', async ({ limiter }) => {
    const door = limiter([slow(2)])
    await door.take('k', { cost: 2 })
    const controller = new AbortController()
    const reason = new Error('no longer')
    const waiting = [
      door.wait('k', { cost: 2, signal: controller.signal }),
      door.wait('k', { signal: controller.signal }),
    ]
    await door.peek('k')
    controller.abort(reason)
    for (const wait of waiting) await assert.rejects(wait, (error) => error === reason)
    await door.refund('k', 1)
    assert.equal((await door.peek('k')).remaining, 1)
  })

  check('spends leased blocks to the last token, and never more than the quota', async ({ limiter }) => {
    const lease = { tokens: 30, leaseMs: 60_000 }
    const doors = [limiter([slow(100)], { lease }), limiter([slow(100)], { lease })]
    const decisions = await Promise.all(Array.from({ length: 300 }, (_, i) => (doors[i % 2] as RateLimiter).take('k')))
    assert.equal(grantedOf(decisions), 100)
  })

  check('gives the rest of a leased block back on close', async ({ limiter }) => {
    const leased = limiter([slow(100)], { lease: { tokens: 60, leaseMs: 60_000 } })
    const plain = limiter([slow(100)])
    assert.equal((await leased.take('k')).allowed, true)
    assert.equal((await plain.peek('k')).remaining, 40)
    await leased.close()
    assert.equal((await plain.peek('k')).remaining, 99)
  })

  check('puts back no more than if it had never been taken', async ({ limiter, clock, advance }) => {
    const quotas: Quotas = [{ capacity: 10, refill: 1, perMs: 20 }]
    const leased = limiter(quotas, { lease: { tokens: 10, leaseMs: 60_000 } })
    const plain = limiter(quotas)
    assert.equal((await leased.take('k')).granted, 1)
    await advance(400)
    // Full again, and taken by another: the nine that are left of the block have been gained a second time by now.
    const fromMs = clock.nowMs()
    assert.equal((await plain.take('k', { cost: 10 })).granted, 10)
    await leased.close()
    const { granted } = await plain.take('k', { cost: 10, atMost: true })
    assert.ok(granted <= (clock.nowMs() - fromMs) / 20 + 1, `${granted} are more than was gained`)
  })

  check('keeps the tokens of a bucket whose quota changes', async ({ limiter }) => {
    await limiter([{ capacity: 10, refill: 1, perMs: hourMs }]).take('k', { cost: 7 })
    const wider = limiter([{ capacity: 20, refill: 1_000, perMs: 1_000 * hourMs }])
    assert.equal((await wider.peek('k')).remaining, 3)
    const narrower = limiter([{ capacity: 2, refill: 7, perMs: 2 * hourMs }])
    assert.equal((await narrower.take('k')).remaining, 1)
    const twofold = limiter([slow(5), slow(6)])
    assert.equal((await twofold.peek('k')).remaining, 1)
  })

  check('admits between the two while processes with old and new quotas run side by side', admitsBetween)
}
