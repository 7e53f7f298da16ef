// The code of docs/guides/coming-from.md.
import { WaitTimeoutError } from 'spillway'
import { createCache, memoryTier } from 'spillway/cache'
import { createLock, memoryLock, type Lock } from 'spillway/lock'
import { createRateLimiter, memoryTokenBucket, type RateLimiter } from 'spillway/ratelimit'
import { describe, expect, it } from 'vitest'

describe('from redlock', () => {
  // #region redlock
  async function reprice(lock: Lock, sku: string, write: (fencingToken?: bigint) => Promise<void>): Promise<boolean> {
    try {
      await lock.run(
        sku,
        async ({ signal, fencingToken }) => {
          signal.throwIfAborted() // aborts before anybody else can be let in
          await write(fencingToken)
        },
        { ttlMs: 5_000, maxWaitMs: 2_000 },
      )
      return true
    } catch (error) {
      if (error instanceof WaitTimeoutError) return false // somebody else is at it
      throw error
    }
  }
  // #endregion redlock

  it('runs, or says that somebody else does', async () => {
    await using lock = createLock(memoryLock())
    const tokens: (bigint | undefined)[] = []
    const write = async (token?: bigint): Promise<void> => void tokens.push(token)
    expect(await reprice(lock, 'sku-1', write)).toBe(true)
    expect(tokens).toEqual([expect.any(BigInt)])
  })
})

describe('from rate-limiter-flexible', () => {
  // #region rate-limiter-flexible
  async function login(limiter: RateLimiter, ip: string): Promise<{ status: number; retryAfter?: number }> {
    const decision = await limiter.take(ip)
    if (decision.allowed) return { status: 200 }
    return { status: 429, retryAfter: Math.ceil(decision.retryAfterMs / 1_000) }
  }

  const limiter = createRateLimiter(memoryTokenBucket(), {
    name: 'login',
    quotas: [
      { capacity: 5, refill: 5, perMs: 60_000 }, // what was points: 5, duration: 60
      { capacity: 100, refill: 100, perMs: 86_400_000 }, // what was the other half of a RateLimiterUnion
    ],
  })
  // #endregion rate-limiter-flexible

  it('answers when to come again', async () => {
    for (let i = 0; i < 5; i++) expect(await login(limiter, '10.0.0.1')).toEqual({ status: 200 })
    expect(await login(limiter, '10.0.0.1')).toEqual({ status: 429, retryAfter: 12 })
    await limiter.close()
  })
})

interface Product {
  readonly id: string
  readonly price: number
}
const database = {
  find: async (id: string): Promise<Product | undefined> => (id === 'none' ? undefined : { id, price: 99 }),
}

describe('from BentoCache', () => {
  it('reads through, and ends by tag', async () => {
    const tiers = [memoryTier({ maxEntries: 10_000 })] as const
    // #region bentocache
    const products = createCache<Product>(tiers, {
      name: 'products', // what was a namespace
      load: (id) => database.find(id), // what was the factory of each call
      ttlMs: 600_000, // ttl: '10m'
      staleMs: 21_600_000, // grace: '6h'
      tags: (_id, product) => [`price:${product.price}`],
    })
    const product = await products.get('7')
    await products.delete('7')
    await products.invalidateTag('price:99')
    // #endregion bentocache
    expect(product).toEqual({ id: '7', price: 99 })
    await products.close()
  })
})

describe('from cache-manager', () => {
  it('gets, sets many and clears', async () => {
    const tiers = [memoryTier({ maxEntries: 10_000 })] as const
    // #region cache-manager
    const products = createCache<Product>(tiers, {
      name: 'products',
      load: (id) => database.find(id),
      ttlMs: 60_000,
      absentTtlMs: 5_000, // "there is none" is remembered, too
    })
    const product = await products.get('7') // what was wrap(key, () => database.find('7'))
    await products.set('8', { id: '8', price: 5 }, { ttlMs: 1_000 })
    await products.setMany([['9', { id: '9', price: 6 }]]) // what was mset
    const several = await products.getMany(['7', '9', 'none']) // mget, which also loads what is missing
    await products.delete('7', '8') // mdel
    await products.clear()
    // #endregion cache-manager
    expect(product).toEqual({ id: '7', price: 99 })
    expect(several).toEqual([{ id: '7', price: 99 }, { id: '9', price: 6 }, undefined])
    await products.close()
  })
})
