import { onAbort } from '../core/abort.js'
import { exponentialBackoff } from '../core/backoff.js'
import { durationMs, keyString, objectWith } from '../core/check.js'
import { sleep, systemClock, type Clock } from '../core/clock.js'
import { jsonCodec, type Codec, type CodecFor } from '../core/codec.js'
import { StoreUnavailableError } from '../core/errors.js'
import { createGroupCommit, type Trip } from '../core/group-commit.js'
import { knownOptions, requiredOptions, type Known } from '../core/options.js'
import { bounded } from './bounded.js'
import {
  checkedDriver,
  isPermanent,
  refusesAll,
  unavailable,
  type OutgoingRecord,
  type QueueDriver,
  type QueueProducer,
} from './driver.js'
import { encodeMessage, idHeader, type OutgoingMessage } from './message.js'
import { recordBytes } from './record-bytes.js'

export interface PublisherOptions<T> {
  readonly topic: string
  /** @defaultValue jsonCodec() */
  readonly codec?: Codec<T> | undefined
  /** How long a call of `publish` may take. @defaultValue 1_000 */
  readonly timeoutMs?: number | undefined
  /** Where time comes from. @defaultValue systemClock */
  readonly clock?: Clock | undefined
}

const known: Known<PublisherOptions<unknown>> = { topic: true, codec: true, timeoutMs: true, clock: true }

export interface PublishOptions {
  /** Its abort ends the wait, with its reason. */
  readonly signal?: AbortSignal | undefined
}

const knownOfPublish: Known<PublishOptions> = { signal: true }

/** Publishes to one topic. Made by {@link startPublisher}. */
export interface Publisher<T> extends AsyncDisposable {
  /**
   * Resolves when every in-sync replica has the messages. Calls made while others are under way share the next trip. A
   * list of any length is split into what the topic takes at once.
   *
   * A failed trip is tried again within `timeoutMs`, so a message may arrive twice; its id says that it is the same one.
   * The publisher remembers no ids: a message that is published again is there twice, and an inbox handles it once.
   *
   * Rejects with StoreUnavailableError: after `applied: 'no'` nothing of the call was published or will be; after
   * `'unknown'` publish the same messages again, with the same ids. A message that the topic will never take (it is too
   * large) fails its call, with an error that names it; the other messages of the list, and other calls, are published.
   */
  publish(messages: OutgoingMessage<T> | readonly OutgoingMessage<T>[], options?: PublishOptions): Promise<void>
  /** Turns new calls away, waits for those under way, and disconnects. */
  close(): Promise<void>
}

interface Call {
  readonly records: readonly OutgoingRecord[]
  readonly bytes: number
}

/** Why a message was refused. */
interface Refusal {
  readonly error: unknown
  /** Whether this was its first try, so that no earlier one may have come through. */
  readonly certain: boolean
}

/** Below what brokers take in one batch by default, 1 MiB, compressed or not. */
const mostBytes = 768 * 1_024
/** No topic takes less: it is for single messages that halving is worth its requests. */
const leastBytes = 16 * 1_024
const mostRecords = 10_000
/** A broker that is away does not keep `close` from returning. */
const leaveMs = 5_000
const backoff = exponentialBackoff({ baseMs: 20, maxMs: 1_000 })

/**
 * Opens a publisher. Rejects with StoreUnavailableError when the backend cannot be reached; `cause` is what its client said.
 * Until `close` a publisher's connections to Kafka keep the process alive; one of `memoryQueue` does not.
 */
export async function startPublisher<T>(
  driver: QueueDriver,
  options: PublisherOptions<T> & CodecFor<T>,
): Promise<Publisher<T>> {
  checkedDriver(driver)
  const { topic, codec, timeoutMs, clock } = checkedOptions<T>(options)
  const producer = await driver.openProducer(topic).catch((error: unknown) => {
    throw unavailable(`cannot publish to topic ${topic}`, error)
  })
  const trips = createGroupCommit<Call, undefined>({
    module: 'queue',
    name: topic,
    verb: 'publish',
    timeoutMs,
    maxBatch: mostRecords,
    maxWeight: { of: ({ bytes }) => bytes, most: mostBytes },
    clock,
    run: createSender(producer, clock),
  })
  let closing: Promise<void> | undefined
  const shutDown = async (): Promise<void> => {
    await trips.close()
    await bounded(producer.close(), leaveMs, clock)
  }
  const close = (): Promise<void> => (closing ??= shutDown())
  return {
    async publish(messages, options) {
      const { signal } = knownOptions<PublishOptions>('publish', options, knownOfPublish)
      const list = (Array.isArray(messages) ? messages : [messages]) as readonly OutgoingMessage<T>[]
      const records = list.map((message) => encodeMessage(message, codec))
      if (records.length > 0) await trips.call({ records, bytes: bytesOf(records) }, signal)
    },
    close,
    [Symbol.asyncDispose]: close,
  }
}

function checkedOptions<T>(given: PublisherOptions<T>) {
  const options = requiredOptions<PublisherOptions<T>>('startPublisher', given, known)
  const { codec = jsonCodec<T>(), timeoutMs, clock = systemClock } = options
  const topic = keyString('topic', options.topic)
  if (timeoutMs !== undefined) durationMs('timeoutMs', timeoutMs, 1)
  objectWith('codec', codec, ['encode'], 'a Codec')
  return { topic, codec, timeoutMs, clock }
}

/** Carries the records of a trip's calls, in their order and in as many pieces as the backend takes. */
function createSender(
  producer: QueueProducer,
  clock: Clock,
): (calls: readonly Call[], trip: Trip) => Promise<(undefined | Error)[]> {
  // A client may go on with a piece that everybody has stopped waiting for. Nothing is sent beside it: it would overtake.
  let underWay: Promise<unknown> = Promise.resolve()
  /** Why the last piece failed, as long as none has come through since. */
  let failure: unknown
  /** What the topic takes in one batch, as far as its refusals have told. */
  let pieceBytes = mostBytes

  async function sendOnce(records: readonly OutgoingRecord[], trip: Trip): Promise<void> {
    const { signal } = trip
    await abortable(underWay, signal)
    trip.sending()
    const sent = producer.send(records)
    underWay = sent.catch(() => undefined)
    await abortable(sent, signal)
  }

  return async (calls, trip) => {
    trip.blames?.(() => producer.fault?.() ?? (failure instanceof Error ? failure : undefined))
    const records = calls.flatMap((call) => call.records)
    const refusals = new Map<number, Refusal>()

    /** Sends the records from one place to another, and tells whether the backend took all of them. */
    async function carry(from: number, to: number): Promise<boolean> {
      const piece = to - from === records.length ? records : records.slice(from, to)
      for (let attempt = 1; ; attempt++) {
        try {
          await sendOnce(piece, trip)
          failure = undefined
          return true
        } catch (error) {
          if (trip.signal.aborted) throw error
          failure = error
          if (isPermanent(error)) return refuse(from, to, { error, certain: attempt === 1 })
        }
        await sleep(backoff(attempt), { clock, signal: trip.signal })
      }
    }

    /** One bad message must not fail those that happen to share its trip: halve until it is alone. */
    async function refuse(from: number, to: number, refusal: Refusal): Promise<false> {
      if (to - from === 1 || refusesAll(refusal.error)) {
        for (let at = from; at < to; at++) refusals.set(at, refusal)
        return false
      }
      const middle = (from + to) >> 1
      const first = await carry(from, middle)
      const second = await carry(middle, to)
      if (first && second) {
        // Each message was taken: it was together that they were too large.
        const half = Math.max(bytesOf(records.slice(from, middle)), bytesOf(records.slice(middle, to)))
        pieceBytes = Math.max(leastBytes, Math.min(pieceBytes, half))
      }
      return false
    }

    for (const [from, to] of pieces(records, calls, pieceBytes)) await carry(from, to)
    return refusals.size === 0 ? new Array<undefined>(calls.length).fill(undefined) : resultsOf(calls, refusals)
  }
}

/** What is sent at once, by number and by bytes; a record that is larger than that goes alone. */
function* pieces(
  records: readonly OutgoingRecord[],
  calls: readonly Call[],
  maxBytes: number,
): Generator<readonly [from: number, to: number]> {
  const bytes = calls.reduce((sum, call) => sum + call.bytes, 0)
  if (bytes <= maxBytes && records.length <= mostRecords) {
    yield [0, records.length]
    return
  }
  let from = 0
  let left = maxBytes
  for (const [at, record] of records.entries()) {
    const more = recordBytes(record)
    if (at > from && (more > left || at - from >= mostRecords)) {
      yield [from, at]
      from = at
      left = maxBytes
    }
    left -= more
  }
  yield [from, records.length]
}

/** A call fails by its first refused message; the rest of it was published, as its neighbours were. */
function resultsOf(
  calls: readonly Call[],
  refusals: ReadonlyMap<number, Refusal>,
): (StoreUnavailableError | undefined)[] {
  let at = 0
  return calls.map(({ records }) => {
    const refused = records.flatMap((record) => {
      const refusal = refusals.get(at++)
      return refusal ? [{ record, ...refusal }] : []
    })
    const [first] = refused
    if (!first) return undefined
    const { record, error } = first
    const applied = refused.length === records.length && refused.every(({ certain }) => certain) ? 'no' : 'unknown'
    const which = `message ${String(record.headers[idHeader])} of about ${recordBytes(record)} bytes`
    const why = error instanceof Error ? error.message : String(error)
    return new StoreUnavailableError(`queue: publish was refused, ${which}: ${why}`, { applied, cause: error })
  })
}

const bytesOf = (records: readonly OutgoingRecord[]): number =>
  records.reduce((sum, record) => sum + recordBytes(record), 0)

/** Stops waiting for `work` when `signal` aborts, with its reason. */
function abortable<Value>(work: Promise<Value>, signal: AbortSignal): Promise<Value> {
  return new Promise((resolve, reject) => {
    if (signal.aborted) return reject(signal.reason as Error)
    const unwatch = onAbort(signal, () => reject(signal.reason as Error))
    work.then(resolve, reject).finally(unwatch)
  })
}
