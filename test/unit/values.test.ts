// Options may be left out or be `undefined`. `null` and `false` are neither: they are refused, and named.
import Database from 'libsql'
import { Redis } from 'ioredis'
import { Kysely, SqliteDialect } from 'kysely'
import { exponentialBackoff } from 'spillway'
import { createCache, memoryTier, memoryWriteBehind, startWriteBehind } from 'spillway/cache'
import { createLock, createReadWriteLock, createSemaphore, memoryLock } from 'spillway/lock'
import { redisLock } from 'spillway/lock/redis'
import { redlockLock } from 'spillway/lock/redlock'
import { zookeeperLock } from 'spillway/lock/zookeeper'
import { memoryInbox, memoryQueue, startConsumer, startPublisher } from 'spillway/queue'
import { kafkaQueue } from 'spillway/queue/kafka'
import { sqlInbox } from 'spillway/queue/sql'
import { createRateLimiter, memoryTokenBucket } from 'spillway/ratelimit'
import { createStock, memoryStock } from 'spillway/stock'
import { Kafka } from 'kafkajs'
import { afterAll, describe, expect, it } from 'vitest'

type Options = Readonly<Record<string, unknown>>
type Make = (options: never) => unknown

const redis = new Redis({ lazyConnect: true })
const db = new Kysely({ dialect: new SqliteDialect({ database: new Database(':memory:') }) })
const kafka = new Kafka({ brokers: ['127.0.0.1:1'] })
afterAll(async () => {
  redis.disconnect()
  await db.destroy()
})

const load = (): undefined => undefined
const tiers = [memoryTier({ maxEntries: 1 })] as const
const quotas = [{ capacity: 5, refill: 5, perMs: 60_000 }]
const limiter = createRateLimiter(memoryTokenBucket(), { name: 'a', quotas })
const lock = createLock(memoryLock())
const semaphore = createSemaphore(memoryLock(), { permits: 2 })
const cache = createCache<number>(tiers, { name: 'calls', load, ttlMs: 1 })
const stock = createStock(memoryStock())
const publisher = await startPublisher<number>(memoryQueue(), { topic: 't' })
const consume: Make = (options: never) => startConsumer(memoryQueue(), options)

const ofLock = ['name', 'ttlMs', 'timeoutMs', 'localHandovers']
const makers: [call: string, make: Make, needed: Options, names: string[]][] = [
  ['createLock', (options) => createLock(memoryLock(), options), {}, ofLock],
  ['createReadWriteLock', (options) => createReadWriteLock(memoryLock(), options), {}, ofLock],
  ['createSemaphore', (options) => createSemaphore(memoryLock(), options), { permits: 1 }, [...ofLock, 'permits']],
  ['tryAcquire', (options) => lock.tryAcquire('k', options), {}, ['ttlMs', 'renew', 'reenter']],
  ['acquire', (options) => lock.acquire('k', options), {}, ['ttlMs', 'renew', 'reenter', 'maxWaitMs', 'signal']],
  ['run', (options) => lock.run('k', load, options), {}, ['ttlMs', 'renew', 'reenter', 'maxWaitMs', 'signal']],
  ['semaphore.tryAcquire', (options) => semaphore.tryAcquire('k', options), {}, ['permits', 'ttlMs', 'renew']],
  ['semaphore.acquire', (options) => semaphore.acquire('k', options), {}, ['permits', 'ttlMs', 'maxWaitMs']],
  ['redisLock', (options) => redisLock(redis, options), {}, ['prefix', 'counterTtlMs', 'onBackgroundError']],
  ['redlockLock', (options) => redlockLock([redis], options), {}, ['nodeTimeoutMs', 'clock']],
  ['zookeeperLock', (options) => zookeeperLock(options), { servers: 'h' }, ['servers', 'path', 'sessionTimeoutMs']],
  [
    'createStock',
    (options) => createStock(memoryStock(), options),
    {},
    ['name', 'timeoutMs', 'local', 'onBackgroundError'],
  ],
  [
    'local of createStock',
    (local) => createStock(memoryStock(), { local }),
    { mode: 'gate', units: 1 },
    ['mode', 'units'],
  ],
  ['restock', (options) => stock.restock('a', 1, options), {}, ['id']],
  [
    'createCache',
    (options) => createCache(tiers, options),
    { name: 'a', load, ttlMs: 1 },
    [
      ...['name', 'load', 'loadMany', 'ttlMs', 'jitter', 'staleMs', 'absentTtlMs', 'earlyRefresh', 'loadTimeoutMs'],
      ...['fleetLoadMs', 'tags', 'codec', 'whenBusIsLost', 'timeoutMs', 'onBackgroundError', 'clock', 'random'],
    ],
  ],
  ['cache.get', (options) => cache.get('k', options), {}, ['signal']],
  ['cache.getMany', (options) => cache.getMany(['k'], options), {}, ['signal']],
  ['cache.set', (options) => cache.set('k', 1, options), {}, ['ttlMs']],
  ['memoryTier', (options) => memoryTier(options), { maxEntries: 1 }, ['maxEntries', 'ttlMs', 'clock']],
  [
    'startWriteBehind',
    (options) => startWriteBehind(memoryWriteBehind(), options),
    { name: 'a', delayMs: 1, flush: load },
    ['name', 'delayMs', 'flush', 'onBackgroundError', 'closeTimeoutMs', 'timeoutMs', 'clock'],
  ],
  ['memoryQueue', (options) => memoryQueue(options), {}, ['partitions', 'retainedMessages', 'maxUnreadMessages']],
  ['memoryInbox', (options) => memoryInbox(options), {}, ['retentionMs', 'maxIds', 'clock']],
  ['sqlInbox', (options) => sqlInbox(db, options), {}, ['table', 'consumer', 'retentionMs', 'clock']],
  ['kafkaQueue', (options) => kafkaQueue(kafka, options), {}, ['compression']],
  [
    'startPublisher',
    (options) => startPublisher(memoryQueue(), options),
    { topic: 't' },
    ['topic', 'codec', 'timeoutMs', 'clock'],
  ],
  ['publish', (options) => publisher.publish({ id: 'a', body: 1 }, options), {}, ['signal']],
  [
    'startConsumer',
    consume,
    { topic: 't', group: 'g', handleBatch: load },
    [
      ...[
        'topic',
        'group',
        'handle',
        'handleBatch',
        'codec',
        'inbox',
        'batch',
        'concurrency',
        'maxAttempts',
        'backoff',
      ],
      ...['deadLetterTopic', 'drainMs', 'maxBufferedBytes', 'sessionTimeoutMs', 'onStalled', 'onBackgroundError'],
    ],
  ],
  [
    'batch of startConsumer',
    (batch) => consume({ topic: 't', group: 'g', handleBatch: load, batch } as never),
    {},
    ['maxMessages', 'maxWaitMs', 'maxBytes'],
  ],
  [
    'batch of startConsumer with handle',
    (batch) => consume({ topic: 't', group: 'g', handle: load, batch } as never),
    {},
    ['maxMessages', 'maxWaitMs', 'maxBytes'],
  ],
  [
    'createRateLimiter',
    (options) => createRateLimiter(memoryTokenBucket(), options),
    { name: 'a', quotas },
    ['name', 'quotas', 'timeoutMs', 'whenStoreFails', 'clock'],
  ],
  ['wait', (options) => limiter.wait('k', options), {}, ['cost', 'maxWaitMs', 'signal']],
  ['reserve', (options) => limiter.reserve('k', options), {}, ['cost', 'maxWaitMs']],
  ['take', (options) => limiter.take('k', options), {}, ['cost', 'atMost']],
  ['exponentialBackoff', (options) => exponentialBackoff(options), {}, ['baseMs', 'factor', 'maxMs', 'jitter']],
]
/** `false` is what they take. */
const switches = new Set(['renew', 'atMost', 'jitter of exponentialBackoff', 'fromBeginning'])

describe.each(makers)('%s', (call, make, needed, names) => {
  const cases = names.flatMap((name) => [null, false].map((value) => [name, value] as const))
  it.each(cases)('refuses %s: %j', async (name, value) => {
    if (value === false && (switches.has(name) || switches.has(`${name} of ${call}`))) return
    const made = async (): Promise<unknown> => make({ ...needed, [name]: value } as never)
    await expect(made()).rejects.toThrow(TypeError)
    await expect(made()).rejects.toThrow(new RegExp(`${name}(\\.mode|: options)? must`))
  })
})
