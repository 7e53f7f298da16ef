import type { Cluster as Cluster6, Redis as Redis6 } from 'ioredis'
import type { Cluster as Cluster5, Redis as Redis5 } from 'ioredis5'
import type { Cluster as ValkeyCluster, Redis as Valkey } from 'iovalkey'
import { expect, expectTypeOf, it } from 'vitest'
import {
  createRateLimiter,
  memoryTokenBucket,
  type Decision,
  type Quota,
  type RateLimitDriver,
  type RateLimiter,
  type RateLimiterOptions,
  type ReservedTokens,
} from 'spillway/ratelimit'
import { rateLimitContract } from 'spillway/ratelimit/contract'
import { redisTokenBucket } from 'spillway/ratelimit/redis'

// What these tests say is checked by the compiler (`npm run check:types`); running them only keeps them alive.

it('takes the clients of ioredis 6, ioredis 5 and iovalkey', () => {
  const over = (redis: Redis6 | Cluster6 | Redis5 | Cluster5 | Valkey | ValkeyCluster): RateLimitDriver =>
    redisTokenBucket(redis, { prefix: 'p' })
  expectTypeOf(over).returns.toEqualTypeOf<RateLimitDriver>()
  expectTypeOf(memoryTokenBucket).returns.toEqualTypeOf<RateLimitDriver>()
})

it('tells an allowed decision from a refused one', () => {
  const decided = (decision: Decision): number => {
    if (decision.allowed) {
      // @ts-expect-error there is nothing to wait for
      void decision.retryAfterMs
      return decision.granted
    }
    expectTypeOf(decision.granted).toEqualTypeOf<0>()
    return decision.retryAfterMs
  }
  expectTypeOf(decided).returns.toEqualTypeOf<number>()
})

it('wants at least one quota, and known options only', () => {
  const quota: Quota = { capacity: 1, refill: 1, perMs: 1_000 }
  const make = (options: RateLimiterOptions): RateLimiter => createRateLimiter(memoryTokenBucket(), options)
  expectTypeOf(make({ name: 'calls', quotas: [quota] })).toExtend<AsyncDisposable>()
  const whenStoreFails = make({ name: 'calls', quotas: [quota] })
  expectTypeOf(make({ name: 'calls', quotas: [quota], whenStoreFails })).toEqualTypeOf<RateLimiter>()
  const computed: readonly Quota[] = [quota]
  expectTypeOf(make({ name: 'calls', quotas: computed })).toEqualTypeOf<RateLimiter>()
  // @ts-expect-error no name
  expectTypeOf<{ quotas: [Quota] }>().toExtend<RateLimiterOptions>()
  // @ts-expect-error no such policy
  expectTypeOf<{ name: string; quotas: [Quota]; whenStoreFails: 'ignore' }>().toExtend<RateLimiterOptions>()
  // @ts-expect-error no such option
  expect(() => make({ name: 'calls', quotas: [quota], maxWait: 5 })).toThrow('maxWait')
})

it('takes undefined for what is absent', () => {
  const limiter = createRateLimiter(memoryTokenBucket({ maxKeys: undefined, clock: undefined }), {
    name: 'calls',
    quotas: [{ capacity: 1, refill: 1, perMs: 1_000, initial: undefined }],
    timeoutMs: undefined,
    whenStoreFails: undefined,
    lease: undefined,
    clock: undefined,
  })
  expectTypeOf(limiter.take('k', { cost: undefined, atMost: undefined })).toEqualTypeOf<Promise<Decision>>()
  const wait = async (signal: AbortSignal | undefined, maxWaitMs: number | undefined): Promise<void> =>
    limiter.wait('k', { signal, maxWaitMs, cost: undefined })
  expectTypeOf(wait).returns.toEqualTypeOf<Promise<void>>()
  expectTypeOf(limiter.reserve('k', { cost: undefined, maxWaitMs: undefined })).toEqualTypeOf<
    Promise<ReservedTokens | undefined>
  >()
})

it('exports no internal name', async () => {
  expect(Object.keys(await import('spillway/ratelimit/redis'))).toEqual(['redisTokenBucket'])
})

it('publishes its contract for the drivers of others', () => {
  expectTypeOf(rateLimitContract).parameter(0).toEqualTypeOf<(name: string, run: () => Promise<void>) => void>()
})
