import { exponentialBackoff } from '../core/backoff.js'
import { durationMs, keyString } from '../core/check.js'
import { sleep, systemClock, type Clock } from '../core/clock.js'
import { jsonCodec, type Codec } from '../core/codec.js'
import { StoreUnavailableError } from '../core/errors.js'
import { createGroupCommit, type Trip } from '../core/group-commit.js'
import { bounded } from './bounded.js'
import { isPermanent, type OutgoingRecord, type QueueDriver, type QueueProducer } from './driver.js'
import { encodeMessage, type OutgoingMessage } from './message.js'

export interface PublisherOptions<T> {
  readonly topic: string
  /** @defaultValue jsonCodec() */
  readonly codec?: Codec<T>
  /** How long a call of `publish` may take. @defaultValue 1_000 */
  readonly timeoutMs?: number
  /** Where time comes from. @defaultValue systemClock */
  readonly clock?: Clock
}

/** Publishes to one topic. Made by {@link startPublisher}. */
export interface Publisher<T> extends AsyncDisposable {
  /**
   * Resolves when every in-sync replica has the messages. Calls made while others are under way share the next trip; the
   * messages of one call succeed or fail together, apart from those of others.
   *
   * A failed trip is tried again within `timeoutMs`, so a message may arrive twice, and is the same message by its id.
   * Rejects with StoreUnavailableError: after `applied: 'no'` nothing of the call was published or will be; after
   * `'unknown'` publish the same messages again, with the same ids.
   */
  publish(
    messages: OutgoingMessage<T> | readonly OutgoingMessage<T>[],
    options?: { readonly signal?: AbortSignal },
  ): Promise<void>
  /** Turns new calls away, waits for those under way, and disconnects. */
  close(): Promise<void>
}

type Call = readonly OutgoingRecord[]

interface Parcel {
  readonly record: OutgoingRecord
  readonly call: number
}

/** Below what brokers take in one batch by default, 1 MiB, compressed or not. */
const maxBytes = 768 * 1_024
const maxRecords = 10_000
/** A broker that is away does not keep `close` from returning. */
const leaveMs = 5_000
const backoff = exponentialBackoff({ baseMs: 20, maxMs: 1_000 })

/** Opens a publisher. Rejects when the backend cannot be reached. */
export async function startPublisher<T>(driver: QueueDriver, options: PublisherOptions<T>): Promise<Publisher<T>> {
  const { topic, codec = jsonCodec<T>(), timeoutMs, clock = systemClock } = options
  keyString('topic', topic)
  if (timeoutMs !== undefined) durationMs('timeoutMs', timeoutMs, 1)
  const producer = await driver.openProducer(topic)
  const trips = createGroupCommit<Call, undefined>({
    module: 'queue',
    verb: 'publish',
    timeoutMs,
    maxBatch: 10_000,
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
    async publish(messages, { signal } = {}) {
      const list = (Array.isArray(messages) ? messages : [messages]) as readonly OutgoingMessage<T>[]
      const records = list.map((message) => encodeMessage(message, codec))
      if (records.length > 0) await trips.call(records, signal)
    },
    close,
    [Symbol.asyncDispose]: close,
  }
}

/** Carries the records of a trip's calls, in their order and in as many pieces as the backend takes. */
function createSender(
  producer: QueueProducer,
  clock: Clock,
): (calls: readonly Call[], trip: Trip) => Promise<(undefined | Error)[]> {
  // A client may go on with a piece that everybody has stopped waiting for. Nothing is sent beside it: it would overtake.
  let underWay: Promise<unknown> = Promise.resolve()

  async function sendOnce(records: readonly OutgoingRecord[], trip: Trip): Promise<void> {
    const { signal } = trip
    await abortable(underWay, signal)
    trip.sending()
    const sent = producer.send(records)
    underWay = sent.catch(() => undefined)
    await abortable(sent, signal)
  }

  return async (calls, trip) => {
    const results: (undefined | Error)[] = calls.map(() => undefined)

    async function carry(parcels: readonly Parcel[]): Promise<void> {
      const wanted = parcels.filter(({ call }) => !results[call])
      if (wanted.length === 0) return
      const records = wanted.map(({ record }) => record)
      for (let attempt = 1; ; attempt++) {
        try {
          return await sendOnce(records, trip)
        } catch (error) {
          if (trip.signal.aborted) throw error
          if (isPermanent(error)) return refuse(wanted, error)
        }
        await sleep(backoff(attempt), { clock, signal: trip.signal })
      }
    }

    /** One bad message must not fail the calls that happen to share its trip: halve until its call is alone. */
    async function refuse(parcels: readonly Parcel[], error: unknown): Promise<void> {
      const first = (parcels[0] as Parcel).call
      const last = (parcels.at(-1) as Parcel).call
      if (first === last) {
        const applied = (calls[first] as Call).length === 1 ? 'no' : 'unknown'
        results[first] = new StoreUnavailableError('queue: publish was refused', { applied, cause: error })
        return
      }
      const middle = (first + last) >> 1
      await carry(parcels.filter(({ call }) => call <= middle))
      await carry(parcels.filter(({ call }) => call > middle))
    }

    for (const piece of pieces(calls)) await carry(piece)
    return results
  }
}

const size = ({ key, value, headers }: OutgoingRecord): number => {
  let bytes = 64 + (key?.length ?? 0) + (value?.length ?? 0)
  for (const name of Object.keys(headers)) bytes += name.length + (headers[name]?.length ?? 0) * 3
  return bytes
}

function* pieces(calls: readonly Call[]): Generator<readonly Parcel[]> {
  let piece: Parcel[] = []
  let bytes = 0
  for (const [call, records] of calls.entries()) {
    for (const record of records) {
      const more = size(record)
      if (piece.length > 0 && (bytes + more > maxBytes || piece.length >= maxRecords)) {
        yield piece
        piece = []
        bytes = 0
      }
      piece.push({ record, call })
      bytes += more
    }
  }
  if (piece.length > 0) yield piece
}

/** Stops waiting for `work` when `signal` aborts, with its reason. */
function abortable<Value>(work: Promise<Value>, signal: AbortSignal): Promise<Value> {
  return new Promise((resolve, reject) => {
    if (signal.aborted) return reject(signal.reason as Error)
    const onAbort = (): void => reject(signal.reason as Error)
    signal.addEventListener('abort', onAbort, { once: true })
    work.then(resolve, reject).finally(() => signal.removeEventListener('abort', onAbort))
  })
}
