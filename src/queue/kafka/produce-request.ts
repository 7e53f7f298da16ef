import { createRequire } from 'node:module'
import { systemClock } from '../../core/clock.js'
import type { OutgoingRecord, RecordHeaders } from '../driver.js'
import { codecOf } from './compression.js'
import { compressRecordBatch, encodeRecordBatch } from './record-batch.js'

/** A record on its way through kafkajs. Its class tells it from the messages of other producers. */
export class KafkaRecord implements OutgoingRecord {
  constructor(
    readonly key: Buffer | null,
    readonly value: Buffer | null,
    readonly headers: RecordHeaders,
  ) {}
}

interface Produce {
  readonly acks: number
  readonly timeout: number
  readonly compression: number
  readonly topicData: readonly {
    readonly topic: string
    readonly partitions: readonly { readonly partition: number; readonly messages: readonly unknown[] }[]
  }[]
}
/** What kafkajs takes of an encoder of its own. */
interface Encoded {
  readonly buf: Buffer
  readonly buffer: Buffer
}
type Request = (produce: Produce) => { readonly encode: () => Promise<Encoded> }

let done = false

/**
 * kafkajs makes two buffers of 512 bytes, a dozen small ones and several bigints for each record that it encodes, which
 * was half of what publishing costs, and it cannot encode a header without a value. Records of ours are encoded in one
 * piece instead; every message of other producers goes the way it went.
 */
export function encodeInOnePiece(): void {
  if (done) return
  done = true
  try {
    const load = createRequire(import.meta.url)
    const path = load.resolve('kafkajs/src/protocol/requests/produce/v7/request.js')
    const original = load(path) as Request
    const module = load.cache[path]
    if (!module) return
    // kafkajs asks for this module anew for each request.
    module.exports = (produce: Produce) => {
      const request = original(produce)
      if (!produce.topicData.every(isOurs)) return request
      return { ...request, encode: () => encoded(produce) }
    }
  } catch {
    // Another version, laid out otherwise: it may cost some cycles, and works.
  }
}

const isOurs = ({ partitions }: Produce['topicData'][number]): boolean =>
  partitions.every(({ messages }) => messages.every((message) => message instanceof KafkaRecord))

async function encoded({ acks, timeout, compression, topicData }: Produce): Promise<Encoded> {
  const parts: Buffer[] = [int16(-1), int16(acks), int32(timeout), int32(topicData.length)]
  for (const { topic, partitions } of topicData) {
    const name = Buffer.from(topic)
    parts.push(int16(name.length), name, int32(partitions.length))
    for (const { partition, messages } of partitions) {
      const records = messages as KafkaRecord[]
      const nowMs = systemClock.wallMs()
      const batch =
        compression === 0
          ? encodeRecordBatch(records, nowMs)
          : await compressRecordBatch(records, nowMs, compression, codecOf(compression))
      parts.push(int32(partition), int32(batch.length), batch)
    }
  }
  const buffer = Buffer.concat(parts)
  return { buf: buffer, buffer }
}

function int16(number: number): Buffer {
  const bytes = Buffer.allocUnsafe(2)
  bytes.writeInt16BE(number)
  return bytes
}

function int32(number: number): Buffer {
  const bytes = Buffer.allocUnsafe(4)
  bytes.writeInt32BE(number)
  return bytes
}
