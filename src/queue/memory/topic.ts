import type { HeaderValue, OutgoingRecord, QueueRecord, RecordHeaders } from '../driver.js'

/** Records in partitions. An offset is a place in its partition. */
export interface Topic {
  readonly partitions: readonly (readonly QueueRecord[])[]
  append(records: readonly OutgoingRecord[]): void
  /** Calls back after each append. */
  watch(onAppend: () => void): void
}

export function createTopic(count: number, wallMs: () => number): Topic {
  const partitions: QueueRecord[][] = Array.from({ length: count }, () => [])
  const watchers: (() => void)[] = []
  let keyless = 0
  return {
    partitions,
    append(records) {
      const timestampMs = Math.round(wallMs())
      for (const { key, value, headers } of records) {
        const partition = partitions[(key === null ? keyless++ : hash(key)) % count] as QueueRecord[]
        // What the publisher does with its own bytes afterwards is not the topic's affair.
        partition.push({
          key: key && Buffer.from(key),
          value: value && Buffer.from(value),
          headers: copied(headers),
          offset: partition.length,
          timestampMs,
        })
      }
      for (const notify of watchers) notify()
    },
    watch: (onAppend) => void watchers.push(onAppend),
  }
}

function copied(headers: RecordHeaders): RecordHeaders {
  const copy: Record<string, HeaderValue | readonly HeaderValue[]> = {}
  for (const name of Object.keys(headers)) {
    const value = headers[name] as HeaderValue | readonly HeaderValue[]
    copy[name] = typeof value === 'string' ? value : structuredClone(value)
  }
  return copy
}

/** FNV-1a, 32 bits: http://www.isthe.com/chongo/tech/comp/fnv/ */
function hash(bytes: Uint8Array): number {
  let h = 0x811c9dc5
  for (const byte of bytes) h = Math.imul(h ^ byte, 0x01000193)
  return h >>> 0
}
