import type { Cluster as Cluster6, Redis as Redis6 } from 'ioredis'
import type { Cluster as Cluster5, Redis as Redis5 } from 'ioredis5'
import type { Cluster as ValkeyCluster, Redis as Valkey } from 'iovalkey'
import { expectTypeOf, it } from 'vitest'
import type { RedisClient } from '../../src/core/redis-client.js'
import type { ClosedError } from 'spillway'
import { SpillwayError, StoreUnavailableError, jsonCodec, type Backoff, type Codec } from 'spillway'

// What these tests say is checked by the compiler (`npm run check:types`); running them only keeps them alive.

it('takes the clients of ioredis 6, ioredis 5 and iovalkey as they are', () => {
  expectTypeOf<Redis6>().toExtend<RedisClient>()
  expectTypeOf<Redis5>().toExtend<RedisClient>()
  expectTypeOf<Valkey>().toExtend<RedisClient>()
  expectTypeOf<Cluster6>().toExtend<RedisClient>()
  expectTypeOf<Cluster5>().toExtend<RedisClient>()
  expectTypeOf<ValkeyCluster>().toExtend<RedisClient>()
})

it('does not take what is no client', () => {
  expectTypeOf<{ eval(): Promise<unknown> }>().not.toExtend<RedisClient>()
  expectTypeOf<string>().not.toExtend<RedisClient>()
})

it('narrows what was caught', () => {
  const caught: unknown = new StoreUnavailableError('x', { applied: 'no' })
  if (caught instanceof StoreUnavailableError) expectTypeOf(caught.applied).toEqualTypeOf<'no' | 'unknown'>()
  if (SpillwayError.is(caught)) expectTypeOf(caught.code).toEqualTypeOf<string>()
  expectTypeOf<ClosedError>().toExtend<SpillwayError>()
})

it('keeps the shapes of backoffs and codecs', () => {
  expectTypeOf<(attempt: number) => number>().toExtend<Backoff>()
  expectTypeOf(jsonCodec<{ a: 1 }>()).toEqualTypeOf<Codec<{ a: 1 }>>()
  expectTypeOf<Codec<Date>['decode']>().parameter(0).toEqualTypeOf<Uint8Array>()
})
