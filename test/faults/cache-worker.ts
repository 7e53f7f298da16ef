// A process that has a cache: `node cache-worker.mjs <setting as JSON>`. It obeys lines of JSON, each `[id, order]`, and
// answers each with a line `id JSON`. Test programs start, stop and kill several.
import { createInterface } from 'node:readline'
import { setImmediate } from 'node:timers/promises'
import { Redis } from 'ioredis'
import { createCache, memoryTier, type CacheOptions } from '../../src/cache/index.js'
import { redisTier } from '../../src/cache/redis/index.js'
import { sourceNames } from './cache-source.js'

export interface WorkerSetting {
  readonly url: string
  /** Of the cache, and of the names of the source. */
  readonly prefix: string
  /** Where the source is. */
  readonly sourceUrl: string
  readonly options: Partial<CacheOptions<string>>
  /** Without memory in front of Redis. */
  readonly plain: boolean
}

export type Change = 'set' | 'delete' | 'invalidateTag' | 'clear'

export type Order =
  /** So many gets of the key at once. */
  | { readonly do: 'get'; readonly key: string; readonly times: number }
  | { readonly do: 'change'; readonly change: Change; readonly key: string; readonly value: string }
  /** Gets of the key one after the other, until `watched`. `atOnce`: also before a process that wakes reads what it was sent. */
  | { readonly do: 'watch'; readonly key: string; readonly atOnce: boolean }
  /** What `watch` has seen so far. */
  | { readonly do: 'seen' }
  | { readonly do: 'watched' }
  | { readonly do: 'close' }

/** How the gets of an order ended. */
export interface Got {
  /** How many were answered with each value, and failed with each message. */
  readonly values: Readonly<Record<string, number>>
  readonly failures: Readonly<Record<string, number>>
}

/** By value: how often it was answered, and when the last get began that it was the answer to. */
export type Watched = Readonly<Record<string, { readonly times: number; readonly lastMs: number }>>

const { url, prefix, sourceUrl, options, plain } = JSON.parse(process.argv[2] as string) as WorkerSetting
const redis = new Redis(url)
redis.on('error', () => undefined)
const source = new Redis(sourceUrl)
const names = sourceNames(prefix)
const print = (word: string, what: unknown): void => void process.stdout.write(`${word} ${JSON.stringify(what)}\n`)
const sleep = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms))

async function load(key: string): Promise<string | undefined> {
  const value = await source.hget(names.values, key)
  await source.rpush(names.running(key), await source.hincrby(names.nowRunning, key, 1))
  await source.hincrby(names.loads, key, 1)
  print('loading', key)
  while (await source.exists(names.hold)) await sleep(5)
  await source.hincrby(names.nowRunning, key, -1)
  if (value === 'fails') throw new Error(`the source fails process ${process.pid}`)
  return value ?? undefined
}

const tier = redisTier(redis, { prefix })
const cache = createCache<string>(plain ? [tier] : [memoryTier({ maxEntries: 10_000 }), tier], {
  name: 'test',
  load,
  ttlMs: 600_000,
  tags: (key) => [`of ${key}`],
  ...options,
})

async function get(key: string, times: number): Promise<Got> {
  const values: Record<string, number> = {}
  const failures: Record<string, number> = {}
  const count = (counts: Record<string, number>, what: string): void => void (counts[what] = (counts[what] ?? 0) + 1)
  const one = (): Promise<void> =>
    cache.get(key).then(
      (value) => count(values, String(value)),
      (error: unknown) => count(failures, (error as Error).message),
    )
  await Promise.all(Array.from({ length: times }, one))
  return { values, failures }
}

/** Answers when it was done, or with what it failed. */
async function change({ change, key, value }: Order & { do: 'change' }): Promise<{ atMs?: number; error?: string }> {
  try {
    if (change === 'set') await cache.set(key, value)
    else if (change === 'delete') await cache.delete(key)
    else if (change === 'invalidateTag') await cache.invalidateTag(`of ${key}`)
    else await cache.clear()
    return { atMs: Date.now() }
  } catch (error) {
    return { error: (error as { code?: string }).code ?? String(error) }
  }
}

let watching: string | undefined
let watch: Promise<Watched> | undefined
let seen: Record<string, { times: number; lastMs: number }> = {}

async function watchGets(key: string, atOnce: boolean): Promise<Watched> {
  seen = {}
  while (watching === key) {
    // A process that has slept reads what has arrived meanwhile before it asks.
    if (!atOnce) {
      await setImmediate()
      await setImmediate()
    }
    const beganMs = Date.now()
    const value = await cache.get(key).catch((error: unknown) => `failed: ${String(error)}`)
    const one = (seen[String(value)] ??= { times: 0, lastMs: 0 })
    one.times++
    one.lastMs = Math.max(one.lastMs, beganMs)
    await sleep(1)
  }
  return seen
}

async function obey(order: Order): Promise<unknown> {
  switch (order.do) {
    case 'get':
      return get(order.key, order.times)
    case 'change':
      return change(order)
    case 'watch':
      watching = order.key
      watch = watchGets(order.key, order.atOnce)
      return {}
    case 'seen':
      return seen
    case 'watched':
      watching = undefined
      return watch
    case 'close':
      await cache.close()
      redis.disconnect()
      source.disconnect()
      return {}
  }
}

await Promise.all([redis.ping(), source.ping()])
const lines = createInterface({ input: process.stdin })
lines.on('line', (line) => {
  const [id, order] = JSON.parse(line) as [number, Order]
  if (order.do === 'close') process.stdin.destroy()
  void obey(order).then((answer) => print(`${id}`, answer))
})
print('ready', process.pid)
