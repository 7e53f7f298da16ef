// The code of docs/guides/ratelimit.md.
import { Redis } from 'ioredis'
import { WaitTimeoutError } from 'spillway'
import { createRateLimiter, memoryTokenBucket, type Decision, type RateLimiter } from 'spillway/ratelimit'
import { redisTokenBucket } from 'spillway/ratelimit/redis'
import { expect, it } from 'vitest'

it('takes', async () => {
  // #region taking
  await using limiter = createRateLimiter(memoryTokenBucket(), {
    name: 'calls',
    quotas: [{ capacity: 20, refill: 10, perMs: 1_000 }], // bursts of 20, then 10 a second
  })

  const decision = await limiter.take('user:17')
  if (decision.allowed) console.assert(decision.remaining < 20)
  else console.log(`come back in ${Math.ceil(decision.retryAfterMs / 1_000)} s`)
  // #endregion taking
  expect(decision).toMatchObject({ allowed: true, granted: 1, remaining: 19 })
})

it('is made over Redis', async () => {
  const url = 'redis://127.0.0.1:1'
  const clientOptions = { lazyConnect: true }
  // #region redis
  const redis = new Redis(url, clientOptions)
  const buckets = redisTokenBucket(redis, { prefix: 'shop:' })
  const perUser = createRateLimiter(buckets, {
    name: 'user',
    quotas: [
      { capacity: 20, refill: 10, perMs: 1_000 },
      { capacity: 1_000, refill: 1_000, perMs: 86_400_000 },
    ],
    timeoutMs: 200,
  })
  const door = createRateLimiter(buckets, {
    name: 'door',
    quotas: [{ capacity: 500_000, refill: 1, perMs: 1, initial: 50_000 }],
  })
  // #endregion redis
  for (const limiter of [perUser, door]) await expect(limiter.take('')).rejects.toThrow(RangeError)
  await Promise.all([perUser.close(), door.close()])
  redis.disconnect()
})

// #region batch
/** Sends as many of the mails as the hour's quota has left, and says how many. */
async function sendSome(limiter: RateLimiter, mails: readonly string[], send: (mail: string) => Promise<boolean>) {
  const { granted } = await limiter.take('mail', { cost: mails.length, atMost: true })
  const sent = await Promise.all(mails.slice(0, granted).map(send))
  const unused = sent.filter((ok) => !ok).length
  if (unused > 0) await limiter.refund('mail', unused)
  return granted - unused
}
// #endregion batch

it('takes at most what there is, and gives back what was not used', async () => {
  await using limiter = createRateLimiter(memoryTokenBucket(), {
    name: 'calls',
    quotas: [{ capacity: 5, refill: 1, perMs: 3_600_000 }],
  })
  await limiter.take('mail', { cost: 2 })
  expect(await sendSome(limiter, ['a', 'b', 'c', 'd', 'e'], async (mail) => mail !== 'b')).toBe(2)
  expect((await limiter.peek('mail')).remaining).toBe(1)
})

// #region wait
/** Calls a partner's API no faster than it allows; gives up where that would take too long. */
async function callPartner(limiter: RateLimiter, url: string, signal: AbortSignal): Promise<string | undefined> {
  try {
    await limiter.wait('partner', { maxWaitMs: 2_000, signal })
  } catch (error) {
    if (error instanceof WaitTimeoutError) return undefined
    throw error
  }
  return fetchText(url, signal)
}
// #endregion wait

const fetchText = async (url: string, _signal: AbortSignal): Promise<string> => url

it('waits', async () => {
  await using limiter = createRateLimiter(memoryTokenBucket(), {
    name: 'calls',
    quotas: [{ capacity: 1, refill: 1, perMs: 3_600_000 }],
  })
  const { signal } = new AbortController()
  expect(await callPartner(limiter, 'x', signal)).toBe('x')
  expect(await callPartner(limiter, 'x', signal)).toBeUndefined()
})

it('leases', async () => {
  const driver = memoryTokenBucket()
  // #region lease
  const limiter = createRateLimiter(driver, {
    name: 'calls',
    quotas: [{ capacity: 100_000, refill: 50_000, perMs: 1_000 }],
    lease: { tokens: 2_000, leaseMs: 200 },
  })
  // #endregion lease
  expect((await limiter.take('api')).allowed).toBe(true)
  await limiter.close()
})

it('goes on without its store', async () => {
  const redis = new Redis('redis://127.0.0.1:1', { lazyConnect: true })
  redis.on('error', () => undefined)
  const processes = 4
  // #region fallback
  const alone = createRateLimiter(memoryTokenBucket(), {
    name: 'calls',
    quotas: [{ capacity: 20 / processes, refill: 10 / processes, perMs: 1_000 }],
  })
  const limiter = createRateLimiter(redisTokenBucket(redis), {
    name: 'calls',
    quotas: [{ capacity: 20, refill: 10, perMs: 1_000 }],
    timeoutMs: 100,
    whenStoreFails: alone,
  })
  // #endregion fallback
  const decision: Decision = await limiter.take('user:17')
  expect(decision).toMatchObject({ allowed: true, remaining: 4 })
  await limiter.close()
  redis.disconnect()
})
