import { exponentialBackoff, type Backoff } from '../core/backoff.js'
import { durationMs, keyString, positiveInteger, type Unchecked } from '../core/check.js'
import { systemClock, type Clock } from '../core/clock.js'
import { jsonCodec, type Codec } from '../core/codec.js'
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
  }
  /** Handlers under way at once, over all partitions of this consumer. @defaultValue 1 */
  readonly concurrency?: number
  /** How often a message may fail, alone, before it is dead. @defaultValue 5 */
  readonly maxAttempts?: number
  /** How long a message that failed waits for its next try. @defaultValue exponentialBackoff() */
  readonly backoff?: Backoff
  /**
   * Where dead messages go: those that failed `maxAttempts` times and those that cannot be decoded. Without it the
   * partition of a dead message stops, and `onStalled` is told.
   */
  readonly deadLetterTopic?: string
  /** How long `close` waits for handlers under way. @defaultValue 10_000 */
  readonly drainMs?: number
  /** Where a new group starts: at the oldest message, or at what is published from now on. @defaultValue false */
  readonly fromBeginning?: boolean
  /** How soon the work of a dead member is taken over. Handlers may run longer. @defaultValue 10_000 */
  readonly sessionTimeoutMs?: number
  /** A partition has stopped at this message. One that cannot be decoded comes with `undefined` for a body. */
  readonly onStalled?: (message: Message<T>, error: unknown) => void
  /** Faults that nobody awaits, such as a lost connection. @defaultValue process.emitWarning */
  readonly onBackgroundError?: (error: unknown) => void
  /** Where time comes from. @defaultValue systemClock */
  readonly clock?: Clock
}

/** @internal Checks the options and fills in what is absent. */
export function checkedOptions<T, Tx>(options: ConsumerOptions<T, Tx>) {
  const { handle, handleBatch, inbox, backoff = exponentialBackoff(), fromBeginning = false } = options
  const { deadLetterTopic } = options
  keyString('topic', options.topic)
  keyString('group', options.group)
  if (deadLetterTopic !== undefined) keyString('deadLetterTopic', deadLetterTopic)
  if ((handle === undefined) === (handleBatch === undefined)) {
    throw new TypeError(`give either handle or handleBatch, got ${handle ? 'both' : 'neither'}`)
  }
  for (const [name, value] of Object.entries({ handle, handleBatch, backoff } satisfies Unchecked)) {
    if (value !== undefined && typeof value !== 'function') {
      throw new TypeError(`${name} must be a function, got ${typeof value}`)
    }
  }
  if (typeof fromBeginning !== 'boolean') {
    throw new TypeError(`fromBeginning must be true or false, got ${String(fromBeginning)}`)
  }
  if (inbox !== undefined && !('once' in inbox) && !('begin' in inbox)) {
    throw new TypeError('inbox must be an Inbox or a TransactionalInbox')
  }
  const one: typeof handleBatch = async ([message], context) => handle?.(message as Message<T>, context)
  return {
    ...options,
    inbox,
    codec: options.codec ?? jsonCodec<T>(),
    backoff,
    fromBeginning,
    handler: handleBatch ?? one,
    maxMessages: handleBatch ? positiveInteger('batch.maxMessages', options.batch?.maxMessages ?? 500) : 1,
    maxWaitMs: handleBatch ? durationMs('batch.maxWaitMs', options.batch?.maxWaitMs ?? 0) : 0,
    concurrency: positiveInteger('concurrency', options.concurrency ?? 1),
    maxAttempts: positiveInteger('maxAttempts', options.maxAttempts ?? 5),
    drainMs: durationMs('drainMs', options.drainMs ?? 10_000),
    sessionTimeoutMs: durationMs('sessionTimeoutMs', options.sessionTimeoutMs ?? 10_000, 1),
    clock: options.clock ?? systemClock,
  }
}
