import { createCache as createDedupe } from 'async-cache-dedupe'
import { BentoCache, bentostore } from 'bentocache'
import { memoryDriver } from 'bentocache/drivers/memory'
import { redisDriver } from 'bentocache/drivers/redis'
import { createCache as createManager } from 'cache-manager'
import { Redis } from 'ioredis'
import { LRUCache } from 'lru-cache'
import { createCache, memoryTier } from 'spillway/cache'
import { redisTier } from 'spillway/cache/redis'
import { median, type Row } from './report.js'

interface Product {
  readonly id: string
  readonly name: string
  readonly price: number
}

type Get = (key: string) => Promise<Product | undefined>

const ttlMs = 600_000
const keys = Array.from({ length: 1_000 }, (_, i) => `product:${i}`)
const load = async (id: string): Promise<Product> => ({ id, name: `The product with the id ${id}`, price: 1_999 })

const turns = 5
let made = 0
const freshName = (): string => `bench-${process.pid}-${++made}:`

/** Answers per second with that many callers, each of which asks again as soon as it is answered. */
async function rate(callers: number, seconds: number, inProcess: boolean, get: Get): Promise<number> {
  const startedMs = performance.now()
  const untilMs = startedMs + seconds * 1_000
  let answered = 0
  let next = 0
  const caller = async (): Promise<void> => {
    // The clock is read now and then: it costs as much as a hit in memory.
    for (let i = 0; i % 16 > 0 || performance.now() < untilMs; i++) {
      next = (next + 379) % keys.length
      const key = keys[next] as string
      if ((await get(key))?.id !== key) throw new Error(`the bench got something else than ${key}`)
      answered++
      // Answers from memory come without leaving the turn of the event loop; a server's process does leave it.
      if (inProcess && i % 1_024 === 1_023) await new Promise((resolve) => setImmediate(resolve))
    }
  }
  await Promise.all(Array.from({ length: callers }, caller))
  return (answered * 1_000) / (performance.now() - startedMs)
}

/** What is measured, with what has to be closed after it. */
interface Subject {
  readonly name: string
  readonly get: Get
  readonly close: () => Promise<unknown>
}

/** Rates of several subjects, in turns; the first turn warms them up. */
async function compare(subjects: readonly Subject[], measure: (get: Get) => Promise<number>): Promise<number[]> {
  const rates = subjects.map((): number[] => [])
  for (const { get } of subjects) for (const key of keys) await get(key)
  for (let turn = 0; turn <= turns; turn++) {
    for (const [i, { get }] of subjects.entries()) {
      const measured = await measure(get)
      if (turn > 0) rates[i]?.push(measured)
    }
  }
  await Promise.all(subjects.map(({ close }) => close()))
  return rates.map(median)
}

const none = async (): Promise<void> => undefined

function oursInMemory(): Subject {
  const cache = createCache<Product>([memoryTier({ maxEntries: 10_000 })], { name: 'products', load, ttlMs })
  return { name: 'spillway', get: (key) => cache.get(key), close: () => cache.close() }
}

function inMemory(): Subject[] {
  const lru = new LRUCache<string, Product>({ max: 10_000 })
  const bento = new BentoCache({
    default: 'memory',
    ttl: ttlMs,
    stores: { memory: bentostore().useL1Layer(memoryDriver({ maxItems: 10_000 })) },
  })
  const manager = createManager({ ttl: ttlMs })
  const dedupe = createDedupe({ ttl: ttlMs / 1_000, storage: { type: 'memory', options: { size: 10_000 } } }).define(
    'product',
    load,
  )
  return [
    oursInMemory(),
    {
      name: 'lru-cache behind an async function',
      async get(key) {
        const known = lru.get(key)
        if (known) return known
        const value = await load(key)
        lru.set(key, value)
        return value
      },
      close: none,
    },
    {
      name: 'BentoCache',
      get: (key) => bento.getOrSet({ key, factory: () => load(key) }),
      close: () => bento.disconnectAll(),
    },
    { name: 'cache-manager', get: (key) => manager.wrap(key, () => load(key)), close: none },
    { name: 'async-cache-dedupe', get: (key) => dedupe.product(key), close: none },
  ]
}

function bentoInRedis(redis: Redis) {
  return new BentoCache({
    default: 'redis',
    ttl: ttlMs,
    prefix: freshName(),
    stores: { redis: bentostore().useL2Layer(redisDriver({ connection: redis })) },
  })
}

const oursInRedis = (redis: Redis) =>
  createCache<Product>([redisTier(redis, { prefix: freshName() })], {
    name: 'products',
    load,
    ttlMs,
    timeoutMs: 10_000,
  })

async function bareGet(redis: Redis, prefix: string, key: string): Promise<Product> {
  const known = await redis.get(prefix + key)
  if (known !== null) return JSON.parse(known) as Product
  const value = await load(key)
  await redis.set(prefix + key, JSON.stringify(value), 'PX', ttlMs)
  return value
}

function inRedis(redis: Redis): Subject[] {
  const cache = oursInRedis(redis)
  const bento = bentoInRedis(redis)
  const prefix = freshName()
  return [
    { name: 'spillway', get: (key) => cache.get(key), close: () => cache.close() },
    { name: 'BentoCache', get: (key) => bento.getOrSet({ key, factory: () => load(key) }), close: none },
    { name: 'ioredis, one GET each', get: (key) => bareGet(redis, prefix, key), close: none },
  ]
}

/** The same for a hundred keys at once. An answer stands for the hundred. */
function hundreds(redis: Redis): Subject[] {
  const cache = oursInRedis(redis)
  const bento = bentoInRedis(redis)
  const prefix = freshName()
  const from = (key: string): string[] => {
    const at = keys.indexOf(key)
    return Array.from({ length: 100 }, (_, i) => keys[(at + i) % keys.length] as string)
  }
  const whole = async (key: string, all: Promise<readonly (Product | undefined)[]>) => {
    const products = await all
    if (products.length !== 100) throw new Error('the bench wants a hundred')
    return products.find((product) => product?.id === key)
  }
  return [
    { name: 'spillway', get: (key) => whole(key, cache.getMany(from(key))), close: () => cache.close() },
    {
      name: 'BentoCache, 100 getOrSet',
      get: (key) => whole(key, Promise.all(from(key).map((key) => bento.getOrSet({ key, factory: () => load(key) })))),
      close: none,
    },
    {
      name: 'ioredis, one MGET',
      async get(key) {
        const wanted = from(key)
        const known = await redis.mget(wanted.map((one) => prefix + one))
        const parsed = known.map(async (text, i) =>
          text === null ? bareGet(redis, prefix, wanted[i] as string) : (JSON.parse(text) as Product),
        )
        return whole(key, Promise.all(parsed))
      },
      close: none,
    },
  ]
}

const rows = (name: string, unit: string, subjects: readonly string[], rates: readonly number[]): Row[] =>
  subjects.slice(1).map((peer, i) => ({ name, ours: rates[0] as number, theirs: rates[i + 1] as number, peer, unit }))

/** How often the source is asked by 100 callers of one cold key when it fails: an answer for all, or a crowd. */
async function failingLoads(get: (factory: () => Promise<never>) => Promise<unknown>): Promise<number> {
  let loads = 0
  const factory = async (): Promise<never> => {
    loads++
    await new Promise((resolve) => setTimeout(resolve, 20))
    throw new Error('the source is away')
  }
  await Promise.allSettled(Array.from({ length: 100 }, () => get(factory)))
  return loads
}

async function stampedeRows(): Promise<Row[]> {
  let source = (): Promise<Product> => load('')
  const cache = createCache<Product>([memoryTier({ maxEntries: 10 })], {
    name: 'products',
    load: () => source(),
    ttlMs,
  })
  const ours = await failingLoads((factory) => {
    source = factory
    return cache.get('cold')
  })
  const bento = new BentoCache({ default: 'm', stores: { m: bentostore().useL1Layer(memoryDriver({})) } })
  const manager = createManager({ ttl: ttlMs })
  const dedupe = createDedupe({ ttl: 60, storage: { type: 'memory' } }).define('cold', (_key: string) => source())
  const theirs = {
    BentoCache: await failingLoads((factory) => bento.getOrSet({ key: 'cold', factory })),
    'cache-manager': await failingLoads((factory) => manager.wrap('cold', factory)),
    'async-cache-dedupe': await failingLoads((factory) => {
      source = factory
      return dedupe.cold('cold')
    }),
  }
  await cache.close()
  return Object.entries(theirs).map(([peer, loads]) => ({
    name: 'loads, 100 callers of a cold key whose source fails',
    ours,
    theirs: loads,
    peer,
    unit: 'loads',
    note: 'fewer is better',
  }))
}

/** The cache beside its peers, in memory and over one Redis. */
export async function cacheRows(env: { readonly redisUrl: string; readonly seconds: number }): Promise<Row[]> {
  const redis = new Redis(env.redisUrl)
  const seconds = env.seconds / turns
  const measured: Row[] = []
  const add = async (name: string, unit: string, subjects: Subject[], measure: (get: Get) => Promise<number>) => {
    const names = subjects.map((subject) => subject.name)
    measured.push(...rows(name, unit, names, await compare(subjects, measure)))
  }
  try {
    await add('hit in memory, 1 caller', 'gets/s', inMemory(), (get) => rate(1, seconds, true, get))
    await add('hit in memory, 64 callers', 'gets/s', inMemory(), (get) => rate(64, seconds, true, get))
    await add('hit in Redis, 64 callers', 'gets/s', inRedis(redis), (get) => rate(64, seconds, false, get))
    await add('hit in Redis, 512 callers', 'gets/s', inRedis(redis), (get) => rate(512, seconds, false, get))
    await add('getMany of 100 in Redis, 16 callers', 'calls/s', hundreds(redis), (get) => rate(16, seconds, false, get))
    measured.push(...(await stampedeRows()))
    return measured
  } finally {
    redis.disconnect()
  }
}
