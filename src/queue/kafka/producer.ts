import type { HeaderValue, OutgoingRecord, QueueProducer } from '../driver.js'
import type { KafkaClient } from './client.js'
import { translated } from './errors.js'
import { createPartitioner } from './partitioner.js'
import { KafkaRecord } from './produce-request.js'

const allInSync = -1

/**
 * A producer of one attempt per `send`. Not kafkajs' idempotent one: after a failed send that gives the sequence numbers
 * out again, and a broker that had written the batch takes the next one of the same size for its repetition, says yes,
 * and drops it. Nor kafkajs' retries: where a leader moves between two attempts, they leave out the records that moved.
 * The publisher's own tries repeat whole trips instead: what came twice is known by its id.
 */
export async function openProducer(kafka: KafkaClient, topic: string, compression: number): Promise<QueueProducer> {
  const producer = kafka.producer({
    createPartitioner,
    retry: { retries: 0 },
  })
  try {
    await producer.connect()
  } catch (error) {
    await producer.disconnect().catch(() => undefined)
    throw translated('cannot connect', error)
  }
  return {
    async send(records) {
      try {
        await producer.send({ topic, acks: allInSync, compression, messages: records.map(toMessage) })
      } catch (error) {
        throw translated(`cannot send to ${topic}`, error)
      }
    },
    close: () => producer.disconnect(),
  }
}

const asBuffer = (bytes: Uint8Array): Buffer => Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
const one = (value: HeaderValue): Buffer | string => (typeof value === 'string' ? value : asBuffer(value))

function toMessage({ key, value, headers }: OutgoingRecord): KafkaRecord {
  const out: Record<string, Buffer | string | (Buffer | string)[]> = {}
  for (const name of Object.keys(headers)) {
    const header = headers[name] as HeaderValue | readonly HeaderValue[]
    out[name] = Array.isArray(header) ? (header as readonly HeaderValue[]).map(one) : one(header as HeaderValue)
  }
  return new KafkaRecord(key && asBuffer(key), value && asBuffer(value), out)
}
