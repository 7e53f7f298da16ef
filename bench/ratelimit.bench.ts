import { Redis } from 'ioredis'
import { RateLimiterMemory, RateLimiterRedis } from 'rate-limiter-flexible'
import { createRateLimiter, memoryTokenBucket, type RateLimitDriver, type RateLimiterOptions } from 'spillway/ratelimit'
import { redisTokenBucket } from 'spillway/ratelimit/redis'
import { median, type Row } from './report.js'

/** Asks for one token. Rejects, or says so, when there is none. */
type Ask = (key: string) => Promise<{ readonly allowed?: boolean }>

interface Case {
  readonly name: string
  readonly callers: number
  readonly keys: readonly string[]
  /** Answers come from this process, with no trip to a server each. */
  readonly inProcess?: boolean
  readonly options?: Partial<RateLimiterOptions>
  readonly note?: string
}

const turns = 5
const plenty = 1_000_000_000
const manyKeys = Array.from({ length: 100_000 }, (_, i) => `user:${i}`)
const oneKey = ['user:1']

let made = 0
const freshName = (): string => `bench-${process.pid}-${++made}`

/** Answers per second with that many callers, each of which asks again as soon as it is answered. */
async function rate({ callers, keys, inProcess = false }: Case, seconds: number, ask: Ask): Promise<number> {
  const startedMs = performance.now()
  const untilMs = startedMs + seconds * 1_000
  let answered = 0
  let next = 0
  const caller = async (): Promise<void> => {
    // The clock is read now and then: it costs as much as a leased take.
    for (let i = 0; i % 16 > 0 || performance.now() < untilMs; i++) {
      // A stride that visits every key before it comes back to the first.
      next = (next + 7_919) % keys.length
      if ((await ask(keys[next] as string)).allowed === false)
        throw new Error('the bench is refused what it should get')
      answered++
      // Answers that need no trip come without leaving the turn of the event loop; a server's process does leave it.
      if (inProcess && i % 1_024 === 1_023) await new Promise((resolve) => setImmediate(resolve))
    }
  }
  await Promise.all(Array.from({ length: callers }, caller))
  return (answered * 1_000) / (performance.now() - startedMs)
}

async function withOurs(
  driver: RateLimitDriver,
  options: Partial<RateLimiterOptions>,
  use: (ask: Ask) => Promise<number>,
): Promise<number> {
  const quotas = [{ capacity: plenty, refill: plenty, perMs: 60_000 }] as const
  await using limiter = createRateLimiter(driver, { name: 'calls', quotas, timeoutMs: 10_000, ...options })
  return await use((key) => limiter.take(key))
}

const lease = { tokens: 5_000, leaseMs: 1_000 }
const cases: readonly Case[] = [
  { name: 'take, one key, 64 callers', callers: 64, keys: oneKey },
  { name: 'take, one key, 512 callers', callers: 512, keys: oneKey },
  { name: 'take, 100,000 keys, 64 callers', callers: 64, keys: manyKeys },
  { name: 'take, 100,000 keys, 512 callers', callers: 512, keys: manyKeys },
  {
    name: 'take, one key, 512 callers, leased',
    callers: 512,
    keys: oneKey,
    inProcess: true,
    options: { lease },
    note: `blocks of ${lease.tokens} tokens; the peer has no lease and makes a call each`,
  },
  { name: 'take in memory, one key, 512 callers', callers: 512, keys: oneKey, inProcess: true },
  { name: 'take in memory, 100,000 keys, 512 callers', callers: 512, keys: manyKeys, inProcess: true },
]

/** Token buckets against rate-limiter-flexible, in turns, over one Redis and in memory. */
export async function ratelimitRows(env: { readonly redisUrl: string; readonly seconds: number }): Promise<Row[]> {
  const redis = new Redis(env.redisUrl)
  const rows: Row[] = []
  for (const one of cases) {
    const { name, options = {}, note } = one
    const inMemory = name.includes('in memory')
    const prefix = freshName()
    const peerOptions = { points: plenty, duration: 60, keyPrefix: freshName() }
    const driver = inMemory ? memoryTokenBucket() : redisTokenBucket(redis, { prefix: `${prefix}:` })
    const peer = inMemory
      ? new RateLimiterMemory(peerOptions)
      : new RateLimiterRedis({ ...peerOptions, storeClient: redis })
    const turn = async (seconds: number) => ({
      theirs: await rate(one, seconds, (key) => peer.consume(key) as Promise<object>),
      ours: await withOurs(driver, options, (ask) => rate(one, seconds, ask)),
    })
    await turn(env.seconds / turns)
    const measured: { readonly theirs: number; readonly ours: number }[] = []
    for (let i = 0; i < turns; i++) measured.push(await turn(env.seconds / turns))
    rows.push({
      name,
      ours: median(measured.map(({ ours }) => ours)),
      theirs: median(measured.map(({ theirs }) => theirs)),
      peer: `rate-limiter-flexible ${inMemory ? 'Memory' : 'Redis'}`,
      unit: 'takes/s',
      ...(note === undefined ? {} : { note }),
    })
    await redis.flushdb()
  }
  await redis.quit()
  return rows
}
