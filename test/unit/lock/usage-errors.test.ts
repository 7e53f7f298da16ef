import { build } from 'esbuild'
import { Redis } from 'ioredis'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { inspect } from 'node:util'
import { createClient, createCluster } from 'redis'
import { describe, expect, it, onTestFinished } from 'vitest'
import type * as published from '../../../src/lock/index.js'
import {
  createLock,
  createReadWriteLock,
  createSemaphore,
  memoryLock,
  type LockDriver,
} from '../../../src/lock/index.js'
import { redisLock } from '../../../src/lock/redis/index.js'
import { redlockLock } from '../../../src/lock/redlock/index.js'
import { createRateLimiter, memoryTokenBucket } from '../../../src/ratelimit/index.js'
import { createStock, memoryStock } from '../../../src/stock/index.js'
import { root } from '../../repo/files.js'
import { offlineClients } from '../../support/redis-clients.js'

const untyped = <T>(value: unknown): T => value as T
const limits = { name: 'any', quotas: [{ capacity: 1, refill: 1, perMs: 1 }] } as const

describe('what is no driver, or no client, is refused when the lock is made, and named', () => {
  const makers: [name: string, make: (driver: LockDriver) => unknown][] = [
    ['createLock', (driver) => createLock(driver)],
    ['createReadWriteLock', (driver) => createReadWriteLock(driver)],
    ['createSemaphore', (driver) => createSemaphore(driver, { permits: 1 })],
  ]
  const client = new Redis({ lazyConnect: true })
  const notDrivers: [unknown, string][] = [
    [undefined, 'undefined'],
    [null, 'null'],
    [client, 'got a Redis client'],
    [createClient(), 'got a client of the package redis (node-redis)'],
    [createRateLimiter(memoryTokenBucket(), limits), 'got an object with take'],
    [createStock(memoryStock()), 'got an object with open'],
    [memoryStock(), 'got an object with adjust'],
    [createLock(memoryLock()), 'got an object with tryAcquire'],
    [redisLock, 'Function: redisLock'],
    ['redis://localhost', '"redis://localhost"'],
    [{ url: 'redis://localhost' }, 'url'],
  ]
  it.each(makers)('%s', (name, make) => {
    for (const [wrong, shown] of notDrivers) {
      expect(() => make(untyped(wrong))).toThrow(TypeError)
      expect(() => make(untyped(wrong))).toThrow(shown)
      expect(() => make(untyped(wrong))).toThrow(`${name}: the driver must be a lock driver such as memoryLock()`)
    }
  })

  it('redisLock', () => {
    expect(() => redisLock(untyped(createClient()))).toThrow('got a client of the package redis (node-redis)')
    expect(() => redisLock(untyped(createCluster({ rootNodes: [] })))).toThrow('node-redis')
    for (const wrong of [undefined, null, {}, 'redis://localhost', client.pipeline(), redisLock]) {
      expect(() => redisLock(untyped(wrong))).toThrow(TypeError)
      expect(() => redisLock(untyped(wrong))).toThrow('ioredis')
    }
    const without = { evalsha() {}, eval() {}, connect() {}, on() {}, off() {} }
    expect(() => redisLock(untyped(without))).toThrow(TypeError)
  })

  it('but each client that is promised is taken', () => {
    for (const one of offlineClients()) {
      onTestFinished(() => one.disconnect())
      createLock(redisLock(one))
    }
  })

  it('and so are options that are none', () => {
    for (const wrong of [null, 5, 'fast']) {
      expect(() => createLock(memoryLock(), untyped(wrong))).toThrow(TypeError)
      expect(() => createSemaphore(memoryLock(), untyped(wrong))).toThrow(TypeError)
      expect(() => redisLock(client, untyped(wrong))).toThrow(TypeError)
    }
    expect(() => createSemaphore(memoryLock(), untyped(undefined))).toThrow(TypeError)
    expect(() => redisLock(client, { prefix: untyped(5) })).toThrow(/prefix must be a string, got 5/)
    expect(() => redisLock(client, { prefix: '\ud800' })).toThrow(RangeError)
    for (const counterTtlMs of [0, -1, NaN]) expect(() => redisLock(client, { counterTtlMs })).toThrow(RangeError)
    expect(() => redisLock(client, { counterTtlMs: untyped('1') })).toThrow(TypeError)
  })
})

describe('what is not known is named, with what is', () => {
  const none = (call: string, ...known: string[]): string =>
    `${call}: there is no option "ttl", only ${known.join(', ')}`
  const ofLock = ['name', 'ttlMs', 'timeoutMs', 'localHandovers', 'clock']
  const client = new Redis({ lazyConnect: true })
  const makers: [call: string, make: (options: object) => unknown, known: string[]][] = [
    ['createLock', (options) => createLock(memoryLock(), options), ofLock],
    ['createReadWriteLock', (options) => createReadWriteLock(memoryLock(), options), ofLock],
    ['createSemaphore', (options) => createSemaphore(memoryLock(), { permits: 1, ...options }), [...ofLock, 'permits']],
    ['memoryLock', (options) => memoryLock(options), ['clock']],
    ['redisLock', (options) => redisLock(client, options), ['prefix', 'counterTtlMs', 'onBackgroundError']],
    ['redlockLock', (options) => redlockLock([client], options), ['nodeTimeoutMs', 'clock']],
  ]
  it.each(makers)('by %s', (call, make, known) => {
    expect(() => make({ ttl: 5 })).toThrow(new TypeError(none(call, ...known)))
    expect(() => make(Object.fromEntries(known.map((name) => [name, undefined])))).not.toThrow(/there is no option/)
    expect(() => make({})).not.toThrow()
  })

  const hold = ['ttlMs', 'renew', 'reenter']
  const wait = [...hold, 'maxWaitMs', 'signal']
  it('by every call', async () => {
    const { read } = createReadWriteLock(memoryLock())
    const lock = createLock(memoryLock())
    const semaphore = createSemaphore(memoryLock(), { permits: 1 })
    const bad = untyped<object>({ ttl: 5 })
    const calls: [call: Promise<unknown>, message: string][] = [
      [lock.tryAcquire('a', bad), none('tryAcquire', ...hold)],
      [lock.acquire('a', bad), none('acquire', ...wait)],
      [lock.run('a', () => 1, bad), none('run', ...wait)],
      [read.run('a', () => 1, bad), none('run', ...wait)],
      [semaphore.tryAcquire('a', bad), none('tryAcquire', 'permits', ...hold)],
      [semaphore.acquire('a', bad), none('acquire', 'permits', ...wait)],
      [lock.acquire('a', untyped({ maxWait: 300 })), 'there is no option "maxWait"'],
      [lock.tryAcquire('a', untyped({ maxWaitMs: 300 })), 'there is no option "maxWaitMs"'],
      [lock.acquire('a', untyped({ permits: 1 })), 'there is no option "permits"'],
      [lock.acquire('a', untyped(300)), 'acquire: options must be an object with ttlMs'],
      [semaphore.acquire('a', untyped(2)), 'acquire: options must be an object with permits'],
      [lock.tryAcquire('a', untyped(null)), 'tryAcquire: options must be an object with'],
      [lock.acquire('a', untyped({ signal: 5 })), 'signal must be an AbortSignal, got 5'],
      [lock.run('a', untyped('body')), 'run: body must be a function, got "body"'],
    ]
    for (const [call, message] of calls) {
      await expect(call).rejects.toThrow(TypeError)
      await expect(call).rejects.toThrow(message)
    }
    await lock.run('a', () => 1, { ttlMs: undefined, renew: undefined, maxWaitMs: undefined, signal: undefined })
  })

  it('but what has no driver is told of that first', () => {
    const make = untyped<() => unknown>(createLock)
    expect(make).toThrow(
      new TypeError(
        'createLock: the driver must be a lock driver such as memoryLock() or redisLock(redis), got undefined',
      ),
    )
  })

  it('and a name is a name', () => {
    expect(() => createLock(memoryLock(), { name: '' })).toThrow(RangeError)
    expect(() => createLock(memoryLock(), { name: untyped(5) })).toThrow('name must be a string, got 5')
    const listener = { onBackgroundError: untyped<() => void>('log') }
    expect(() => redisLock(client, listener)).toThrow('onBackgroundError must be a function, got "log"')
  })
})

it('prints a lease by its name, also when a bundler has shortened that of its class', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'spillway-minified-'))
  onTestFinished(() => rm(folder, { recursive: true }))
  const outfile = join(folder, 'lock.mjs')
  const entry = { contents: `export * from './src/lock/index.ts'`, resolveDir: root, loader: 'ts' } as const
  await build({ stdin: entry, outfile, bundle: true, minify: true, platform: 'node', format: 'esm' })
  const bundle = (await import(pathToFileURL(outfile).href)) as typeof published
  const lock = bundle.createLock(bundle.memoryLock())
  onTestFinished(() => lock.close())
  const shown = inspect(await lock.acquire('a'))
  expect(shown).toBe("Lease { key: 'a' }")
  expect(inspect(await createLock(memoryLock()).acquire('a', { renew: false }))).toBe(shown)
})
