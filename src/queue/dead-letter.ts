import { recordBytes } from './record-bytes.js'
import { idHeader } from './message.js'
import type { OutgoingRecord, QueueRecord } from './driver.js'

export interface WhyDead {
  readonly topic: string
  readonly partition: number
  readonly group: string
  readonly attempts: number
  readonly error: unknown
}

/**
 * The record for the dead-letter topic: key, bytes and headers as they were, and beside them where it comes from and why
 * it is there.
 */
export function deadLetter(record: QueueRecord, why: WhyDead): OutgoingRecord {
  return { key: record.key, value: record.value, headers: { ...record.headers, ...reasons(record, why) } }
}

/** Key and headers of more bytes than this may be what keeps a letter from its topic. */
const mostKept = 8_192

/** The letter without what may be too large, for a topic that refused the whole one; it says what it lacks, and why. */
export function bareDeadLetter(record: QueueRecord, why: WhyDead, refusal: unknown): OutgoingRecord {
  const { key, headers } = record
  const small = recordBytes({ key: null, value: null, headers }) <= mostKept
  const id = headers[idHeader] ?? null
  const keptId = id !== null && id.length <= mostKept ? { [idHeader]: id } : {}
  const keepsKey = key === null || key.length <= mostKept
  const omitted = ['body', ...(keepsKey ? [] : ['key']), ...(small ? [] : ['headers'])].join(', ')
  return {
    key: keepsKey ? key : null,
    value: null,
    headers: {
      ...(small ? headers : keptId),
      ...reasons(record, why),
      'spillway-dead-omitted': omitted,
      'spillway-dead-omitted-because': describe(refusal),
    },
  }
}

const reasons = ({ offset }: QueueRecord, { topic, partition, group, attempts, error }: WhyDead) => ({
  'spillway-dead-topic': topic,
  'spillway-dead-partition': String(partition),
  'spillway-dead-offset': String(offset),
  'spillway-dead-group': group,
  'spillway-dead-attempts': String(attempts),
  'spillway-dead-error': describe(error),
})

/** Brokers bound a record's size: an error that carries half a database must not keep its message from leaving. */
const longestError = 1_000

/** Anything may have been thrown, also what has no text, or none that UTF-8 can hold. */
function describe(error: unknown): string {
  try {
    const text = String(error).slice(0, longestError)
    return (text as unknown as { toWellFormed(): string }).toWellFormed()
  } catch {
    return 'an error that cannot be shown'
  }
}
