// A process that uses locks: `node lock-worker.mjs <task as JSON>`. Test programs start, stop and kill several.
import { once } from 'node:events'
import { Redis } from 'ioredis'
import { createLock, createReadWriteLock, createSemaphore } from '../../src/lock/index.js'
import { redisLock } from '../../src/lock/redis/index.js'
import { setFenced } from '../unit/lock/fencing.js'

/** What a worker is told to do. Names of Redis keys: `key` is locked, the others hold what the lock protects. */
export type Task = { readonly url: string; readonly key: string } & (
  | { readonly do: 'count'; counter: string; callers: number; total: number; localHandovers: number }
  | { readonly do: 'hold'; ttlMs: number; resource: string }
  | { readonly do: 'permits'; of: number; callers: number; rounds: number; used: string }
  | { readonly do: 'read' | 'write'; callers: number; pair: string }
  | { readonly do: 'come and go'; close: boolean }
)

const task = JSON.parse(process.argv[2] as string) as Task
const redis = new Redis(task.url, { connectionName: task.key })
const driver = redisLock(redis)
const print = (word: string, ...more: unknown[]): void => void process.stdout.write(`${[word, ...more].join(' ')}\n`)
const many = (callers: number, call: (caller: number) => Promise<void>): Promise<unknown> =>
  Promise.all(Array.from({ length: callers }, (_, caller) => call(caller)))
const sleep = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms))

/** Everybody is ready before anybody begins. */
async function told(): Promise<void> {
  await redis.ping()
  print('ready')
  await once(process.stdin, 'data')
  process.stdin.unref()
}

/** Adds one at a time, by a read and a write that nothing but the lock protects. */
async function count({ key, counter, callers, total, localHandovers }: Task & { do: 'count' }): Promise<void> {
  const lock = createLock(driver, { timeoutMs: 30_000, localHandovers })
  let mine = 0
  await told()
  await many(callers, async () => {
    for (let more = true; more;) {
      more = await lock.run(key, async ({ fencingToken, signal }) => {
        const token = fencingToken as bigint
        const [value, last] = (await redis.hmget(counter, 'value', 'token')).map(Number) as [number, number]
        if (token <= last || signal.aborted) print('wrong', token, last, signal.aborted)
        if (value >= total) return false
        await redis.hset(counter, { value: value + 1, token: String(token) })
        mine++
        return true
      })
    }
  })
  print('counted', mine)
  await lock.close()
}

/** Writes for as long as it believes that it holds the lock, and then once more. */
async function hold({ key, ttlMs, resource }: Task & { do: 'hold' }): Promise<void> {
  const lock = createLock(driver, { timeoutMs: 30_000 })
  const lease = await lock.acquire(key, { ttlMs })
  const token = lease.fencingToken as bigint
  const { signal } = lease
  print('held', token)
  let askedMs = performance.now()
  while (!signal.aborted) {
    const taken = await setFenced(redis, resource, `by ${token}`, token)
    await redis.ping()
    const tookMs = performance.now() - askedMs
    // Stopped after it had looked, it writes late, and nothing but the resource can help. Once awake it has to know.
    if (!taken) print('refused')
    if (tookMs > ttlMs / 2) print('woke', signal.aborted)
    askedMs = performance.now()
  }
  print('lost', (signal.reason as { code: string }).code)
  print('late', await setFenced(redis, resource, `late by ${token}`, token))
  print('released', await lease.release())
  await lock.close()
}

/** Takes permits, and notes in Redis how many are taken; prints the most it saw. */
async function permits({ key, of, callers, rounds, used }: Task & { do: 'permits' }): Promise<void> {
  const semaphore = createSemaphore(driver, { permits: of, timeoutMs: 30_000 })
  let most = 0
  await told()
  await many(callers, async (caller) => {
    for (let round = 0; round < rounds; round++) {
      const wanted = 1 + ((caller + round) % of)
      const lease = await semaphore.acquire(key, { permits: wanted })
      most = Math.max(most, await redis.incrby(used, wanted))
      await sleep(2)
      await redis.decrby(used, wanted)
      await lease.release()
    }
  })
  print('most', most)
  await semaphore.close()
}

/** Reads or writes two values that belong together, until it is told to end. */
async function readOrWrite({ do: what, key, callers, pair }: Task & { do: 'read' | 'write' }): Promise<void> {
  const lock = createReadWriteLock(driver, { timeoutMs: 30_000 })
  let done = false
  let times = 0
  await told()
  process.stdin.once('data', () => (done = true))
  await many(callers, async () => {
    while (!done) {
      if (what === 'read') {
        await lock.read.run(key, async () => {
          const one = await redis.hget(pair, 'one')
          await sleep(5)
          const two = await redis.hget(pair, 'two')
          if (one !== two) print('wrong', one, two)
        })
      } else {
        const waitedFrom = performance.now()
        await lock.write.run(key, async () => {
          print('written', Math.round(performance.now() - waitedFrom))
          const value = Number(await redis.hget(pair, 'one'))
          await redis.hset(pair, 'one', value + 1)
          await redis.hset(pair, 'two', value + 1)
        })
        await sleep(20)
      }
      times++
      if (what === 'read' && times === 20) print('read', times)
    }
  })
  print('times', times)
  await lock.close()
}

/** Does what leaves something behind if anything does, and then nothing: the process has to end by itself. */
async function comeAndGo({ key, close }: Task & { do: 'come and go' }): Promise<void> {
  const lock = createLock(driver, { timeoutMs: 30_000, ttlMs: 600_000 })
  const lease = await lock.acquire(key)
  const outcomes = await Promise.allSettled([
    lock.acquire(key, { maxWaitMs: 50 }),
    lock.acquire(key, { signal: AbortSignal.timeout(50) }),
    createLock(driver).acquire(key, { maxWaitMs: 200 }),
  ])
  print('outcomes', ...outcomes.map(({ status }) => status))
  await lease.release()
  if (close) await lock.close()
}

if (task.do === 'count') await count(task)
else if (task.do === 'hold') await hold(task)
else if (task.do === 'permits') await permits(task)
else if (task.do === 'come and go') await comeAndGo(task)
else await readOrWrite(task)
print('done')
redis.disconnect()
