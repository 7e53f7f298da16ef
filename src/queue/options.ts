import { exponentialBackoff, type Backoff } from '../core/backoff.js'
import { durationMs, keyString, positiveInteger } from '../core/check.js'
import { systemClock, type Clock } from '../core/clock.js'
import { jsonCodec, type Codec } from '../core/codec.js'
import { kindOf } from './driver.js'
import type { Inbox, TransactionalInbox } from './inbox.js'
import type { Message } from './message.js'

/** What a handler gets beside its messages. */
export interface HandlerContext<Tx> {
  /** Aborts when the result is of no use any more: the partition went elsewhere, or `drainMs` of a `close` passed. */
  readonly signal: AbortSignal
  /** The transaction of a {@link TransactionalInbox}: what is done with it happens once. */
  readonly tx: Tx
}

/** Options of {@link startConsumer}. Give either `handle` or `handleBatch`. */
export interface ConsumerOptions<T, Tx = undefined> {
  readonly topic: string
  /** Consumers of one group share the partitions of the topic. */
  readonly group: string
  /** @defaultValue jsonCodec() */
  readonly codec?: Codec<T>
  /** Makes the effect of a message happen once although it may be delivered twice. @defaultValue none */
  readonly inbox?: Inbox | TransactionalInbox<Tx>
  /** Handles one message. Return when it is done, throw to have it again. */
  readonly handle?: (message: Message<T>, context: HandlerContext<Tx>) => Promise<void>
  /**
   * Handles many messages at once, which is what makes a database fast. If it throws, the batch is tried again in
   * halves, and those in halves, until the message at fault is alone: a message may be in several calls, so what a
   * failing call has done must not stay, or must be harmless to repeat.
   */
  readonly handleBatch?: (messages: readonly Message<T>[], context: HandlerContext<Tx>) => Promise<void>
  readonly batch?: {
    /** @defaultValue 500 */
    readonly maxMessages?: number
    /** How long the first message waits for others. At 0 nobody waits: what has come by then is the batch. @defaultValue 0 */
    readonly maxWaitMs?: number
    /** Bytes of the messages of one call, as they travel; a larger message comes alone. @defaultValue 8_388_608, 8 MiB */
    readonly maxBytes?: number
  }
  /** Handlers under way at once, over all partitions of this consumer. @defaultValue 1 */
  readonly concurrency?: number
  /**
   * How often a message may fail, alone, before it is dead. Faults of a {@link TransactionalInbox}'s transaction that say
   * nothing about the message (deadlocks, lost connections) are tried again for as long as they last. @defaultValue 5
   */
  readonly maxAttempts?: number
  /** How long a message that failed waits for its next try, in milliseconds. @defaultValue exponentialBackoff() */
  readonly backoff?: Backoff
  /**
   * Where dead messages go: those that failed `maxAttempts` times and those that cannot be decoded. Without it, or where
   * the topic refuses the letter for good, the partition of a dead message stops, and `onStalled` is told.
   */
  readonly deadLetterTopic?: string
  /** How long `close` waits for handlers under way. @defaultValue 10_000 */
  readonly drainMs?: number
  /** Where a new group starts: at the oldest message, or at what is published from now on. @defaultValue false */
  readonly fromBeginning?: boolean
  /**
   * Bytes of messages that this consumer holds at most, fetched ahead and in handlers, as they travel. Each partition has
   * an equal share, in which one delivery, and so one message of any size, has room in any case.
   * @defaultValue 67_108_864, 64 MiB
   */
  readonly maxBufferedBytes?: number
  /** How soon the work of a dead member is taken over. Handlers may run longer. @defaultValue 10_000 */
  readonly sessionTimeoutMs?: number
  /**
   * A partition has stopped at this message, until the next rebalance or restart tries it again. One that cannot be
   * decoded comes with `undefined` for a body. What it throws, or rejects with, goes to `onBackgroundError`.
   */
  readonly onStalled?: (message: Message<T>, error: unknown) => void
  /**
   * Faults that nobody awaits, such as a lost connection. What it throws, or rejects with, becomes a process warning.
   * @defaultValue process.emitWarning
   */
  readonly onBackgroundError?: (error: unknown) => void
  /** Where time comes from. @defaultValue systemClock */
  readonly clock?: Clock
}

const functions = ['handle', 'handleBatch', 'backoff', 'onStalled', 'onBackgroundError'] as const
const messagesAtOnce = 500
const mebibyte = 2 ** 20

const record = (name: string, value: unknown): Readonly<Record<string, unknown>> => {
  if (typeof value === 'object' && value !== null) return value as Readonly<Record<string, unknown>>
  throw new TypeError(`${name} must be an object, got ${kindOf(value)}`)
}

/** Refuses what lacks one of the functions. */
function hasFunctions(name: string, value: unknown, wanted: readonly string[], what: string): void {
  const given = typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : {}
  if (wanted.some((one) => typeof given[one] !== 'function')) {
    throw new TypeError(`${name} must be ${what}, got ${kindOf(value)}`)
  }
}

function checkInbox(inbox: unknown): void {
  const isTransactional = typeof inbox === 'object' && inbox !== null && 'once' in inbox
  const wanted = isTransactional ? ['once'] : ['begin', 'finish', 'abandon']
  hasFunctions('inbox', inbox, wanted, 'an Inbox or a TransactionalInbox')
}

/** @internal Checks the options and fills in what is absent. */
export function checkedOptions<T, Tx>(options: ConsumerOptions<T, Tx>) {
  record('options', options)
  const { handle, handleBatch, inbox, codec, clock, fromBeginning = false, deadLetterTopic } = options
  const batch = record('batch', options.batch ?? {})
  keyString('topic', options.topic)
  keyString('group', options.group)
  if (deadLetterTopic !== undefined) keyString('deadLetterTopic', deadLetterTopic)
  if ((handle === undefined) === (handleBatch === undefined)) {
    throw new TypeError(`give either handle or handleBatch, got ${handle ? 'both' : 'neither'}`)
  }
  for (const name of functions) {
    const value: unknown = options[name]
    if (value !== undefined && typeof value !== 'function') {
      throw new TypeError(`${name} must be a function, got ${kindOf(value)}`)
    }
  }
  if (typeof fromBeginning !== 'boolean') {
    throw new TypeError(`fromBeginning must be true or false, got ${kindOf(fromBeginning)}`)
  }
  if (inbox !== undefined) checkInbox(inbox)
  if (codec !== undefined) hasFunctions('codec', codec, ['decode'], 'a Codec')
  if (clock !== undefined) hasFunctions('clock', clock, ['nowMs', 'wallMs', 'after'], 'a Clock')
  const one: typeof handleBatch = async ([message], context) => handle?.(message as Message<T>, context)
  return {
    ...options,
    inbox,
    codec: codec ?? jsonCodec<T>(),
    backoff: options.backoff ?? exponentialBackoff(),
    fromBeginning,
    handler: handleBatch ?? one,
    maxMessages: handleBatch ? positiveInteger('batch.maxMessages', batch['maxMessages'] ?? messagesAtOnce) : 1,
    maxWaitMs: handleBatch ? durationMs('batch.maxWaitMs', batch['maxWaitMs'] ?? 0) : 0,
    maxBytes: positiveInteger('batch.maxBytes', batch['maxBytes'] ?? 8 * mebibyte),
    maxBufferedBytes: positiveInteger('maxBufferedBytes', options.maxBufferedBytes ?? 64 * mebibyte),
    concurrency: positiveInteger('concurrency', options.concurrency ?? 1),
    maxAttempts: positiveInteger('maxAttempts', options.maxAttempts ?? 5),
    drainMs: durationMs('drainMs', options.drainMs ?? 10_000),
    sessionTimeoutMs: durationMs('sessionTimeoutMs', options.sessionTimeoutMs ?? 10_000, 1),
    clock: clock ?? systemClock,
  }
}
