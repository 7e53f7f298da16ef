import type { OutgoingRecord } from '../driver.js'
import type { CompressionCodec } from './compression.js'
import { crc32c } from './crc32c.js'
import type { HeaderBytes } from './records.js'

// The format: https://kafka.apache.org/documentation/#recordbatch

type Header = readonly [name: Sized, value: Sized | null]

/** Bytes, or text with the number of bytes that it takes in UTF-8. */
interface Sized {
  readonly value: Uint8Array | string
  readonly length: number
}

const headLength = 61
const checkedFrom = 21

/** The records as one uncompressed batch of a producer without an identity. */
export function encodeRecordBatch(records: readonly OutgoingRecord[], nowMs: number): Buffer {
  const headers = records.map(headersOf)
  const bodyLengths = records.map((record, i) => bodyLength(record, headers[i] as Header[], i))
  const length = bodyLengths.reduce((sum, body) => sum + varintLength(body) + body, headLength)
  const batch = Buffer.allocUnsafe(length)
  let at = headLength
  for (const [i, record] of records.entries()) {
    at = writeVarint(batch, bodyLengths[i] as number, at)
    at = writeBody(batch, record, headers[i] as Header[], i, at)
  }
  writeHead(batch, records.length, nowMs, 0)
  return batch
}

/** The same, compressed by a codec of kafkajs. */
export async function compressRecordBatch(
  records: readonly OutgoingRecord[],
  nowMs: number,
  compression: number,
  codec: CompressionCodec,
): Promise<Buffer> {
  const plain = encodeRecordBatch(records, nowMs)
  const batch = Buffer.concat([
    plain.subarray(0, headLength),
    await codec.compress({ buffer: plain.subarray(headLength) }),
  ])
  writeHead(batch, records.length, nowMs, compression)
  return batch
}

function writeHead(batch: Buffer, records: number, nowMs: number, compression: number): void {
  const now = BigInt(nowMs)
  batch.fill(0, 0, headLength)
  batch.writeInt32BE(batch.length - 12, 8)
  batch.writeInt8(2, 16)
  batch.writeInt16BE(compression, 21)
  batch.writeInt32BE(records - 1, 23)
  batch.writeBigInt64BE(now, 27)
  batch.writeBigInt64BE(now, 35)
  batch.writeBigInt64BE(-1n, 43)
  batch.writeInt32BE(records, 57)
  batch.writeUInt32BE(crc32c(batch, checkedFrom), 17)
}

function headersOf({ headers }: OutgoingRecord): Header[] {
  const list: Header[] = []
  for (const name of Object.keys(headers)) {
    const values = headers[name] as HeaderBytes | readonly HeaderBytes[]
    const sizedName = sized(name)
    if (!Array.isArray(values)) list.push([sizedName, sizedOrNull(values as HeaderBytes)])
    else for (const value of values as readonly HeaderBytes[]) list.push([sizedName, sizedOrNull(value)])
  }
  return list
}

const sized = (value: Uint8Array | string): Sized => ({
  value,
  length: typeof value === 'string' ? Buffer.byteLength(value) : value.length,
})
const sizedOrNull = (value: HeaderBytes): Sized | null => (value === null ? null : sized(value))

/** Attributes and time, a byte each, then place, key, value and headers. */
function bodyLength({ key, value }: OutgoingRecord, headers: readonly Header[], place: number): number {
  let length = 2 + varintLength(place) + fieldLength(key) + fieldLength(value) + varintLength(headers.length)
  for (const [name, held] of headers) length += fieldLength(name) + fieldLength(held)
  return length
}

function writeBody(to: Buffer, { key, value }: OutgoingRecord, headers: readonly Header[], place: number, at: number) {
  to[at++] = 0
  to[at++] = 0
  at = writeVarint(to, place, at)
  at = writeBytes(to, key, at)
  at = writeBytes(to, value, at)
  at = writeVarint(to, headers.length, at)
  for (const [name, held] of headers) at = writeSized(to, held, writeSized(to, name, at))
  return at
}

const fieldLength = (field: { readonly length: number } | null): number =>
  field === null ? 1 : varintLength(field.length) + field.length

function writeBytes(to: Buffer, bytes: Uint8Array | null, at: number): number {
  if (bytes === null) return writeVarint(to, -1, at)
  const from = writeVarint(to, bytes.length, at)
  to.set(bytes, from)
  return from + bytes.length
}

function writeSized(to: Buffer, text: Sized | null, at: number): number {
  if (text === null) return writeBytes(to, null, at)
  const { value, length } = text
  if (typeof value !== 'string') return writeBytes(to, value, at)
  const from = writeVarint(to, length, at)
  to.write(value, from, length, 'utf8')
  return from + length
}

// Numbers of up to 31 bits, small ones of either sign in few bytes: https://protobuf.dev/programming-guides/encoding
const zigzag = (number: number): number => ((number << 1) ^ (number >> 31)) >>> 0

function varintLength(number: number): number {
  const bits = 32 - Math.clz32(zigzag(number))
  return Math.max(1, Math.ceil(bits / 7))
}

function writeVarint(to: Buffer, number: number, at: number): number {
  let rest = zigzag(number)
  while (rest > 127) {
    to[at++] = (rest & 127) | 128
    rest >>>= 7
  }
  to[at++] = rest
  return at
}
