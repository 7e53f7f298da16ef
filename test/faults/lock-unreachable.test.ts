import { Cluster, Redis } from 'ioredis'
import { once } from 'node:events'
import { createServer } from 'node:net'
import { expect, it, onTestFinished } from 'vitest'
import type { StoreUnavailableError } from '../../src/index.js'
import { createLock, createReadWriteLock, createSemaphore, type LockDriver } from '../../src/lock/index.js'
import { redisLock } from '../../src/lock/redis/index.js'
import { redlockLock } from '../../src/lock/redlock/index.js'
import { zookeeperLock } from '../../src/lock/zookeeper/index.js'
import { freePort } from '../services/net.js'
import { closing } from './lock-support.js'

/** A client of a port where nobody listens. */
const lost = (port: number): Redis => {
  const redis = new Redis({ port, host: '127.0.0.1', retryStrategy: () => 50 })
  redis.on('error', () => undefined)
  onTestFinished(() => redis.disconnect())
  return redis
}

const failureOf = (call: Promise<unknown>): Promise<StoreUnavailableError> =>
  call.then(
    () => expect.fail('nobody was there to answer'),
    (error: StoreUnavailableError) => error,
  )

/** What a caller learns where nothing answers, by each call. */
const failures = (driver: LockDriver): Promise<StoreUnavailableError[]> => {
  const options = { timeoutMs: 1_000 }
  const lock = closing(createLock(driver, options))
  const calls = [() => lock.tryAcquire('a'), () => lock.acquire('b'), () => lock.run('c', () => 1)]
  if (driver.shares) {
    const { read, write } = closing(createReadWriteLock(driver, options))
    const semaphore = closing(createSemaphore(driver, { permits: 1, ...options }))
    calls.push(
      () => read.acquire('d'),
      () => write.tryAcquire('e'),
      () => semaphore.acquire('f'),
    )
  }
  return Promise.all(calls.map((call) => failureOf(call())))
}

it('a Redis that nobody can reach is named as the cause, with the state of its client', async () => {
  const port = await freePort()
  for (const error of await failures(redisLock(lost(port)))) {
    expect(error).toMatchObject({ code: 'ERR_STORE_UNAVAILABLE', applied: 'no' })
    const why = /the Redis client is not ready \(its status is '\w+'\): connect ECONNREFUSED 127\.0\.0\.1:/
    expect(error.message).toMatch(why)
    expect((error.cause as Error).message).toMatch(why)
    expect((error.cause as Error).cause).toMatchObject({ code: 'ECONNREFUSED', port })
  }
})

it('so is a Cluster', async () => {
  const nodes = [{ host: '127.0.0.1', port: await freePort() }]
  const cluster = new Cluster(nodes, { clusterRetryStrategy: () => 50 })
  cluster.on('error', () => undefined)
  onTestFinished(() => cluster.disconnect())
  for (const error of await failures(redisLock(cluster))) {
    expect(error).toMatchObject({ code: 'ERR_STORE_UNAVAILABLE', applied: 'no' })
    expect((error.cause as Error).message).toMatch(/the Redis client is not ready \(its status is '\w+'\)/)
  }
})

it('nodes of Redlock that nobody can reach are named, each with the state of its client', async () => {
  const ports = await Promise.all([freePort(), freePort(), freePort()])
  const nodes = ports.map(lost)
  // The first call waits for clients that are connecting, the second does not.
  const driver = redlockLock(nodes)
  for (const errors of [await failures(driver), await failures(driver)]) {
    for (const error of errors) {
      expect(error).toMatchObject({ code: 'ERR_STORE_UNAVAILABLE', applied: 'no' })
      for (const port of ports) {
        const why = `127.0.0.1:${port}: the Redis client is not ready (its status is '`
        expect(error.message).toContain(why)
        expect(error.message).toContain(`ECONNREFUSED 127.0.0.1:${port}`)
      }
      expect((error.cause as AggregateError).errors).toHaveLength(3)
    }
  }
})

it('a node of Redlock that is waited for longer than a call may take is named as well', async () => {
  const port = await freePort()
  const error = await failureOf(
    closing(createLock(redlockLock([lost(port)], { nodeTimeoutMs: 10_000 }), { timeoutMs: 300 })).tryAcquire('a'),
  )
  expect(error).toMatchObject({ code: 'ERR_STORE_UNAVAILABLE', applied: 'no' })
  expect((error.cause as Error).message).toContain(`127.0.0.1:${port}: the Redis client is not ready`)
})

it('a ZooKeeper that nobody can reach is named by its servers, with what became of the last try', async () => {
  const ports = [await freePort(), await freePort()]
  const servers = ports.map((port) => `127.0.0.1:${port}`)
  const driver = zookeeperLock({ servers: servers.join(','), path: '/unreachable' })
  onTestFinished(() => driver[Symbol.asyncDispose]())
  for (const error of await failures(driver)) {
    expect(error).toMatchObject({ code: 'ERR_STORE_UNAVAILABLE', applied: 'no' })
    expect(error.message).toContain(`no connection to ZooKeeper (${[...servers].sort().join(',')}): 127.0.0.1:`)
    expect(error.message).toContain('ECONNREFUSED')
    expect((error.cause as Error).cause).toMatchObject({ cause: { code: 'ECONNREFUSED' } })
  }
})

it('a ZooKeeper that accepts and says nothing is named as silent', async () => {
  const silent = createServer().listen(0, '127.0.0.1')
  onTestFinished(() => void silent.close())
  await once(silent, 'listening')
  const { port } = silent.address() as { port: number }
  const driver = zookeeperLock({ servers: `127.0.0.1:${port}`, sessionTimeoutMs: 2_000 })
  onTestFinished(() => driver[Symbol.asyncDispose]())
  const lock = closing(createLock(driver, { timeoutMs: 3_000 }))
  const error = await failureOf(lock.acquire('a'))
  expect(error.message).toContain(
    `no connection to ZooKeeper (127.0.0.1:${port}): 127.0.0.1:${port}: it did not answer`,
  )
})
