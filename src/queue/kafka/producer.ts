import { systemClock } from '../../core/clock.js'
import { bounded } from '../bounded.js'
import type { OutgoingRecord, QueueProducer } from '../driver.js'
import type { KafkaClient, SentMessage } from './client.js'
import { watchConnections } from './connections.js'
import { translated } from './errors.js'
import { createPartitioner, type PartitionQuestion } from './partitioner.js'
import { KafkaRecord } from './produce-request.js'

const allInSync = -1
/** Up to here copying costs nothing to speak of. */
const fewMessages = 16
/** How long a goodbye may take before the connections are cut. */
const leaveMs = 2_000

/**
 * A producer of one attempt per `send`. Not kafkajs' idempotent one: after a failed send that gives the sequence numbers
 * out again, and a broker that had written the batch takes the next one of the same size for its repetition, says yes,
 * and drops it. Nor kafkajs' retries: where a leader moves between two attempts, they leave out the records that moved.
 * The publisher's own tries repeat whole trips instead: what came twice is known by its id.
 */
export async function openProducer(kafka: KafkaClient, topic: string, compression: number): Promise<QueueProducer> {
  const connections = watchConnections(kafka)
  const grouping = createGrouping()
  const producer = connections.kafka.producer({
    createPartitioner: () => grouping.partitionOf,
    retry: { retries: 0 },
  })
  async function close(): Promise<void> {
    await bounded(producer.disconnect(), leaveMs, systemClock)
    connections.end()
  }
  try {
    await producer.connect()
  } catch (error) {
    await close()
    throw translated('cannot connect', error)
  }
  return {
    async send(records) {
      if (compression === 0) refuseOversized(records)
      try {
        await producer.send({
          topic,
          acks: allInSync,
          compression,
          messages: grouping.quick(records.map(toMessage) as SentMessage[]),
        })
      } catch (error) {
        throw translated(`cannot send to ${topic}`, error, topic)
      }
      connections.answered()
    },
    fault() {
      const fault = connections.fault()
      return fault && translated('cannot connect', fault)
    },
    close,
  }
}

type Groups = Record<string, SentMessage[]>

/**
 * kafkajs sorts messages by partition with a `reduce` that copies a group for each message that joins it: seconds for a
 * hundred thousand. The first message shows what it knows of the partitions, the others are sorted by that.
 */
function createGrouping() {
  const choose = createPartitioner()
  let partitionMetadata: PartitionQuestion['partitionMetadata'] = []

  function partitionOf(question: PartitionQuestion): number {
    partitionMetadata = question.partitionMetadata
    return choose(question)
  }

  return {
    partitionOf,
    quick(messages: SentMessage[]): SentMessage[] {
      if (messages.length <= fewMessages) return messages
      const reduce = (step: (groups: Groups, message: SentMessage) => Groups, groups: Groups): Groups => {
        for (const [i, message] of messages.entries()) {
          if (i === 0) groups = step(groups, message)
          else (groups[choose({ partitionMetadata, message })] ??= []).push(message)
        }
        return groups
      }
      return Object.assign(messages, { reduce: reduce as unknown as SentMessage[]['reduce'] })
    },
  }
}

/** A broker hangs up on a larger request, which looks like a lost connection. */
const requestBytes = 100 * 2 ** 20

function refuseOversized(records: readonly OutgoingRecord[]): void {
  const large = records.find(({ value }) => value !== null && value.length > requestBytes)
  if (!large) return
  const message = `kafka: a message of ${large.value?.length} bytes is larger than a request may be, ${requestBytes} bytes`
  throw Object.assign(new Error(message), { retriable: false, refusesAll: false })
}

const asBuffer = (bytes: Uint8Array): Buffer => Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)

const toMessage = ({ key, value, headers }: OutgoingRecord): KafkaRecord =>
  new KafkaRecord(key && asBuffer(key), value && asBuffer(value), headers)
