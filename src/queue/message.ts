import { keyString } from '../core/check.js'
import type { Codec } from '../core/codec.js'
import type { HeaderValue, OutgoingRecord, QueueRecord, RecordHeaders } from './driver.js'

/** A message to publish. */
export interface OutgoingMessage<T> {
  /** Names the message: two deliveries with one id are the same message, whichever way they came. */
  readonly id: string
  /** Messages of one key are handled in the order of their publishing, one at a time. */
  readonly key?: string
  readonly body: T
  readonly headers?: Readonly<Record<string, string>>
}

/** A message as a handler gets it. One that carries no id, a stranger's, is called `topic/partition/offset`. */
export interface Message<T> extends OutgoingMessage<T> {
  readonly topic: string
  readonly partition: number
  readonly offset: string
  /** Which try this is, from 1. A batch that fails is no try of its messages: only a message that fails alone is. */
  readonly attempt: number
  /** By the publisher's wall clock, or the broker's where it is set up so. */
  readonly publishedAtMs: number
}

/** The header that carries a message's id. */
export const idHeader = 'spillway-id'

const noBytes = new Uint8Array(0)

/** Checks a message and turns it into a record. */
export function encodeMessage<T>(message: OutgoingMessage<T>, codec: Codec<T>): OutgoingRecord {
  if (typeof message !== 'object' || message === null) {
    throw new TypeError(`a message must be an object with id and body, got ${String(message)}`)
  }
  const { id, key, body, headers } = message
  keyString('id', id)
  if (key !== undefined) keyString('key', key)
  const encoded: unknown = codec.encode(body)
  if (typeof encoded !== 'string' && !(encoded instanceof Uint8Array)) {
    throw new TypeError(`the codec must encode to a string or bytes, got ${typeof encoded}`)
  }
  return {
    key: key === undefined ? null : Buffer.from(key),
    value: typeof encoded === 'string' ? Buffer.from(encoded) : encoded,
    headers: { ...checkedHeaders(headers), [idHeader]: id },
  }
}

function checkedHeaders(headers: unknown): RecordHeaders | undefined {
  if (headers === undefined) return undefined
  if (typeof headers !== 'object' || headers === null) {
    throw new TypeError(`headers must be an object, got ${headers === null ? 'null' : typeof headers}`)
  }
  for (const [name, value] of Object.entries(headers)) {
    if (typeof value !== 'string') throw new TypeError(`header ${name} must be a string, got ${typeof value}`)
  }
  return headers as RecordHeaders
}

const utf8 = (bytes: Uint8Array): string =>
  (Buffer.isBuffer(bytes) ? bytes : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)).toString()

const text = (value: RecordHeaders[string] | undefined): string | undefined => {
  const one = Array.isArray(value) ? (value as readonly HeaderValue[])[0] : (value as HeaderValue | undefined)
  return one === undefined || typeof one === 'string' ? one : utf8(one)
}

/** Where a record lies. */
export interface Place {
  readonly topic: string
  readonly partition: number
}

/** The key as text. Bytes that are no text may share one with others: those are then handled in order, too. */
export const keyOf = ({ key }: QueueRecord): string | undefined => (key === null ? undefined : utf8(key))

export const idOf = ({ headers, offset }: QueueRecord, { topic, partition }: Place): string =>
  text(headers[idHeader]) || `${topic}/${partition}/${offset}`

/** The message in a record. A record without a value decodes from zero bytes. */
export function decodeMessage<T>(record: QueueRecord, place: Place, codec: Codec<T>, attempt: number): Message<T> {
  return openMessage(record, place, codec.decode(record.value ?? noBytes), attempt)
}

export function openMessage<T>(record: QueueRecord, place: Place, body: T, attempt: number): Message<T> {
  const headers: Record<string, string> = {}
  for (const name of Object.keys(record.headers)) {
    if (name !== idHeader) headers[name] = text(record.headers[name]) ?? ''
  }
  const { topic, partition } = place
  const id = idOf(record, place)
  const offset = String(record.offset)
  const publishedAtMs = record.timestampMs
  const key = keyOf(record)
  return key === undefined
    ? { id, body, headers, topic, partition, offset, attempt, publishedAtMs }
    : { id, key, body, headers, topic, partition, offset, attempt, publishedAtMs }
}
