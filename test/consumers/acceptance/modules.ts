// What has to compile in a project that uses spillway, and what must not. Only compiled, by every TypeScript that counts;
// no type of Node or of a client stands here, so that it compiles without @types/node as well.
import { channels, jsonCodec, type Codec } from 'spillway'
import { createCache, memoryTier, memoryWriteBehind, startWriteBehind } from 'spillway/cache'
import { createLock, createReadWriteLock, createSemaphore, memoryLock } from 'spillway/lock'
import { memoryInbox, memoryQueue, startConsumer, startPublisher, type Message } from 'spillway/queue'
import { createRateLimiter, memoryTokenBucket, type Quota } from 'spillway/ratelimit'
import { createStock, memoryStock } from 'spillway/stock'

interface Order {
  readonly total: number
}
interface Dated {
  readonly at: Date
}
declare const maybe: {
  readonly signal: AbortSignal | undefined
  readonly count: number | undefined
  readonly ms: number | undefined
  readonly flag: boolean | undefined
  readonly text: string | undefined
}
declare const datedCodec: Codec<Dated>
const quota: Quota = { capacity: 10, refill: 1, perMs: 1_000 }

export async function ratelimit(): Promise<void> {
  const quotas: readonly Quota[] = [quota]
  await using limiter = createRateLimiter(memoryTokenBucket(), { name: 'api', quotas })
  await limiter.take('key', { cost: maybe.count, atMost: maybe.flag })
  await limiter.wait('key', { cost: maybe.count, maxWaitMs: maybe.ms, signal: maybe.signal })
  await limiter.charge('key', 5)
  const reserved = await limiter.reserve('key', { cost: maybe.count, maxWaitMs: maybe.ms })
  const dueInMs: number | undefined = reserved?.dueInMs
  await reserved?.cancel()
  void dueInMs
  createRateLimiter(memoryTokenBucket({ maxKeys: maybe.count }), {
    name: 'all',
    quotas: [{ ...quota, initial: maybe.count }],
    timeoutMs: maybe.ms,
    whenStoreFails: maybe.flag ? limiter : undefined,
    lease: maybe.flag ? { tokens: 10, leaseMs: 100 } : undefined,
  })

  // @ts-expect-error the name is missing
  createRateLimiter(memoryTokenBucket(), { quotas })
  // @ts-expect-error the quotas are missing
  createRateLimiter(memoryTokenBucket(), { name: 'api' })
  // @ts-expect-error a driver of locks
  createRateLimiter(memoryLock(), { name: 'api', quotas })
  // @ts-expect-error there is no option "tokens"
  await limiter.take('key', { tokens: 5 })
  // @ts-expect-error options are an object
  await limiter.take('key', 5)
}

export async function lock(): Promise<void> {
  await using lock = createLock(memoryLock(), { ttlMs: maybe.ms, timeoutMs: maybe.ms, localHandovers: maybe.count })
  const lease = await lock.acquire('key', { maxWaitMs: maybe.ms, signal: maybe.signal, ttlMs: maybe.ms })
  await lock.tryAcquire('key', { ttlMs: maybe.ms, renew: maybe.flag, reenter: maybe.flag ? lease : undefined })
  const asynchronous: number = await lock.run('key', async ({ signal }) => (signal.aborted ? 0 : 1))
  const synchronous: string = await lock.run('key', ({ key }) => key, { signal: maybe.signal })
  void [asynchronous, synchronous]
  await createReadWriteLock(memoryLock()).read.run('key', () => undefined, { maxWaitMs: maybe.ms })
  const semaphore = createSemaphore(memoryLock(), { permits: 5, ttlMs: maybe.ms })
  await semaphore.acquire('key', { permits: maybe.count, signal: maybe.signal })

  // @ts-expect-error the driver is missing
  createLock()
  // @ts-expect-error there is no option "ttl"
  createLock(memoryLock(), { ttl: 5 })
  // @ts-expect-error there is no option "maxWait"
  await lock.acquire('key', { maxWait: 300 })
  // @ts-expect-error the permits are missing
  createSemaphore(memoryLock(), {})
}

export async function cache(): Promise<void> {
  const tiers = [memoryTier({ maxEntries: 100, ttlMs: maybe.ms })] as const
  const base = { name: 'products', ttlMs: 60_000 }
  await using products = createCache<Order>(tiers, {
    ...base,
    load: async (key, { signal }) => (signal.aborted ? undefined : { total: key.length }),
    staleMs: maybe.ms,
    fleetLoadMs: maybe.ms,
    loadTimeoutMs: maybe.ms,
    codec: maybe.flag ? jsonCodec<Order>() : undefined,
    onBackgroundError: async (error) => void error,
  })
  const found: Order | undefined = await products.get('key', { signal: maybe.signal })
  void found
  await products.getMany(['key'], { signal: maybe.signal })
  await products.set('key', { total: 1 }, { ttlMs: maybe.ms })
  await products.setMany(new Map([['key', { total: 1 }]]))

  const inferred = createCache(tiers, { ...base, load: async () => ({ total: 1 }) })
  const total: number | undefined = (await inferred.get('key'))?.total
  void total
  createCache<string | null>(tiers, { ...base, load: async () => null })
  createCache<Order[]>(tiers, { ...base, load: async () => [] })
  createCache<Dated>(tiers, { ...base, load: async () => ({ at: new Date() }), codec: datedCodec })

  // @ts-expect-error JSON gives a Date back as a string: the codec is missing
  createCache<Dated>(tiers, { ...base, load: async () => ({ at: new Date() }) })
  // @ts-expect-error the same, where the type is inferred
  createCache(tiers, { ...base, load: async () => ({ at: new Date() }) })
  // @ts-expect-error JSON makes {} of a Map
  createCache<Map<string, number>>(tiers, { ...base, load: async () => new Map<string, number>() })
  // @ts-expect-error the name is missing
  createCache<Order>(tiers, { ttlMs: 60_000, load: async () => ({ total: 1 }) })
  // @ts-expect-error maxEntries is missing
  memoryTier()

  const flush = async (keys: readonly string[]): Promise<void> => void keys
  await using totals = await startWriteBehind(memoryWriteBehind(), { name: 'totals', delayMs: 100, flush })
  await totals.touch('key')
  // @ts-expect-error the name is missing
  await startWriteBehind(memoryWriteBehind(), { delayMs: 100, flush })
}

export async function stock(): Promise<void> {
  await using stock = createStock(memoryStock(), {
    timeoutMs: maybe.ms,
    local: maybe.flag ? { mode: 'gate', units: 10 } : undefined,
  })
  const buyer = maybe.flag ? { id: 'buyer', limit: 2 } : undefined
  const sale = await stock.sell({ orderId: 'order', sku: 'sku', quantity: maybe.count, buyer })
  const answer: string | boolean = sale.ok ? sale.replayed : sale.reason
  void answer
  // @ts-expect-error there is no field "qty"
  await stock.sell({ orderId: 'order', sku: 'sku', qty: 3 })
}

export async function queue(): Promise<void> {
  const driver = memoryQueue({ partitions: maybe.count })
  const base = { topic: 'orders', group: 'writer' }
  await using publisher = await startPublisher<Order>(driver, { topic: 'orders', timeoutMs: maybe.ms })
  await publisher.publish({ id: '1', key: maybe.text, body: { total: 1 } })

  await startConsumer<Order>(driver, {
    ...base,
    inbox: memoryInbox({ retentionMs: maybe.ms }),
    handle: async ({ body }, { signal }) => void [body.total, signal.aborted],
    fromBeginning: maybe.flag,
    concurrency: maybe.count,
    deadLetterTopic: maybe.text,
    codec: maybe.flag ? jsonCodec<Order>() : undefined,
    batch: { maxMessages: maybe.count, maxWaitMs: maybe.ms },
    onStalled: (message, error) => void [message.body.total, error],
  })
  await startConsumer<Order>(driver, { ...base, handle: ({ body }) => void body.total })
  await startConsumer<Order>(driver, { ...base, handleBatch: (messages) => void messages.length })
  await startConsumer<Order>(driver, { ...base, handle: ({ body }) => void body.total, handleBatch: undefined })
  await startConsumer(driver, { ...base, handle: ({ body }: Message<Order>) => void body.total })
  await startConsumer(driver, { ...base, inbox: maybe.flag ? memoryInbox() : undefined, handle: () => undefined })

  // @ts-expect-error neither handle nor handleBatch
  await startConsumer<Order>(driver, { ...base })
  // @ts-expect-error both
  await startConsumer<Order>(driver, { ...base, handle: () => undefined, handleBatch: () => undefined })

  await startPublisher<Dated>(driver, { topic: 'orders', codec: datedCodec })
  await startConsumer<Dated>(driver, { ...base, codec: datedCodec, handle: ({ body }) => void body.at.getTime() })
  // @ts-expect-error JSON gives a Date back as a string: the codec is missing
  await startPublisher<Dated>(driver, { topic: 'orders' })
  // @ts-expect-error the same
  await startConsumer<Dated>(driver, { ...base, handle: ({ body }) => void body.at })
}

export function diagnostics(): void {
  channels.trip.subscribe((event) => {
    const calls: number = event.calls
    const name: string = event.name
    void [calls, name]
  })
  channels.stockOrder.subscribe(({ sku, outcome }, channel) => void [sku.length, outcome === 'sold-out', channel])
  // @ts-expect-error a trip has no key
  channels.trip.subscribe((event) => void event.key)
}
