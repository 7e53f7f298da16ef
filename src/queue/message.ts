import { isUtf8 } from 'node:buffer'
import { createHash } from 'node:crypto'
import { keyString, shown } from '../core/check.js'
import { isJsonCodec, type Codec } from '../core/codec.js'
import type { Known } from '../core/options.js'
import type { HeaderValue, OutgoingRecord, QueueRecord, RecordHeaders } from './driver.js'

/** A message to publish. */
export interface OutgoingMessage<T> {
  /** Names the message: two deliveries with one id are the same message, whichever way they came. */
  readonly id: string
  /** Messages of one key are handled in the order of their publishing, one at a time. */
  readonly key?: string | undefined
  /** `null` is a body, and `undefined` is none. */
  readonly body: T
  readonly headers?: Readonly<Record<string, string>> | undefined
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

const knownOfOutgoing: Known<OutgoingMessage<unknown>> = { id: true, key: true, body: true, headers: true }
/** What a received message has beside them, which may be published again as it is. */
const knownOfReceived: Known<Omit<Message<unknown>, keyof OutgoingMessage<unknown>>> = {
  topic: true,
  partition: true,
  offset: true,
  attempt: true,
  publishedAtMs: true,
}
const namesOfReceived = Object.keys(knownOfReceived)

/** Compared one by one: to look each name up costs more, and this is done for every message. */
function hasKnownNames(message: object): boolean {
  for (const name in message) {
    if (name !== 'id' && name !== 'body' && name !== 'key' && name !== 'headers') return false
  }
  return true
}

/** A misspelt field would change nothing, and nobody would notice. */
function checkNames(message: object): void {
  const isReceived = namesOfReceived.every((name) => name in message)
  for (const name in message) {
    if (Object.hasOwn(knownOfOutgoing, name) || (isReceived && Object.hasOwn(knownOfReceived, name))) continue
    const known = Object.keys(knownOfOutgoing).join(', ')
    throw new TypeError(`publish: a message has no field ${JSON.stringify(name)}, only ${known}`)
  }
}

/** Checks a message and turns it into a record. */
export function encodeMessage<T>(message: OutgoingMessage<T>, codec: Codec<T>): OutgoingRecord {
  if (typeof message !== 'object' || message === null) {
    throw new TypeError(`a message must be an object with id and body, got ${shown(message)}`)
  }
  if (!hasKnownNames(message)) checkNames(message)
  const { id, key, body, headers } = message
  keyString('id', id)
  if (key !== undefined) keyString('key', key)
  if (body === undefined) throw new TypeError('body of a message must not be undefined; null is a body')
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
  if (typeof headers !== 'object' || headers === null || Symbol.iterator in headers) {
    throw new TypeError(`headers must be an object with a string for each name, got ${shown(headers)}`)
  }
  for (const [name, value] of Object.entries(headers)) {
    if (typeof value !== 'string') throw new TypeError(`header ${name} must be a string, got ${typeof value}`)
  }
  return headers as RecordHeaders
}

const asBuffer = (bytes: Uint8Array): Buffer =>
  Buffer.isBuffer(bytes) ? bytes : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)

const utf8 = (bytes: Uint8Array): string => asBuffer(bytes).toString()

/** The first value of a header, or `undefined` where there is none. */
function firstValue(value: RecordHeaders[string] | undefined): HeaderValue | undefined {
  const one: unknown = Array.isArray(value) ? (value as readonly unknown[])[0] : value
  return typeof one === 'string' || one instanceof Uint8Array ? one : undefined
}

const text = (value: HeaderValue | undefined): string =>
  value === undefined ? '' : typeof value === 'string' ? value : utf8(value)

/** Where a record lies. */
export interface Place {
  readonly topic: string
  readonly partition: number
}

/** The key as text. Bytes that are no text may share one with others: those are then handled in order, too. */
export const keyOf = ({ key }: QueueRecord): string | undefined => (key === null ? undefined : utf8(key))

const longestId = 8_192

/**
 * The id that the record carries. A stranger's header may hold what is no id: nothing, too much, or bytes that are no
 * text, of which two could become the same text. Such a message has none.
 */
function carriedId(headers: RecordHeaders): string | undefined {
  const value = firstValue(headers[idHeader])
  if (value === undefined || value.length === 0 || value.length > longestId) return undefined
  if (typeof value !== 'string') return isUtf8(value) ? utf8(value) : undefined
  const isWellFormed = (value as unknown as { isWellFormed(): boolean }).isWellFormed()
  return isWellFormed && Buffer.byteLength(value) <= longestId ? value : undefined
}

export const idOf = ({ headers, offset }: QueueRecord, place: Place): string =>
  carriedId(headers) ?? placeId(place, offset)

function placeId({ topic, partition }: Place, offset: number): string {
  const id = `${topic}/${partition}/${offset}`
  if (id.length * 3 <= longestId || Buffer.byteLength(id) <= longestId) return id
  return `${createHash('sha256').update(topic).digest('base64url')}/${partition}/${offset}`
}

/**
 * The message in a record. A record without a value decodes from zero bytes. The codec gets bytes of its own: one that
 * returns them, or a part of them, lets the handler write to what is handled again, buried, and read by other groups.
 */
export function decodeMessage<T>(record: QueueRecord, place: Place, codec: Codec<T>, attempt: number): Message<T> {
  return openMessage(record, place, codec.decode(bytesFor(codec, record.value)), attempt)
}

function headersOf({ headers }: QueueRecord): Record<string, string> {
  let named: [string, string][] | undefined
  for (const name of Object.keys(headers)) {
    if (name !== idHeader) (named ??= []).push([name, text(firstValue(headers[name]))])
  }
  // Unlike an assignment this makes a property of any name, `__proto__` too.
  return named ? Object.fromEntries(named) : {}
}

function bytesFor(codec: unknown, value: Uint8Array | null): Uint8Array {
  if (value === null) return new Uint8Array(0)
  return isJsonCodec(codec) ? value : Buffer.from(value)
}

export function openMessage<T>(record: QueueRecord, place: Place, body: T, attempt: number): Message<T> {
  const headers = headersOf(record)
  const { topic, partition } = place
  const id = idOf(record, place)
  const offset = String(record.offset)
  const publishedAtMs = record.timestampMs
  const key = keyOf(record)
  return key === undefined
    ? { id, body, headers, topic, partition, offset, attempt, publishedAtMs }
    : { id, key, body, headers, topic, partition, offset, attempt, publishedAtMs }
}
