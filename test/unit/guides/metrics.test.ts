// The code of docs/guides/metrics.md.
import { Counter, Histogram, Registry } from 'prom-client'
import { channels } from 'spillway'
import { createCache, memoryTier } from 'spillway/cache'
import { createLock, memoryLock } from 'spillway/lock'
import { memoryQueue, startConsumer, startPublisher } from 'spillway/queue'
import { createRateLimiter, memoryTokenBucket } from 'spillway/ratelimit'
import { createStock, memoryStock } from 'spillway/stock'
import { expect, it } from 'vitest'

// #region prometheus
const registry = new Registry()
const registers = [registry]
const counter = (name: string, labelNames: string[]) => new Counter({ name, help: name, labelNames, registers })
const seconds = (name: string, labelNames: string[]) => new Histogram({ name, help: name, labelNames, registers })

const decisions = counter('spillway_ratelimit_decisions_total', ['name', 'outcome'])
const waits = seconds('spillway_lock_wait_seconds', ['name', 'outcome'])
const gets = counter('spillway_cache_gets_total', ['name', 'outcome'])
const orders = counter('spillway_stock_orders_total', ['name', 'outcome'])
const messages = counter('spillway_queue_messages_total', ['topic', 'group', 'outcome'])
const trips = seconds('spillway_trip_seconds', ['module', 'name', 'verb', 'outcome'])
const background = counter('spillway_background_errors_total', ['module', 'name'])

channels.rateLimitDecision.subscribe(({ name, outcome }) => decisions.inc({ name, outcome }))
channels.lockHold.subscribe(({ name, outcome, waitedMs }) => {
  if (waitedMs !== undefined) waits.observe({ name, outcome }, waitedMs / 1_000)
})
channels.cacheGet.subscribe(({ name, outcome }) => gets.inc({ name, outcome }))
channels.stockOrder.subscribe(({ name, outcome }) => orders.inc({ name, outcome }))
channels.queueMessage.subscribe(({ topic, group, outcome }) => messages.inc({ topic, group, outcome }))
channels.trip.subscribe(({ module, name, verb, outcome, durationMs }) => {
  trips.observe({ module, name, verb, outcome }, durationMs / 1_000)
})
channels.backgroundError.subscribe(({ module, name }) => background.inc({ module, name }))
// #endregion prometheus

it('counts what every module does', async () => {
  await using limiter = createRateLimiter(memoryTokenBucket(), {
    name: 'door',
    quotas: [{ capacity: 1, refill: 1, perMs: 3_600_000 }],
  })
  await limiter.take('ann')
  await limiter.take('ann')
  await using lock = createLock(memoryLock(), { name: 'reports' })
  await lock.run('k', () => undefined)
  await using cache = createCache([memoryTier({ maxEntries: 10 })], { name: 'prices', load: () => 1, ttlMs: 60_000 })
  await cache.get('shoe')
  await cache.get('shoe')
  await using stock = createStock(memoryStock(), { name: 'shop' })
  await stock.open('shoe', 1)
  await stock.sell({ sku: 'shoe', orderId: 'o-1' })
  await stock.sell({ sku: 'shoe', orderId: 'o-2' })
  const queue = memoryQueue()
  await using consumer = await startConsumer<string>(queue, { topic: 't', group: 'g', handle: () => undefined })
  await using publisher = await startPublisher<string>(queue, { topic: 't' })
  await publisher.publish({ id: '1', body: 'x' })
  await expect.poll(() => consumer.lag(), { timeout: 20_000 }).toBe(0)
  const text = await registry.metrics()
  for (const line of [
    'spillway_ratelimit_decisions_total{name="door",outcome="allowed"} 1',
    'spillway_ratelimit_decisions_total{name="door",outcome="refused"} 1',
    'spillway_lock_wait_seconds_count{name="reports",outcome="granted"} 1',
    'spillway_cache_gets_total{name="prices",outcome="miss"} 1',
    'spillway_cache_gets_total{name="prices",outcome="hit"} 1',
    'spillway_stock_orders_total{name="shop",outcome="sold"} 1',
    'spillway_stock_orders_total{name="shop",outcome="sold-out"} 1',
    'spillway_queue_messages_total{topic="t",group="g",outcome="handled"} 1',
    'spillway_trip_seconds_count{module="queue",name="t",verb="publish",outcome="answered"} 1',
  ]) {
    expect(text.split('\n')).toContain(line)
  }
})

it('shows lag and stats by asking', async () => {
  await using cache = createCache([memoryTier({ maxEntries: 10 })], { name: 'prices', load: () => 1, ttlMs: 60_000 })
  await cache.get('shoe')
  // #region stats
  const { hits, misses, stale, loads, loadFailures } = cache.stats()
  // #endregion stats
  expect({ hits, misses, stale, loads, loadFailures }).toEqual({
    hits: 0,
    misses: 1,
    stale: 0,
    loads: 1,
    loadFailures: 0,
  })
})
