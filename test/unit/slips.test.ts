// What someone gets wrong on the first day, and what the package says then: an error at once, which names what was wrong.
import { Cluster, Redis } from 'ioredis'
import { Kafka } from 'kafkajs'
import { createClient } from 'redis'
import { createCache, memoryTier, memoryWriteBehind, startWriteBehind } from 'spillway/cache'
import { redisTier, redisWriteBehind } from 'spillway/cache/redis'
import { createLock, createReadWriteLock, createSemaphore, memoryLock } from 'spillway/lock'
import { redisLock } from 'spillway/lock/redis'
import { redlockLock } from 'spillway/lock/redlock'
import { zookeeperLock } from 'spillway/lock/zookeeper'
import { memoryInbox, memoryQueue, startConsumer, startPublisher } from 'spillway/queue'
import { kafkaQueue } from 'spillway/queue/kafka'
import { sqlInbox } from 'spillway/queue/sql'
import { createRateLimiter, memoryTokenBucket } from 'spillway/ratelimit'
import { redisTokenBucket } from 'spillway/ratelimit/redis'
import { createStock, memoryStock } from 'spillway/stock'
import { redisStock } from 'spillway/stock/redis'
import { afterAll, describe, expect, it } from 'vitest'
import { virtualClock } from '../support/virtual-clock.js'

const redis = new Redis({ lazyConnect: true })
const cluster = new Cluster([{ host: '127.0.0.1', port: 1 }], { lazyConnect: true })
const nodeRedis = createClient()
const kafka = new Kafka({ brokers: ['127.0.0.1:1'] })
afterAll(() => {
  redis.disconnect()
  cluster.disconnect()
})

/** Callers in JavaScript have no compiler. */
type Loose = (...args: unknown[]) => unknown
const loose = (call: unknown): Loose => call as Loose
const method = (of: object, name: string): Loose => (of as Record<string, Loose>)[name] as Loose

const quotas = [{ capacity: 5, refill: 5, perMs: 60_000 }]
const limiter = createRateLimiter(memoryTokenBucket(), { name: 'login', quotas })
const lock = createLock(memoryLock())
const stock = createStock(memoryStock())
const load = async (): Promise<undefined> => undefined
const cache = createCache([memoryTier({ maxEntries: 10 })], { name: 'users', ttlMs: 1_000, load })

/** The error of a call, thrown or rejected. */
async function errorOf(call: () => unknown): Promise<unknown> {
  try {
    await call()
  } catch (error) {
    return error
  }
  throw new Error('nothing was wrong with it')
}

describe('a misspelt option', () => {
  it.each<[string, () => unknown, string]>([
    ['sell', () => method(stock, 'sell')({ sku: 'a', orderId: '1', qty: 3 }), 'qty'],
    ['take', () => method(limiter, 'take')('k', { tokens: 5 }), 'tokens'],
    ['wait', () => method(limiter, 'wait')('k', { maxWait: 5 }), 'maxWait'],
    ['acquire', () => method(lock, 'acquire')('k', { maxWait: 300 }), 'maxWait'],
    ['tryAcquire', () => method(lock, 'tryAcquire')('k', { ttl: 5 }), 'ttl'],
    ['createLock', () => loose(createLock)(memoryLock(), { ttl: 5 }), 'ttl'],
    ['createReadWriteLock', () => loose(createReadWriteLock)(memoryLock(), { ttl: 5 }), 'ttl'],
    ['createSemaphore', () => loose(createSemaphore)(memoryLock(), { permits: 1, permit: 5 }), 'permit'],
    ['zookeeperLock', () => loose(zookeeperLock)({ servers: 'a:1', sessionTimeout: 5 }), 'sessionTimeout'],
    ['createRateLimiter', () => loose(createRateLimiter)(memoryTokenBucket(), { name: 'a', quota: quotas }), 'quota'],
    ['createCache', () => loose(createCache)([memoryTier({ maxEntries: 1 })], { name: 'a', load, ttl: 5 }), 'ttl'],
    ['cache.get', () => method(cache, 'get')('k', { ttlMs: 5 }), 'ttlMs'],
    ['memoryTier', () => loose(memoryTier)({ maxEntries: 1, max: 5 }), 'max'],
    ['createStock', () => loose(createStock)(memoryStock(), { locale: {} }), 'locale'],
    ['startPublisher', () => loose(startPublisher)(memoryQueue(), { topic: 'a', timeout: 5 }), 'timeout'],
    [
      'startConsumer',
      () => loose(startConsumer)(memoryQueue(), { topic: 'a', group: 'b', handle: load, handler: load }),
      'handler',
    ],
    ['memoryInbox', () => loose(memoryInbox)({ retention: 5 }), 'retention'],
    ['redisTokenBucket', () => loose(redisTokenBucket)(redis, { keyPrefix: 'a' }), 'keyPrefix'],
    ['redisTier', () => loose(redisTier)(redis, { keyPrefix: 'a' }), 'keyPrefix'],
    ['redisStock', () => loose(redisStock)(redis, { keyPrefix: 'a' }), 'keyPrefix'],
    ['kafkaQueue', () => loose(kafkaQueue)(kafka, { compress: 'gzip' }), 'compress'],
  ])('of %s is named, with those that there are', async (_, call, option) => {
    const error = await errorOf(call)
    expect(error).toBeInstanceOf(TypeError)
    expect(String(error)).toMatch(new RegExp(`"${option}", only \\w+`))
  })

  it('is a TypeError also where options are no object', async () => {
    for (const call of [
      () => loose(redisTokenBucket)(redis, 'foo:'),
      () => loose(redisTier)(redis, 'foo:'),
      () => loose(redisStock)(redis, 'foo:'),
      () => loose(redisLock)(redis, 'foo:'),
      () => method(limiter, 'take')('k', 5),
      () => method(lock, 'acquire')('k', 300),
    ]) {
      const error = await errorOf(call)
      expect(error).toBeInstanceOf(TypeError)
      expect(String(error)).toMatch(/must be an object with .*, got ("foo:"|5|300)$/)
    }
  })

  it('sells and takes nothing', async () => {
    expect(await limiter.peek('k')).toMatchObject({ remaining: 5 })
    await stock.open('a', 10)
    await errorOf(() => method(stock, 'sell')({ sku: 'a', orderId: '1', qty: 3 }))
    expect(await stock.level('a')).toMatchObject({ sold: 0, available: 10 })
  })
})

describe('something of the wrong kind', () => {
  const options = { name: 'a', quotas, whenStoreFails: 'allow' }
  const consumer = { topic: 'a', group: 'b', handle: load }
  const caching = { name: 'a', load, ttlMs: 1_000 }
  it.each<[string, () => unknown, RegExp]>([
    ['a client where a driver of buckets goes', () => loose(createRateLimiter)(redis, options), /got a Redis client/],
    ['a client where a driver of locks goes', () => loose(createLock)(redis), /got a Redis client/],
    ['a client where a driver of stock goes', () => loose(createStock)(redis), /got a Redis client/],
    ['a client where tiers go', () => loose(createCache)(redis, caching), /tiers must be an array.* got/],
    ['a client where a tier goes', () => loose(createCache)([redis], caching), /got a Redis client/],
    ['a client where a driver of write-behind goes', () => loose(startWriteBehind)(redis, {}), /got a Redis client/],
    ['a Kafka where a driver of queues goes', () => loose(startPublisher)(kafka, { topic: 'a' }), /got a Kafka client/],
    ['a Kafka where a consumer has its driver', () => loose(startConsumer)(kafka, consumer), /got a Kafka client/],
    ['a Redis where a Kafka goes', () => loose(kafkaQueue)(redis), /got a Redis client/],
    ['a Redis where a Kysely goes', () => loose(sqlInbox)(redis), /got a Redis client/],
    ['a limiter where its driver goes', () => loose(createRateLimiter)(limiter, options), /got a limiter/],
    [
      'a tier where a driver of buckets goes',
      () => loose(createRateLimiter)(redisTier(redis), options),
      /driver opens/,
    ],
    ['a lock where a driver of stock goes', () => loose(createStock)(lock), /driver must be/],
    ['a client where nodes of Redlock go', () => loose(redlockLock)(redis), /nodes must be/],
  ])('is refused when it is given: %s', async (_, call, said) => {
    const error = await errorOf(call)
    expect(error).toBeInstanceOf(TypeError)
    expect(String(error)).toMatch(said)
  })

  it.each<[string, Loose]>([
    ['redisTokenBucket', loose(redisTokenBucket)],
    ['redisTier', loose(redisTier)],
    ['redisWriteBehind', loose(redisWriteBehind)],
    ['redisLock', loose(redisLock)],
    ['redisStock', loose(redisStock)],
  ])('is refused by %s: a client of the package redis', (_, make) => {
    expect(() => make(nodeRedis)).toThrow(/must be a Redis or Cluster of ioredis, got a client of the package redis/)
    expect(() => make(nodeRedis)).toThrow(TypeError)
    expect(make(cluster)).toBeDefined()
  })
})

describe('something that is missing', () => {
  it.each<[string, () => unknown, string]>([
    ['createLock()', () => loose(createLock)(), 'driver must be'],
    ['memoryTier()', () => loose(memoryTier)(), 'memoryTier: options must be an object with maxEntries'],
    ['createRateLimiter(driver)', () => loose(createRateLimiter)(memoryTokenBucket()), 'name, quotas'],
    ['createRateLimiter(driver, {})', () => loose(createRateLimiter)(memoryTokenBucket(), { quotas }), 'name must be'],
    [
      'createCache(tiers)',
      () => loose(createCache)([memoryTier({ maxEntries: 1 })]),
      'createCache: options must be an object with name',
    ],
    ['createCache()', () => loose(createCache)(), 'tiers'],
    ['createStock()', () => loose(createStock)(), 'driver must be'],
    [
      'createSemaphore(driver)',
      () => loose(createSemaphore)(memoryLock()),
      'createSemaphore: options must be an object with',
    ],
    ['zookeeperLock()', () => loose(zookeeperLock)(), 'zookeeperLock: options must be an object with servers'],
    ['startPublisher()', () => loose(startPublisher)(), 'driver must be'],
    [
      'startPublisher(driver)',
      () => loose(startPublisher)(memoryQueue()),
      'startPublisher: options must be an object with topic',
    ],
    [
      'startConsumer(driver)',
      () => loose(startConsumer)(memoryQueue()),
      'startConsumer: options must be an object with topic',
    ],
    [
      'startWriteBehind(driver)',
      () => loose(startWriteBehind)(memoryWriteBehind()),
      'startWriteBehind: options must be an object with name',
    ],
    ['startWriteBehind()', () => loose(startWriteBehind)(), 'driver must be'],
    ['redisTokenBucket()', () => loose(redisTokenBucket)(), 'redis must be'],
    ['kafkaQueue()', () => loose(kafkaQueue)(), 'kafka must be'],
  ])('is named: %s', async (_, call, said) => {
    const error = await errorOf(call)
    expect(error).toBeInstanceOf(TypeError)
    expect(String(error)).toContain(said)
  })

  it('is named in a message without body', async () => {
    await using publisher = await startPublisher(memoryQueue(), { topic: 'orders' })
    const error = await errorOf(() => method(publisher, 'publish')({ id: '1', value: 5 }))
    expect(error).toBeInstanceOf(TypeError)
    expect(String(error)).toContain('body')
  })
})

it('a store that nobody can reach is named with the state of its client and its last error', async () => {
  const away = new Redis({ port: 1, host: '127.0.0.1' })
  away.on('error', () => undefined)
  const buckets = createRateLimiter(redisTokenBucket(away), { name: 'login', quotas, timeoutMs: 300 })
  const error = await errorOf(() => buckets.take('k'))
  away.disconnect()
  expect(error).toMatchObject({ code: 'ERR_STORE_UNAVAILABLE', applied: 'no' })
  expect(String(error)).toMatch(
    /the Redis client is not ready \(its status is '\w+'\): connect ECONNREFUSED 127.0.0.1:1$/,
  )
  expect((error as Error).cause).toMatchObject({ cause: { code: 'ECONNREFUSED' } })
})

it('a time-to-live in seconds is allowed, and named when the lock is lost', async () => {
  // A busy machine may grant a lock later than 5 ms after it was asked for, and then the call says so instead.
  const clock = virtualClock()
  const lease = await createLock(memoryLock({ clock }), { clock }).acquire('k', { ttlMs: 5, renew: false })
  await clock.advance(5)
  expect(String(lease.signal.reason)).toMatch(/\b5 ms\b/)
})
