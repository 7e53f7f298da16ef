import { Cluster, Redis } from 'ioredis'
import { expect, it, onTestFinished } from 'vitest'
import { createReadWriteLock, createSemaphore } from '../../../../src/lock/index.js'
import { redlockLock } from '../../../../src/lock/redlock/index.js'

const client = (): Redis => {
  const redis = new Redis({ lazyConnect: true })
  onTestFinished(() => redis.disconnect())
  return redis
}
const cluster = (): Cluster => {
  const redis = new Cluster([{ host: '127.0.0.1', port: 1 }], { lazyConnect: true })
  onTestFinished(() => redis.disconnect())
  return redis
}
const twice = (): Redis[] => {
  const redis = client()
  return [redis, client(), redis]
}

it.each([
  ['nothing', () => undefined, TypeError, 'nodes must be an array of Redis clients, got undefined'],
  ['one client instead of several', client, TypeError, 'nodes must be an array of Redis clients, got [object Object]'],
  ['null for nodes', () => null, TypeError, 'nodes must be an array of Redis clients, got null'],
  ['a text', () => 'redis://a', TypeError, 'nodes must be an array of Redis clients, got "redis://a"'],
  ['a Set', () => new Set([client()]), TypeError, 'nodes must be an array of Redis clients, got [object Set]'],
  [
    'what has no class',
    () => Object.create(null) as unknown,
    TypeError,
    'nodes must be an array of Redis clients, got [object Object]',
  ],
  ['no nodes', () => [], RangeError, 'nodes must be at least one Redis client, got none'],
  [
    'an address',
    () => [client(), 'redis://a'],
    TypeError,
    'nodes[1] must be a Redis or Cluster of ioredis, got "redis://a"',
  ],
  ['null', () => [null], TypeError, 'nodes[0] must be a Redis or Cluster of ioredis, got null'],
  [
    'half a client',
    () => [{ status: 'ready', eval: () => 0 }],
    TypeError,
    'nodes[0] must be a Redis or Cluster of ioredis, got an object with status, eval',
  ],
  ['a Cluster', () => [client(), cluster()], TypeError, 'nodes[1] must be one server, got a Cluster'],
  ['the same client twice', twice, RangeError, 'nodes[0] again at 2'],
])('turns %s away', (_, nodes, error, message) => {
  const make = (): unknown => redlockLock(nodes() as Redis[])
  expect(make).toThrow(error)
  expect(make).toThrow(message)
})

it.each([
  [0, RangeError],
  [NaN, RangeError],
  ['300', TypeError],
])('turns nodeTimeoutMs %s away', (nodeTimeoutMs, error) => {
  expect(() => redlockLock([client()], { nodeTimeoutMs: nodeTimeoutMs as number })).toThrow(error)
})

it.each([null, 300, 'fast'])('turns the options %j away', (options) => {
  expect(() => redlockLock([client()], options as never)).toThrow(TypeError)
  expect(() => redlockLock([client()], options as never)).toThrow(
    'redlockLock: options must be an object with nodeTimeoutMs, clock, got',
  )
})

it('does no I/O by itself', () => {
  const nodes = [client(), client(), client()]
  redlockLock(nodes)
  expect(nodes.map(({ status }) => status)).toEqual(['wait', 'wait', 'wait'])
})

it('neither fences nor shares', () => {
  const driver = redlockLock([client()])
  expect([driver.fences, driver.shares]).toEqual([false, false])
  expect(() => createReadWriteLock(driver)).toThrow(TypeError)
  expect(() => createSemaphore(driver, { permits: 2 })).toThrow(TypeError)
})
