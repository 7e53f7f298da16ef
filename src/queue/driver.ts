import { objectWith } from '../core/check.js'
import { SpillwayError, StoreUnavailableError } from '../core/errors.js'

// What a backend implements. The front (publisher.ts, consumer.ts) waits, retries, keeps order and decides; a driver
// carries records, and answers.

export type HeaderValue = Uint8Array | string

/** Headers as they travel; a name may carry several values, and a value may be null. */
export type RecordHeaders = Readonly<Record<string, HeaderValue | null | readonly (HeaderValue | null)[]>>

/** A message on its way to a topic. Records of one key go to one partition. */
export interface OutgoingRecord {
  readonly key: Uint8Array | null
  readonly value: Uint8Array | null
  readonly headers: RecordHeaders
}

/** A message as a topic holds it. */
export interface QueueRecord extends OutgoingRecord {
  /** Grows along the partition, not necessarily by one. */
  readonly offset: number
  readonly timestampMs: number
}

/**
 * Sends to one topic. `send` resolves when the records are safe on every replica that counts. An error whose `retriable`
 * is `false` says that these records will never be taken together; of a record that is sent alone it says that it was
 * not taken. With `refusesAll` it would be the same for any other record.
 */
export interface QueueProducer {
  send(records: readonly OutgoingRecord[]): Promise<void>
  /** What is known of why `send` has no answer yet, such as the last try to connect. */
  fault?(): Error | undefined
  close(): Promise<void>
}

export interface JoinRequest {
  readonly topic: string
  readonly group: string
  /** Where a group starts that has never been there: at the oldest message, or at what is published from now on. */
  readonly fromBeginning: boolean
  readonly sessionTimeoutMs: number
  /** Bytes that the member may have fetched and not yet delivered, over all its partitions; one message may be larger. */
  readonly maxBufferedBytes: number
}

/** What a member learns from `next`. */
export type Delivery =
  /** Records of one partition in order. `nextOffset` lies behind all of them, markers that are not messages included. */
  | {
      readonly type: 'records'
      readonly partition: number
      readonly records: readonly QueueRecord[]
      readonly nextOffset: number
    }
  /** The group is about to share out its partitions anew; this member takes part when it calls `next` again. */
  | { readonly type: 'revoking' }
  /**
   * The partitions that are this member's from now on. Delivery restarts at what the group committed, and nothing is held
   * back until the front says so: what it said of an earlier assignment has ended with that.
   */
  | { readonly type: 'assigned'; readonly partitions: readonly number[] }

/**
 * A member of a consumer group. `next` rejects when the membership is lost: close it and join anew, unless the error's
 * `retriable` is `false`, when joining again would fail in the same way.
 */
export interface QueueMember {
  next(signal: AbortSignal): Promise<Delivery>
  /**
   * Holds back (or no longer) what is still to be delivered of a partition, so that the front holds a bounded amount. It
   * lasts until the next assignment.
   */
  hold(partition: number, held: boolean): void
  /** Remembers, for the group, how far each partition is done. Partitions that are not this member's are left alone. */
  commit(positions: ReadonlyMap<number, number>): Promise<void>
  /** Messages behind the committed positions, over all partitions of the topic. */
  lag(): Promise<number>
  /** Leaves the group. */
  close(): Promise<void>
}

/** A queue backend: {@link memoryQueue}, or `kafkaQueue` of `spillway/queue/kafka`. */
export interface QueueDriver {
  openProducer(topic: string): Promise<QueueProducer>
  join(request: JoinRequest): Promise<QueueMember>
}

/** Whether a refusal is none of these records' fault: others would be refused as well (no such right, no such topic). */
export const refusesAll = (error: unknown): boolean =>
  typeof error === 'object' && error !== null && (error as { refusesAll?: unknown }).refusesAll === true

/** A wrong driver, such as a client in its place, is refused at once and not by the first call. */
export const checkedDriver = (driver: QueueDriver): QueueDriver =>
  objectWith('driver', driver, ['openProducer', 'join'], 'a QueueDriver such as memoryQueue() or kafkaQueue(kafka)')

/** Whether trying the same thing again cannot help, as the driver says. */
export const isPermanent = (error: unknown): boolean =>
  typeof error === 'object' && error !== null && (error as { retriable?: unknown }).retriable === false

const textOf = (error: unknown): string => (error instanceof Error ? error.message : String(error))

/** What a call that failed at the backend is told: what it wanted, and why that failed. */
export const unavailable = (what: string, cause?: unknown): SpillwayError =>
  SpillwayError.is(cause)
    ? cause
    : new StoreUnavailableError(`queue: ${what}${cause === undefined ? '' : `: ${textOf(cause)}`}`, {
        applied: 'no',
        ...(cause === undefined ? {} : { cause }),
      })
