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
  readonly compression?: Compression
}

/**
 * Topics of a Kafka cluster, through a `Kafka` of kafkajs 2.2 that stays the caller's. Each publisher, and each
 * consumer, opens connections of its own with that client's settings, and closes them.
 *
 * A message is published when all in-sync replicas have it; its key chooses the partition as in Java's client, and its
 * id travels in the header `spillway-id`. Topics must exist. Handlers may run for any time: the client's heartbeats do
 * not wait for them. Before partitions are shared out anew, handlers under way get half of `sessionTimeoutMs` to finish;
 * the messages of those that take longer are delivered to their next owner again, so use an inbox.
 */
export function kafkaQueue(kafka: KafkaClient, options: KafkaQueueOptions = {}): QueueDriver {
  const compression = compressionType(options.compression ?? 'none')
  decodeLinearly()
  stopIdleTimerLoop()
  encodeInOnePiece()
  return {
    openProducer: (topic) => openProducer(kafka, topic, compression),
    join: async (request) => joinGroup(kafka, request),
  }
}
