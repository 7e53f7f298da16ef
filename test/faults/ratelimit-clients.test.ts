import type { Cluster, Redis } from 'ioredis'
import { describe, expect, it, onTestFinished } from 'vitest'
import { createRateLimiter } from '../../src/ratelimit/index.js'
import { redisTokenBucket } from '../../src/ratelimit/redis/index.js'
import { describeWithServices, uniqueName } from '../services/vitest.js'
import {
  clientLibraries,
  clusterClient,
  clusterSettings,
  serverClient,
  serverSettings,
} from './redis-client-settings.js'

const hourMs = 3_600_000

/** Every verb, concurrently, over many keys (on a Cluster: many slots). */
async function decides(client: Redis | Cluster): Promise<void> {
  onTestFinished(() => client.disconnect())
  const prefix = `${uniqueName('client')}:`
  const driver = redisTokenBucket(client, { prefix })
  const options = { name: 'calls', quotas: [{ capacity: 5, refill: 1, perMs: hourMs }], timeoutMs: 30_000 } as const
  await using limiter = createRateLimiter(driver, options)
  const keys = Array.from({ length: 60 }, (_, i) => `user-${i}`)
  const all = <T>(call: (key: string) => Promise<T>): Promise<T[]> => Promise.all(keys.map(call))

  for (const remaining of [4, 3, 2, 1, 0]) {
    for (const decision of await all((key) => limiter.take(key))) {
      expect(decision).toMatchObject({ allowed: true, granted: 1, remaining })
      expect(decision.fullInMs).toBeGreaterThan((4.9 - remaining) * hourMs)
      expect(decision.fullInMs).toBeLessThanOrEqual((5 - remaining) * hourMs)
    }
  }
  for (const decision of await all((key) => limiter.take(key))) {
    expect(decision).toMatchObject({ allowed: false, granted: 0, remaining: 0 })
    expect(decision.allowed ? 0 : decision.retryAfterMs).toBeGreaterThan(0.9 * hourMs)
  }
  await all((key) => limiter.refund(key, 2))
  for (const { remaining } of await all((key) => limiter.peek(key))) expect(remaining).toBe(2)
  await all((key) => limiter.wait(key, { cost: 2 }))
  for (const { remaining } of await all((key) => limiter.peek(key))) expect(remaining).toBe(0)
  await all((key) => limiter.reset(key))
  for (const { remaining } of await all((key) => limiter.peek(key))) expect(remaining).toBe(5)

  await using leasing = createRateLimiter(driver, { ...options, lease: { tokens: 3, leaseMs: hourMs } })
  for (const { granted } of await all((key) => leasing.take(key))) expect(granted).toBe(1)
  for (const { remaining } of await all((key) => limiter.peek(key))) expect(remaining).toBe(2)
}

describeWithServices('buckets over a client', ['redis', 'redis-cluster'], ({ redis, 'redis-cluster': cluster }) => {
  describe.each(clientLibraries)('of %s', (library) => {
    it.each(serverSettings)('of one server with $title', async ({ options }) => {
      await decides(serverClient(redis, options, library))
    })
    it.each(clusterSettings)('of a Cluster with $title', async ({ options }) => {
      await decides(clusterClient(cluster.nodes, options, library))
    })
  })
})
