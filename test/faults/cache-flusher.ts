// A process that touches keys and flushes: `node cache-flusher.mjs <setting as JSON>`. It prints `touched key total ms` for
// every touch that was promised, and closes when it is told to. Test programs start and kill several.
import { Redis } from 'ioredis'
import { startWriteBehind } from '../../src/cache/index.js'
import { redisWriteBehind } from '../../src/cache/redis/index.js'

export interface FlusherSetting {
  readonly url: string
  readonly prefix: string
  /** Where totals are, and the database that they are to reach. */
  readonly databaseUrl: string
  readonly delayMs: number
  readonly keys: number
  readonly touchEveryMs: number
  /** How long a flush takes. */
  readonly flushMs: number
}

const setting = JSON.parse(process.argv[2] as string) as FlusherSetting
const { url, prefix, databaseUrl, delayMs, keys, touchEveryMs, flushMs } = setting
const redis = new Redis(url)
redis.on('error', () => undefined)
const database = new Redis(databaseUrl)
const print = (...words: (string | number)[]): void => void process.stdout.write(`${words.join(' ')}\n`)
const sleep = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms))

async function flush(flushed: readonly string[]): Promise<void> {
  const began = flushed.map((key) => `${key} ${Date.now()} ${process.pid}`)
  const totals = await database.hmget(`${prefix}totals`, ...flushed)
  await database.rpush(`${prefix}begun`, ...began)
  await sleep(flushMs)
  await database.hset(`${prefix}flushed`, ...flushed.flatMap((key, i) => [key, totals[i] ?? 0]))
}

const behind = await startWriteBehind(redisWriteBehind(redis, { prefix }), {
  name: 'test',
  delayMs,
  timeoutMs: 3_000,
  closeTimeoutMs: 60_000,
  flush,
  onBackgroundError: (error) => print('background', String((error as { code?: string }).code)),
})
let over = false
process.stdin.once('data', () => (over = true))
print('ready', process.pid)
for (let i = 0; !over; i++) {
  const key = `k${(i * 7 + process.pid) % keys}`
  const total = await database.hincrby(`${prefix}totals`, key, 1)
  await behind.touch(key).then(
    () => print('touched', key, total, Date.now()),
    (error: unknown) => print('refused', String((error as { code?: string }).code)),
  )
  await sleep(touchEveryMs)
}
await behind.close()
print('closed')
redis.disconnect()
database.disconnect()
process.stdin.destroy()
