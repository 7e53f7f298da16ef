import type { OutgoingRecord, QueueRecord } from './driver.js'

/**
 * The record for the dead-letter topic: key, bytes and headers as they were, and beside them where it comes from and why
 * it is there.
 */
export function deadLetter(
  record: QueueRecord,
  why: {
    readonly topic: string
    readonly partition: number
    readonly group: string
    readonly attempts: number
    readonly error: unknown
  },
): OutgoingRecord {
  const { topic, partition, group, attempts, error } = why
  return {
    key: record.key,
    value: record.value,
    headers: {
      ...record.headers,
      'spillway-dead-topic': topic,
      'spillway-dead-partition': String(partition),
      'spillway-dead-offset': String(record.offset),
      'spillway-dead-group': group,
      'spillway-dead-attempts': String(attempts),
      'spillway-dead-error': describe(error),
    },
  }
}

/** Brokers bound a record's size: an error that carries half a database must not keep its message from leaving. */
const longestError = 1_000

function describe(error: unknown): string {
  try {
    return String(error).slice(0, longestError)
  } catch {
    return 'an error that cannot be shown'
  }
}
