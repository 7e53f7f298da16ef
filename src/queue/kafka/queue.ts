import { objectWith } from '../../core/check.js'
import { outsideRequests } from '../../core/context.js'
import { knownOptions, type Known } from '../../core/options.js'
import type { QueueDriver } from '../driver.js'
import type { KafkaClient } from './client.js'
import { compressionType, type Compression } from './compression.js'
import { decodeLinearly } from './decoding.js'
import { joinGroup } from './member.js'
import { encodeInOnePiece } from './produce-request.js'
import { openProducer } from './producer.js'
import { stopIdleTimerLoop } from './timer-loop.js'

export interface KafkaQueueOptions {
  /** How published batches travel; consumers read every kind they have a codec for. @defaultValue 'none' */
  readonly compression?: Compression | undefined
}

const known: Known<KafkaQueueOptions> = { compression: true }

/**
 * Topics of a Kafka cluster, through a `Kafka` of kafkajs 2.2 that stays the caller's. Each publisher, and each
 * consumer, opens connections of its own with that client's settings, and closes them.
 *
 * A message is published when all in-sync replicas have it; its key chooses the partition as in Java's client, and its
 * id travels in the header `spillway-id`. Topics must exist. Handlers may run for any time: the client's heartbeats do
 * not wait for them. Before partitions are shared out anew, handlers under way get half of `sessionTimeoutMs` to finish;
 * the messages of those that take longer are delivered to their next owner again, so use an inbox. A connection on which
 * a broker answers nothing for some seconds is replaced. A group begins at the end of the topic (or where
 * `fromBeginning` says) once; partitions that the topic gets later are read from their beginning.
 */
export function kafkaQueue(kafka: KafkaClient, options?: KafkaQueueOptions): QueueDriver {
  objectWith('kafka', kafka, ['producer', 'consumer', 'admin'], 'a Kafka of kafkajs')
  const compression = compressionType(
    knownOptions<KafkaQueueOptions>('kafkaQueue', options, known).compression ?? 'none',
  )
  decodeLinearly()
  stopIdleTimerLoop()
  encodeInOnePiece()
  return {
    // Connections and their loops outlive the call that happens to open them.
    openProducer: (topic) => outsideRequests(() => openProducer(kafka, topic, compression)),
    join: async (request) => outsideRequests(() => joinGroup(kafka, request)),
  }
}
