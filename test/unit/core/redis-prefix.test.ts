import { Cluster, Redis } from 'ioredis'
import { describe, expect, it } from 'vitest'
import { redisTier, redisWriteBehind } from '../../../src/cache/redis/index.js'
import { createLock } from '../../../src/lock/index.js'
import { redisLock } from '../../../src/lock/redis/index.js'
import { redisTokenBucket } from '../../../src/ratelimit/redis/index.js'
import { redisStock } from '../../../src/stock/redis/index.js'

type Make = (redis: Redis | Cluster, prefix: string) => unknown

const server = (keyPrefix = ''): Redis => new Redis({ lazyConnect: true, keyPrefix })
const cluster = (keyPrefix = ''): Cluster => new Cluster([], { lazyConnect: true, keyPrefix })

const tagged: [name: string, make: Make][] = [
  ['redisTokenBucket', (redis, prefix) => redisTokenBucket(redis, { prefix })],
  ['redisStock', (redis, prefix) => redisStock(redis, { prefix })],
  ['redisTier', (redis, prefix) => redisTier(redis, { prefix })],
  ['redisWriteBehind', (redis, prefix) => redisWriteBehind(redis, { prefix })],
]
const lock: [name: string, make: Make] = ['redisLock', (redis, prefix) => redisLock(redis, { prefix })]

describe.each([...tagged, lock])('the prefix of %s', (name, make) => {
  it('is well-formed text', () => {
    for (const redis of [server(), cluster()]) {
      for (const wrong of [7, null, false]) expect(() => make(redis, wrong as never)).toThrow(TypeError)
      for (const wrong of ['\ud800', 'a\udc00:']) {
        expect(() => make(redis, wrong)).toThrow(RangeError)
        expect(() => make(redis, wrong)).toThrow('prefix must be well-formed Unicode')
      }
      for (const prefix of ['', 'a:', '{a}:', 'a{b', '}{', '😀']) expect(make(redis, prefix)).toBeDefined()
    }
  })

  it('has no empty braces on a Cluster, nor with the keyPrefix before it', () => {
    for (const prefix of ['{}', 'a{}b:']) expect(() => make(cluster(), prefix)).toThrow(RangeError)
    for (const keyPrefix of ['{}', '{']) {
      expect(() => make(cluster(keyPrefix), '}')).toThrow(RangeError)
      expect(() => make(cluster(keyPrefix), '}')).toThrow(JSON.stringify(`${keyPrefix}}`))
    }
  })

  it(`${name === 'redisLock' ? 'may have them' : 'has none either'} on one server`, () => {
    const makers = [() => make(server(), 'a{}:'), () => make(server('{'), '}')]
    for (const one of makers) {
      if (name === 'redisLock') expect(one()).toBeDefined()
      else expect(one).toThrow(RangeError)
    }
  })
})

it('of a lock leaves the braces of keys to be checked on a Cluster', async () => {
  await using lock = createLock(redisLock(cluster('{')))
  await expect(lock.acquire('}')).rejects.toThrow('the braces of "{}" put the names of its lock into different slots')
})
