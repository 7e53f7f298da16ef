import type { HeaderValue, QueueRecord, RecordHeaders } from '../driver.js'
import type { KafkaMessage } from './client.js'

/** A header may have no value. */
export type HeaderBytes = HeaderValue | null
type Held = HeaderBytes | readonly HeaderBytes[]

const noHeaders: RecordHeaders = {}

export function toRecord({ key, value, headers, offset, timestamp }: KafkaMessage): QueueRecord {
  return {
    key,
    value,
    headers: headers ? toHeaders(headers as Record<string, Held>) : noHeaders,
    offset: Number(offset),
    timestampMs: Number(timestamp),
  }
}

/** What an object without properties answers by itself. */
const inherited: Readonly<Record<string, unknown>> = {}

/**
 * kafkajs collects the values of a header in an object with a prototype: a header that is named like something there
 * (`constructor`, `toString`, `__proto__`) comes as a list that begins with what the prototype has.
 */
function toHeaders(headers: Readonly<Record<string, Held>>): RecordHeaders {
  const names = Object.keys(headers)
  if (names.length === 0) return noHeaders
  if (!names.some((name) => name in inherited)) return headers
  const out = Object.create(null) as Record<string, Held>
  for (const name of names) {
    const held = headers[name] as Held
    if (!(name in inherited) || !Array.isArray(held) || held[0] !== inherited[name]) out[name] = held
    else out[name] = held.length === 2 ? (held[1] as HeaderBytes) : (held.slice(1) as readonly HeaderBytes[])
  }
  return out
}
