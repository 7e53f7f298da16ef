// A process that uses a cache, or a write-behind, and closes nothing of it: `node cache-ends.mjs <scenario> <setting as JSON>`.
// It ends by itself when nothing keeps it alive, and prints what it has done before that.
import type { Socket } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { Cluster, Redis } from 'ioredis'
import { Redis as Redis5 } from 'ioredis5'
import { Redis as Valkey } from 'iovalkey'
import { createCache, memoryTier, memoryWriteBehind, startWriteBehind } from '../../src/cache/index.js'
import { redisTier, redisWriteBehind, type RedisCacheClient } from '../../src/cache/redis/index.js'

export interface EndsSetting {
  readonly url: string
  readonly nodes: readonly { readonly host: string; readonly port: number }[]
  /** Of 127.0.0.1. Nobody listens there. */
  readonly deadPort: number
  readonly prefix: string
}

const [scenario = '', json = ''] = process.argv.slice(2)
const { url, nodes, deadPort, prefix } = JSON.parse(json) as EndsSetting
const print = (text: string): void => void process.stdout.write(`${text}\n`)

async function useCache(redis: Redis | Cluster): Promise<() => Promise<void>> {
  redis.on('error', () => undefined)
  const cache = createCache([memoryTier({ maxEntries: 10 }), redisTier(redis, { prefix })], {
    name: 'test',
    load: (key) => key,
    ttlMs: 60_000,
    timeoutMs: 30_000,
    tags: () => ['tag'],
    fleetLoadMs: 5_000,
    onBackgroundError: () => undefined,
  })
  await cache.get('k')
  await cache.set('k', 'v')
  // The bus is there, and has been checked once.
  await sleep(600)
  print(`${await cache.get('k')}`)
  return async () => {
    await cache.invalidateTag('tag').catch((error: unknown) => print((error as { code: string }).code))
    print(`${await cache.get('other')}`)
  }
}

/** Disconnects a client that a cache uses and that waits to connect again: it never tells that it has ended. */
async function leaveInOutage(redis: RedisCacheClient & { disconnect(): void }, status = 'reconnecting'): Promise<void> {
  redis.on('error', () => undefined)
  const tiers = [memoryTier({ maxEntries: 10 }), redisTier(redis, { prefix })] as const
  const cache = createCache([...tiers], { name: 'test', load: (key) => key, ttlMs: 60_000, timeoutMs: 200 })
  print(`${await cache.get('k')}`)
  while (redis.status !== status) await sleep(1)
  redis.disconnect()
}

async function touch(redis: Redis | undefined, delayMs: number, flush: () => void): Promise<void> {
  const driver = redis ? redisWriteBehind(redis, { prefix }) : memoryWriteBehind()
  const onBackgroundError = (): void => undefined
  const timeoutMs = 30_000
  const behind = await startWriteBehind(driver, { name: 'test', delayMs, timeoutMs, flush, onBackgroundError })
  await behind.touch('k')
}

const scenarios: Readonly<Record<string, () => Promise<unknown>>> = {
  async 'a cache in memory'() {
    const tier = memoryTier({ maxEntries: 10 })
    const cache = createCache([tier], { name: 'test', load: (key) => key, ttlMs: 1, staleMs: 60_000 })
    await cache.get('k')
    await sleep(10)
    print(`${await cache.get('k')}`)
  },
  async 'a cache whose client is disconnected'() {
    const redis = new Redis(url)
    await useCache(redis)
    redis.disconnect()
  },
  async 'a cache whose client has quit'() {
    const redis = new Redis(url)
    await useCache(redis)
    await redis.quit()
  },
  async 'a cache whose Cluster is disconnected'() {
    const redis = new Cluster([...nodes])
    await useCache(redis)
    redis.disconnect()
  },
  async 'a cache that goes on without its client'() {
    const redis = new Redis(url)
    const goOn = await useCache(redis)
    redis.disconnect()
    await goOn()
  },
  'a cache whose client of ioredis 6 is disconnected in an outage': () => leaveInOutage(new Redis(deadPort)),
  'a cache whose client of ioredis 5 is disconnected in an outage': () => leaveInOutage(new Redis5(deadPort)),
  'a cache whose client of iovalkey is disconnected in an outage': () => leaveInOutage(new Valkey(deadPort)),
  'a cache whose Cluster is disconnected in an outage': () =>
    leaveInOutage(new Cluster([{ host: '127.0.0.1', port: deadPort }])),
  'a cache whose client of Sentinels is disconnected in an outage': () =>
    leaveInOutage(new Redis({ sentinels: [{ host: '127.0.0.1', port: deadPort }], name: 'main' }), 'connecting'),
  async 'a cache whose client is disconnected while only its other connection stands'() {
    const redis = new Redis(url, { retryStrategy: () => 60_000 })
    await useCache(redis)
    ;(redis as unknown as { stream: Socket }).stream.destroy()
    while (redis.status !== 'reconnecting') await sleep(1)
    redis.disconnect()
  },
  async 'a write-behind of which nothing is touched'() {
    await startWriteBehind(memoryWriteBehind(), { name: 'test', delayMs: 60_000, flush: () => undefined })
  },
  'a write-behind in memory': () => touch(undefined, 1_500, () => print('flushed')),
  async 'a write-behind in memory whose flush fails at first'() {
    let tries = 0
    await touch(undefined, 100, () => {
      if (++tries < 3) throw new Error('the database is away')
      print(`flushed ${tries}`)
    })
  },
  async 'a write-behind in Redis whose client ends after the flush'() {
    const redis = new Redis(url)
    await touch(redis, 100, () => {
      print('flushed')
      redis.disconnect()
    })
  },
  async 'a write-behind in Redis whose client ends before the flush'() {
    const redis = new Redis(url)
    await touch(redis, 3_600_000, () => print('flushed'))
    redis.disconnect()
  },
}

await scenarios[scenario]?.()
print('done')
