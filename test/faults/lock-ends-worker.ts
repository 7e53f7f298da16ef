// A program that uses a lock and then has nothing left to do: `node lock-ends-worker.mjs <what> <address>`.
import { once } from 'node:events'
import { setTimeout as sleep } from 'node:timers/promises'
import { Redis } from 'ioredis'
import { createLock, createSemaphore, memoryLock } from '../../src/lock/index.js'
import { redisLock } from '../../src/lock/redis/index.js'
import { zookeeperLock } from '../../src/lock/zookeeper/index.js'

const [, , what = '', address = ''] = process.argv
const print = (line: string): void => void process.stdout.write(`${line}\n`)
/** The code of the error with which a call fails. */
const failureOf = (call: Promise<unknown>): Promise<string> =>
  call.then(
    () => 'none',
    (error: { readonly code: string }) => error.code,
  )

async function heldInMemory(): Promise<void> {
  const driver = memoryLock()
  await createLock(driver).acquire('a')
  await createSemaphore(driver, { permits: 2 }).acquire('a', { renew: false, ttlMs: 600_000 })
}

async function waitsInMemory(): Promise<void> {
  const [here, there] = [createLock(memoryLock()), createLock(memoryLock())]
  for (const lock of [here, there]) await lock.acquire('a')
  const calls = [here.acquire('a', { maxWaitMs: 200 }), there.run('a', () => 1, { maxWaitMs: 300 })]
  print((await Promise.all(calls.map(failureOf))).join(' '))
}

/** Held, and waited for once, so that there is a connection that listens; then the client goes. */
async function heldInRedis(end: (redis: Redis) => unknown): Promise<void> {
  const redis = new Redis(address)
  const lock = createLock(redisLock(redis), { timeoutMs: 30_000 })
  const elsewhere = createLock(redisLock(redis), { timeoutMs: 30_000 })
  await lock.acquire(`${what} ${process.pid}`)
  print(await failureOf(elsewhere.acquire(`${what} ${process.pid}`, { maxWaitMs: 300 })))
  await end(redis)
}

/** Waited for while the server is away, and then the client goes, which waits to connect again. */
async function leftInOutage(): Promise<void> {
  const redis = new Redis(address)
  redis.on('error', () => undefined)
  const key = `${what} ${process.pid}`
  const options = { timeoutMs: 30_000 }
  await createLock(redisLock(redis), options).acquire(key)
  const waiting = failureOf(createLock(redisLock(redis), options).acquire(key, { maxWaitMs: 3_000 }))
  // It listens, and has tried once more.
  await sleep(500)
  print('waits')
  await once(process.stdin, 'data')
  process.stdin.destroy()
  while (redis.status !== 'reconnecting') await sleep(1)
  redis.disconnect()
  print('disconnected')
  print(await waiting)
}

/** Held, until the server is gone for good. */
async function heldInZooKeeper(): Promise<void> {
  const driver = zookeeperLock({ servers: address, path: `/ends-${process.pid}`, sessionTimeoutMs: 10_000 })
  const { signal } = await createLock(driver, { timeoutMs: 30_000 }).acquire('a')
  print('held')
  await once(process.stdin, 'data')
  process.stdin.destroy()
  signal.addEventListener('abort', () => print('lost'))
}

const programs: Readonly<Record<string, () => Promise<void>>> = {
  'held in memory': heldInMemory,
  'waits in memory': waitsInMemory,
  'held in Redis, disconnected': () => heldInRedis((redis) => redis.disconnect()),
  'held in Redis, quit': () => heldInRedis((redis) => redis.quit()),
  'left in an outage': leftInOutage,
  'held in ZooKeeper': heldInZooKeeper,
}
await programs[what]?.()
print('done')
