import { build } from 'esbuild'
import { Redis } from 'ioredis'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { inspect } from 'node:util'
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
import { root } from '../../repo/files.js'
import { offlineClients } from '../../support/redis-clients.js'

const untyped = <T>(value: unknown): T => value as T

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
    [redisLock, 'Function: redisLock'],
    ['redis://localhost', '"redis://localhost"'],
    [{ url: 'redis://localhost' }, 'url'],
  ]
  it.each(makers)('%s', (_, make) => {
    for (const [wrong, shown] of notDrivers) {
      expect(() => make(untyped(wrong))).toThrow(TypeError)
      expect(() => make(untyped(wrong))).toThrow(shown)
      expect(() => make(untyped(wrong))).toThrow('memoryLock()')
    }
  })

  it('redisLock', () => {
    const nodeRedis = { isOpen: true, connect() {}, on() {}, off() {}, eval() {}, evalSha() {}, duplicate() {} }
    for (const wrong of [undefined, null, {}, 'redis://localhost', nodeRedis, client.pipeline(), redisLock]) {
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
