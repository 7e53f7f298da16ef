import { exponentialBackoff, type Backoff } from '../core/backoff.js'
import type { BackgroundListener } from '../core/background.js'
import { durationMs, keyString, objectWith, optionalFunction, positiveInteger, shown } from '../core/check.js'
import { systemClock, type Clock } from '../core/clock.js'
import { jsonCodec, type Codec } from '../core/codec.js'
import { knownOptions, requiredOptions, type Known } from '../core/options.js'
import { isTransactional, type Inbox, type TransactionalInbox } from './inbox.js'
import type { Message } from './message.js'

/** What a handler gets beside its messages. */
export interface HandlerContext<Tx> {
  /** Aborts when the result is of no use any more: the partition went elsewhere, or `drainMs` of a `close` passed. */
  readonly signal: AbortSignal
  /** The transaction of a {@link TransactionalInbox}: what is done with it happens once. */
  readonly tx: Tx
}

/**
 * Nobody gives this. It is here for the compiler's message where an inbox does not go with `Tx`: of the types that it could
 * be, that names the one which has the most of its properties.
 */
interface TypeHint<Text extends string> {
  readonly once: unknown
  readonly check?: unknown
  readonly migrate?: unknown
  readonly hint: Text
}

type InboxFor<Tx> =
  | Inbox
  | TransactionalInbox<Tx>
  | ([Tx] extends [undefined] ? TypeHint<'leave out <T> and annotate the message, or give <T, Tx>'> : never)

/** What a consumer handles its messages with: either `handle` or `handleBatch`. */
export type ConsumerHandler<T, Tx = undefined> =
  | {
      /** Handles one message. Return when it is done, throw to have it again. */
      readonly handle: (message: Message<T>, context: HandlerContext<Tx>) => Promise<void> | void
      readonly handleBatch?: undefined
    }
  | {
      /**
       * Handles many messages at once, which is what makes a database fast. If it throws, the batch is tried again in
       * halves, and those in halves, until the message at fault is alone: a message may be in several calls, so what a
       * failing call has done must not stay, or must be harmless to repeat.
       */
      readonly handleBatch: (messages: readonly Message<T>[], context: HandlerContext<Tx>) => Promise<void> | void
      readonly handle?: undefined
    }

/**
 * Options of {@link startConsumer}. `T` is the type of the bodies, `Tx` that of the transaction of a transactional inbox.
 * Both are inferred where the message is annotated, or a `codec` is given.
 */
export type ConsumerOptions<T, Tx = undefined> = ConsumerSettings<T, Tx> & ConsumerHandler<T, Tx>

/** The options of a consumer but for its handler. */
export interface ConsumerSettings<T, Tx = undefined> {
  readonly topic: string
  /** Consumers of one group share the partitions of the topic. */
  readonly group: string
  /** @defaultValue jsonCodec() */
  readonly codec?: Codec<T> | undefined
  /** Makes the effect of a message happen once although it may be delivered twice. @defaultValue none */
  readonly inbox?: InboxFor<Tx> | undefined
  readonly batch?:
    | {
        /** @defaultValue 500 */
        readonly maxMessages?: number | undefined
        /** How long the first message waits for others. At 0 nobody waits: what has come by then is the batch. @defaultValue 0 */
        readonly maxWaitMs?: number | undefined
        /** Bytes of the messages of one call, as they travel; a larger message comes alone. @defaultValue 8_388_608, 8 MiB */
        readonly maxBytes?: number | undefined
      }
    | undefined
  /** Handlers under way at once, over all partitions of this consumer. @defaultValue 1 */
  readonly concurrency?: number | undefined
  /**
   * How often a message may fail, alone, before it is dead. Faults of a {@link TransactionalInbox}'s transaction that say
   * nothing about the message (deadlocks, lost connections) are tried again for as long as they last. @defaultValue 5
   */
  readonly maxAttempts?: number | undefined
  /** How long a message that failed waits for its next try, in milliseconds. @defaultValue exponentialBackoff() */
  readonly backoff?: Backoff | undefined
  /**
   * Where dead messages go: those that failed `maxAttempts` times and those that cannot be decoded. Without it, or where
   * the topic refuses the letter for good, the partition of a dead message stops, and `onStalled` is told.
   */
  readonly deadLetterTopic?: string | undefined
  /** How long `close` waits for handlers under way. @defaultValue 10_000 */
  readonly drainMs?: number | undefined
  /** Where a new group starts: at the oldest message, or at what is published from now on. @defaultValue false */
  readonly fromBeginning?: boolean | undefined
  /**
   * Bytes of messages that this consumer holds at most, fetched ahead and in handlers, as they travel. Each partition has
   * an equal share, in which one delivery, and so one message of any size, has room in any case.
   * @defaultValue 67_108_864, 64 MiB
   */
  readonly maxBufferedBytes?: number | undefined
  /** How soon the work of a dead member is taken over. Handlers may run longer. @defaultValue 10_000 */
  readonly sessionTimeoutMs?: number | undefined
  /**
   * A partition has stopped at this message, until the next rebalance or restart tries it again. One that cannot be
   * decoded comes with `undefined` for a body. What it throws, or rejects with, goes to `onBackgroundError`.
   */
  readonly onStalled?: ((message: Message<T>, error: unknown) => unknown) | undefined
  /**
   * Faults that nobody awaits, such as a lost connection. What it throws, or rejects with, becomes a process warning.
   * @defaultValue process.emitWarning
   */
  readonly onBackgroundError?: BackgroundListener | undefined
  /** Where time comes from. @defaultValue systemClock */
  readonly clock?: Clock | undefined
}

const known: Known<ConsumerOptions<unknown>> = {
  topic: true,
  group: true,
  handle: true,
  handleBatch: true,
  batch: true,
  codec: true,
  inbox: true,
  concurrency: true,
  maxAttempts: true,
  backoff: true,
  deadLetterTopic: true,
  drainMs: true,
  fromBeginning: true,
  maxBufferedBytes: true,
  sessionTimeoutMs: true,
  onStalled: true,
  onBackgroundError: true,
  clock: true,
}
type BatchOptions = NonNullable<ConsumerSettings<unknown>['batch']>

const knownOfBatch: Known<BatchOptions> = {
  maxMessages: true,
  maxWaitMs: true,
  maxBytes: true,
}
const functions = ['handle', 'handleBatch', 'backoff', 'onStalled', 'onBackgroundError'] as const
const messagesAtOnce = 500
const mebibyte = 2 ** 20

function checkedInbox<Tx>(inbox: unknown): Inbox | TransactionalInbox<Tx> | undefined {
  if (inbox === undefined) return undefined
  const given = inbox as Inbox | TransactionalInbox<Tx>
  const wanted = isTransactional(given) ? ['once'] : ['begin', 'finish', 'abandon']
  return objectWith(
    'inbox',
    given,
    wanted,
    'an Inbox such as memoryInbox(), or a TransactionalInbox such as sqlInbox(db)',
  )
}

/** Checks the options and fills in what is absent. */
export function checkedOptions<T, Tx>(given: ConsumerOptions<T, Tx>) {
  const options = requiredOptions<ConsumerOptions<T, Tx>>('startConsumer', given, known)
  const { handle, handleBatch, codec = jsonCodec<T>(), clock = systemClock } = options
  const { fromBeginning = false, deadLetterTopic } = options
  const batch = knownOptions<BatchOptions>('batch', options.batch, knownOfBatch)
  const maxMessages = positiveInteger('batch.maxMessages', batch.maxMessages ?? messagesAtOnce)
  const maxWaitMs = durationMs('batch.maxWaitMs', batch.maxWaitMs ?? 0)
  const topic = keyString('topic', options.topic)
  const group = keyString('group', options.group)
  if (deadLetterTopic !== undefined) keyString('deadLetterTopic', deadLetterTopic)
  for (const name of functions) optionalFunction(name, options[name])
  if ((handle === undefined) === (handleBatch === undefined)) {
    throw new TypeError(`give either handle or handleBatch, got ${handle ? 'both' : 'neither'}`)
  }
  if (typeof fromBeginning !== 'boolean') {
    throw new TypeError(`fromBeginning must be true or false, got ${shown(fromBeginning)}`)
  }
  objectWith('codec', codec, ['decode'], 'a Codec')
  const one: typeof handleBatch = ([message], context) => handle?.(message as Message<T>, context)
  return {
    topic,
    group,
    deadLetterTopic,
    onStalled: options.onStalled,
    onBackgroundError: options.onBackgroundError,
    inbox: checkedInbox<Tx>(options.inbox),
    codec,
    backoff: options.backoff ?? exponentialBackoff(),
    fromBeginning,
    handler: handleBatch ?? one,
    maxMessages: handleBatch ? maxMessages : 1,
    maxWaitMs: handleBatch ? maxWaitMs : 0,
    maxBytes: positiveInteger('batch.maxBytes', batch.maxBytes ?? 8 * mebibyte),
    maxBufferedBytes: positiveInteger('maxBufferedBytes', options.maxBufferedBytes ?? 64 * mebibyte),
    concurrency: positiveInteger('concurrency', options.concurrency ?? 1),
    maxAttempts: positiveInteger('maxAttempts', options.maxAttempts ?? 5),
    drainMs: durationMs('drainMs', options.drainMs ?? 10_000),
    sessionTimeoutMs: durationMs('sessionTimeoutMs', options.sessionTimeoutMs ?? 10_000, 1),
    clock,
  }
}
