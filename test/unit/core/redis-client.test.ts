import { describe, expect, it } from 'vitest'
import fc from 'fast-check'
import calculateSlot from 'cluster-key-slot'
import { redisLane, tagSafe, type RedisClient } from '../../../src/core/redis-client.js'

const client = (isCluster?: boolean) => ({ isCluster }) as RedisClient

describe('redisLane', () => {
  it('lets all keys of one server share a trip', () => {
    expect([redisLane(client(), 'a'), redisLane(client(false), 'b')]).toEqual([0, 0])
  })

  it('is the slot on a cluster, by the hash tag where there is one', () => {
    // `CLUSTER KEYSLOT foo` answers 12182.
    expect(redisLane(client(true), 'foo')).toBe(12_182)
    expect(redisLane(client(true), 'p:{foo}:q')).toBe(12_182)
    expect(redisLane(client(true), 'bar')).not.toBe(12_182)
  })
})

describe('tagSafe', () => {
  it('leaves ordinary names as they are', () => {
    expect(tagSafe('sku-1:Größe 42/é')).toBe('sku-1:Größe 42/é')
  })

  it('leaves no brace, gives different names to different names, and keeps the tag of a key whole', () => {
    const name = fc.string({ unit: fc.constantFrom('a', '{', '}', '%', '7', 'B', 'D', '2', '5'), maxLength: 8 })
    fc.assert(
      fc.property(name, name, (a, b) => {
        expect(tagSafe(a)).not.toMatch(/[{}]/)
        expect(tagSafe(a) === tagSafe(b)).toBe(a === b)
        if (a === '') return
        expect(calculateSlot(`p:{${tagSafe(a)}}:x`)).toBe(calculateSlot(tagSafe(a)))
        expect(calculateSlot(`p:{${tagSafe(a)}}:x`)).toBe(calculateSlot(`p:{${tagSafe(a)}}:y`))
      }),
      { numRuns: 1_000 },
    )
  })
})
