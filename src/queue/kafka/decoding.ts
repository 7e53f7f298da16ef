import { createRequire } from 'node:module'

// Two places of kafkajs whose work grows with the square of what came, or that fail at much of it. Who wrote to the topic
// could stop its readers there for good.

interface Decoder {
  readInt32(): number
  readBytes(length: number): Buffer
  canReadBytes(length: number): boolean
}
interface Header {
  readonly key: string
  readonly value: unknown
}
interface DecoderClass {
  new (buffer: Buffer): Decoder
  readonly prototype: { readVarIntArray: (this: unknown, read: unknown) => Header[] }
}
type DecodeBatch = (decoder: Decoder) => Promise<{ readonly records: readonly unknown[] }>
type DecodeMessages = (decoder: Decoder) => Promise<unknown[]>

let done = false

/** Reads long lists of headers, and batches of many records, in linear time. */
export function decodeLinearly(): void {
  if (done) return
  done = true
  try {
    const load = createRequire(import.meta.url)
    const Decoder = load('kafkajs/src/protocol/decoder.js') as DecoderClass
    collectHeaders(Decoder)
    const decodeBatch = load('kafkajs/src/protocol/recordBatch/v0/decoder.js') as DecodeBatch
    const path = load.resolve('kafkajs/src/protocol/requests/fetch/v4/decodeMessages.js')
    const original = load(path) as DecodeMessages
    const module = load.cache[path]
    // What reads the answers is loaded with the first request of its kind.
    if (module) module.exports = messageDecoder(Decoder, decodeBatch, original)
  } catch {
    // Another version, laid out otherwise: it may cost some cycles, and works.
  }
}

/** Up to here copying costs nothing to speak of. */
const fewHeaders = 16

/**
 * kafkajs copies the object of a record's headers for each header: the hundred thousand that fit into a message of 1 MiB
 * would take minutes. It collects them by `reduce`, and longer lists get one of their own.
 */
function collectHeaders({ prototype }: DecoderClass): void {
  const original = prototype.readVarIntArray
  prototype.readVarIntArray = function (read) {
    const list = original.call(this, read)
    return list.length > fewHeaders ? Object.assign(list, { reduce: () => collected(list) }) : list
  }
}

function collected(list: readonly Header[]): Record<string, unknown> {
  const values = new Map<string, unknown[]>()
  for (const { key, value } of list) {
    const known = values.get(key)
    if (known) known.push(value)
    else values.set(key, [value])
  }
  return Object.fromEntries([...values].map(([name, all]) => [name, all.length === 1 ? all[0] : all]))
}

/** Where the format of a batch stands, and what it takes before its records. */
const magicAt = 16
const batchHead = 61

/** kafkajs hands the records of a batch over as arguments, of which a stack holds some hundred thousand. */
const messageDecoder =
  (Decoder: DecoderClass, decodeBatch: DecodeBatch, original: DecodeMessages): DecodeMessages =>
  async (decoder) => {
    const length = decoder.readInt32()
    if (length <= 0 || !decoder.canReadBytes(length)) return []
    const bytes = decoder.readBytes(length)
    if (bytes[magicAt] !== 2) return original(new Decoder(Buffer.concat([int32(length), bytes])))
    const batches = new Decoder(bytes)
    const messages: unknown[] = []
    while (batches.canReadBytes(batchHead)) {
      try {
        for (const record of (await decodeBatch(batches)).records) messages.push(record)
      } catch (error) {
        // A broker cuts its answer off where it is long enough.
        if ((error as Error).name !== 'KafkaJSPartialMessageError') throw error
        break
      }
    }
    return messages
  }

function int32(number: number): Buffer {
  const bytes = Buffer.allocUnsafe(4)
  bytes.writeInt32BE(number)
  return bytes
}
