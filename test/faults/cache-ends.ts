// A process that uses a cache, or a write-behind, and closes nothing of it: `node cache-ends.mjs <scenario> <setting as JSON>`.
// It ends by itself when nothing keeps it alive, and prints what it has done before that.
import { setTimeout as sleep } from 'node:timers/promises'
import { Cluster, Redis } from 'ioredis'
import { createCache, memoryTier, memoryWriteBehind, startWriteBehind } from '../../src/cache/index.js'
import { redisTier, redisWriteBehind } from '../../src/cache/redis/index.js'

export interface EndsSetting {
  readonly url: string
  readonly nodes: readonly { readonly host: string; readonly port: number }[]
  readonly prefix: string
}

const [scenario = '', json = ''] = process.argv.slice(2)
const { url, nodes, prefix } = JSON.parse(json) as EndsSetting
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
