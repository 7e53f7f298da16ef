import { channel } from 'node:diagnostics_channel'

/** What `spillway:trip` carries: one trip of joined calls to a backend has ended. */
export interface TripEvent {
  /** `ratelimit`, `stock`, `queue`… */
  readonly module: string
  /** The driver's verb, such as `sell`. */
  readonly verb: string
  /** How many calls shared the trip. */
  readonly calls: number
  readonly durationMs: number
  /** Why the whole trip failed, if it did. */
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

/** What `spillway:lock.hold` carries: a caller has got a lock or permits, has released them, or has lost them. */
export interface LockHoldEvent {
  readonly kind: 'mutex' | 'read-write' | 'semaphore'
  readonly key: string
  readonly event: 'granted' | 'released' | 'lost'
  readonly fencingToken: bigint | undefined
}

const named = <Event extends object>(name: string): { readonly hasSubscribers: boolean; publish(event: Event): void } =>
  channel(name)

/**
 * Every channel that spillway publishes on, for `node:diagnostics_channel`. Nothing is built while nobody listens.
 */
export const channels = {
  trip: named<TripEvent>('spillway:trip'),
  lockHold: named<LockHoldEvent>('spillway:lock.hold'),
  queueMessage: named<QueueMessageEvent>('spillway:queue.message'),
}
