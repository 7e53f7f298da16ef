import { Cluster, Redis } from 'ioredis'
import { afterAll, expect, it } from 'vitest'
import { createRateLimiter, type RateLimiter, type RateLimiterOptions } from '../../src/ratelimit/index.js'
import { redisTokenBucket } from '../../src/ratelimit/redis/index.js'
import { describeWithServices, uniqueName } from '../services/vitest.js'

const hourMs = 3_600_000

describeWithServices('what redisTokenBucket keeps', ['redis'], ({ redis: server }) => {
  const redis = new Redis(server.url)
  afterAll(() => redis.disconnect())
  const over = (prefix: string, quotas: RateLimiterOptions['quotas']): RateLimiter =>
    createRateLimiter(redisTokenBucket(redis, { prefix }), { name: 'calls', quotas, timeoutMs: 30_000 })

  it('is one small key for each bucket, whose braces are the hash tag alone', async () => {
    const prefix = `${uniqueName('keys')}:`
    await using limiter = over(prefix, [{ capacity: 2, refill: 1, perMs: hourMs }])
    await Promise.all(['plain', 'a}b{c', '100%'].map((key) => limiter.take(key)))
    const keys = (await redis.keys(`${prefix}*`)).filter((key) => !key.includes(':once:'))
    expect(keys.sort()).toEqual([`${prefix}calls:{100%25}`, `${prefix}calls:{a%7Db%7Bc}`, `${prefix}calls:{plain}`])
    for (const key of keys) expect(await redis.strlen(key)).toBe(24)
  })

  it('lives until the bucket is full, and a day longer where it began with less', async () => {
    const prefix = `${uniqueName('keys')}:`
    await using full = over(`${prefix}full:`, [{ capacity: 5, refill: 1, perMs: 60_000 }])
    await full.take('k', { cost: 3 })
    const fullMs = await redis.pttl(`${prefix}full:calls:{k}`)
    expect(fullMs).toBeLessThanOrEqual(180_001)
    expect(fullMs).toBeGreaterThan(120_000)
    await full.refund('k', 3)
    expect(await redis.exists(`${prefix}full:calls:{k}`)).toBe(0)

    await using sale = over(`${prefix}sale:`, [{ capacity: 500_000, refill: 1, perMs: 1, initial: 50_000 }])
    await sale.take('k')
    const saleMs = await redis.pttl(`${prefix}sale:calls:{k}`)
    expect(saleMs).toBeLessThanOrEqual(450_002 + 86_400_000)
    expect(saleMs).toBeGreaterThan(390_000 + 86_400_000)
  })

  it('is not touched by a peek, nor by a refusal', async () => {
    const prefix = `${uniqueName('keys')}:`
    await using limiter = over(prefix, [{ capacity: 2, refill: 1, perMs: hourMs, initial: 1 }])
    await limiter.peek('k')
    expect(await redis.keys(`${prefix}*`)).toEqual([])
    await limiter.take('k')
    const before = await redis.getBuffer(`${prefix}calls:{k}`)
    expect((await limiter.take('k')).allowed).toBe(false)
    expect(await redis.getBuffer(`${prefix}calls:{k}`)).toEqual(before)
  })

  it('leaves for calls that are sent twice one small key for each front, for 20 seconds', async () => {
    const prefix = `${uniqueName('keys')}:`
    await using one = over(prefix, [{ capacity: 900, refill: 1, perMs: hourMs }])
    await using two = over(prefix, [{ capacity: 900, refill: 1, perMs: hourMs }])
    for (let n = 0; n < 40; n++) {
      await Promise.all([one.take(`k${n}`), two.take(`k${n}`)])
      await Promise.all([one.refund(`k${n}`, 1), two.refund(`k${n}`, 1)])
      if (n % 10 === 0) await Promise.all([one.reset(`k${n}`), two.reset(`k${n}`)])
    }
    const latches = (await redis.keys(`${prefix}*`)).filter((key) => key.includes(':once:'))
    expect(latches).toHaveLength(2)
    for (const latch of latches) {
      expect(await redis.pttl(latch)).toBeGreaterThan(0)
      expect(await redis.pttl(latch)).toBeLessThanOrEqual(20_000)
      expect(await redis.strlen(latch)).toBeLessThan(100)
    }
  })

  it("holds the flash sale's door: 50,000 at once and one a millisecond from then on", async () => {
    const prefix = `${uniqueName('keys')}:`
    await using door = over(prefix, [{ capacity: 500_000, refill: 1, perMs: 1, initial: 50_000 }])
    const startedMs = performance.now()
    let admitted = 0
    let refused = 0
    await Promise.all(
      Array.from({ length: 500 }, async () => {
        for (let n = 0; n < 130; n++) {
          if ((await door.take('sale')).allowed) admitted++
          else refused++
        }
      }),
    )
    const tookMs = performance.now() - startedMs
    expect(admitted).toBeLessThanOrEqual(50_000 + tookMs + 1)
    expect(admitted).toBeGreaterThanOrEqual(50_000)
    expect(admitted + refused).toBe(65_000)
  })

  it('turns a prefix away that is no string, or that would put the keys of one call into several slots', () => {
    expect(() => redisTokenBucket(redis, { prefix: 5 as never })).toThrow(TypeError)
    for (const prefix of ['{}', 'a{}b:', '{shop}{}']) {
      expect(() => redisTokenBucket(redis, { prefix })).toThrow(RangeError)
      expect(() => redisTokenBucket(redis, { prefix })).toThrow(prefix)
    }
  })

  it.each(['{}', '{}app:', '{'])('turns a keyPrefix of a Cluster away that would do that: %s', (keyPrefix) => {
    const cluster = new Cluster([], { lazyConnect: true, keyPrefix })
    expect(() => redisTokenBucket(cluster, { prefix: '}' })).toThrow(RangeError)
    expect(() => redisTokenBucket(cluster, { prefix: '}' })).toThrow(`${keyPrefix}}`)
  })

  it.each([[undefined], [null], ['redis://localhost'], [{}], [Redis], [redisTokenBucket(redis)]])(
    'turns a client away that is none: %#',
    (wrong) => {
      expect(() => redisTokenBucket(wrong as never)).toThrow(TypeError)
      expect(() => redisTokenBucket(wrong as never)).toThrow(/redis must be a Redis or Cluster.*got/)
    },
  )
})
