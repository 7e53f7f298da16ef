import { channel, type Channel } from 'node:diagnostics_channel'

/** What `spillway:trip` carries: one trip of joined calls to a backend has ended, or nobody waits for it any more. */
export interface TripEvent {
  /** `ratelimit`, `lock`, `cache`, `write-behind`, `stock` or `queue`. */
  readonly module: string
  /** Of what made the calls: the `name` that it was given, the topic of a publisher. */
  readonly name: string
  /** The driver's verb, such as `sell`. */
  readonly verb: string
  /** How many calls shared the trip. */
  readonly calls: number
  readonly durationMs: number
  readonly outcome: 'answered' | 'failed'
  /** Why the whole trip failed, if it did. */
  readonly error?: unknown
}

/**
 * What `spillway:ratelimit.decision` carries: a limiter has decided a call. That is before `wait` sleeps: one that is
 * aborted or sent away by `close` while it sleeps stays `allowed`, and nothing more is told of it. A call that ends
 * undecided (by an abort, by `close`, by an error of the program) has no event.
 */
export interface RateLimitDecisionEvent {
  /** The limiter's. */
  readonly name: string
  readonly verb: 'take' | 'wait' | 'reserve'
  readonly key: string
  readonly cost: number
  /** `failed`: the store did, and nothing decided in its place. Of another limiter's decision it tells once it has come. */
  readonly outcome: 'allowed' | 'refused' | 'failed'
  /** Tokens taken, also from another limiter. */
  readonly granted: number
  /** In how long what `wait` or `reserve` took is due, or how long another limiter waited; 0 for `take`. */
  readonly waitMs: number
  /** Why the store failed, also where `whenStoreFails` decided in its place. */
  readonly error?: unknown
}

/** What `spillway:lock.hold` carries: a caller has got a lock or permits or not, has released them, or has lost them. */
export interface LockHoldEvent {
  /** The `name` of the lock, read-write lock or semaphore. */
  readonly name: string
  readonly kind: 'mutex' | 'read-write' | 'semaphore'
  readonly key: string
  /**
   * `refused`: `tryAcquire` found it held. `gave-up`: a waiter left, at `maxWaitMs`, by its signal or at `close`. `failed`: the
   * store did, at a try, a wait or a release; that of a release comes after its `released`.
   */
  readonly outcome: 'granted' | 'refused' | 'gave-up' | 'failed' | 'released' | 'lost'
  readonly fencingToken: bigint | undefined
  /** How long the call waited, where it has ended so. */
  readonly waitedMs?: number | undefined
  /** How long it was held, where the hold has ended so. */
  readonly heldMs?: number | undefined
  readonly error?: unknown
}

/** What `spillway:cache.get` carries: a cache has answered for one key. */
export interface CacheGetEvent {
  /** The cache's. */
  readonly name: string
  readonly key: string
  /** As `stats` counts: fresh in some tier, past its expiry, or the source was asked; `failed` if the caller got an error. */
  readonly outcome: 'hit' | 'stale' | 'miss' | 'failed'
  /** 0 for what was at hand. */
  readonly durationMs: number
  readonly error?: unknown
}

/** What `spillway:cache.load` carries: a call of `load` or `loadMany` has ended. */
export interface CacheLoadEvent {
  /** The cache's. */
  readonly name: string
  /** How many keys it was asked for. */
  readonly keys: number
  readonly durationMs: number
  readonly outcome: 'loaded' | 'failed'
  readonly error?: unknown
}

/** What `spillway:cache.flush` carries: a call of the `flush` of a write-behind has ended. */
export interface CacheFlushEvent {
  /** The write-behind's. */
  readonly name: string
  readonly keys: number
  readonly durationMs: number
  readonly outcome: 'flushed' | 'failed'
  readonly error?: unknown
}

/** What `spillway:stock.order` carries: an order was answered. */
export interface StockOrderEvent {
  /** The stock's. */
  readonly name: string
  readonly sku: string
  readonly orderId: string
  readonly quantity: number
  /** `replayed`: it had been sold, or was held, before. The orders of a basket have the outcome of the basket. */
  readonly outcome: 'sold' | 'held' | 'replayed' | 'sold-out' | 'buyer-limit' | 'not-open' | 'spent' | 'failed'
  readonly durationMs: number
  readonly error?: unknown
}

/** What `spillway:stock.settlement` carries: a hold was confirmed or cancelled, or a sale refunded, or not. */
export interface StockSettlementEvent {
  /** The stock's. */
  readonly name: string
  readonly verb: 'confirm' | 'cancel' | 'refund'
  readonly sku: string
  readonly orderId: string
  /** What the call answered; `failed` if it rejected. */
  readonly outcome: 'done' | 'already' | 'expired' | 'cancelled' | 'confirmed' | 'unknown' | 'failed'
  readonly durationMs: number
  readonly error?: unknown
}

/** What `spillway:queue.message` carries: one message has come to an end, or is about to be tried again. */
export interface QueueMessageEvent {
  readonly topic: string
  readonly group: string
  readonly id: string
  readonly outcome: 'handled' | 'duplicate' | 'retry' | 'dead-letter' | 'stalled'
  readonly attempt: number
  readonly error?: unknown
}

/** What `spillway:background-error` carries: an error that no call could be told of, whether or not a listener was. */
export interface BackgroundErrorEvent {
  readonly module: string
  /**
   * Of what failed: the `name` that it was given, the group of a consumer, the topic of a `memoryQueue`. The module's
   * name for locks over one Redis client, which share what wakes them, and for a `memoryInbox`.
   */
  readonly name: string
  readonly error: unknown
}

/** A channel of `node:diagnostics_channel` whose listeners get events of one type. */
export interface EventChannel<Event> {
  readonly name: string
  readonly hasSubscribers: boolean
  subscribe(listener: (event: Event, name: string | symbol) => void): void
  unsubscribe(listener: (event: Event, name: string | symbol) => void): boolean
  publish(event: Event): void
}

const named = <Event>(name: string): EventChannel<Event> => channel(name) as Channel & EventChannel<Event>

/**
 * Every channel that spillway publishes on, for metrics and traces: `channels.trip.subscribe((event) => …)`, or
 * `node:diagnostics_channel` by the names. A listener runs within the call that it is told of, so it should only count.
 * Nothing is built while nobody listens.
 */
export const channels = {
  trip: named<TripEvent>('spillway:trip'),
  rateLimitDecision: named<RateLimitDecisionEvent>('spillway:ratelimit.decision'),
  lockHold: named<LockHoldEvent>('spillway:lock.hold'),
  cacheGet: named<CacheGetEvent>('spillway:cache.get'),
  cacheLoad: named<CacheLoadEvent>('spillway:cache.load'),
  cacheFlush: named<CacheFlushEvent>('spillway:cache.flush'),
  stockOrder: named<StockOrderEvent>('spillway:stock.order'),
  stockSettlement: named<StockSettlementEvent>('spillway:stock.settlement'),
  queueMessage: named<QueueMessageEvent>('spillway:queue.message'),
  backgroundError: named<BackgroundErrorEvent>('spillway:background-error'),
}
