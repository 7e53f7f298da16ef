import type { OutgoingRecord, QueueRecord, RecordHeaders } from '../driver.js'
import { recordBytes } from '../record-bytes.js'

/** Records in partitions. */
export interface Topic {
  readonly partitions: readonly Log[]
  append(records: readonly OutgoingRecord[]): void
  /** Calls back after each append. */
  watch(onAppend: () => void): void
  /** Adds a reader, by the offsets below which it needs nothing any more: one per partition, changed in place. */
  addReader(needed: readonly number[]): void
  /** A reader needs less of a partition: what no reader needs goes, but for the newest of it. */
  release(partition: number): void
}

/** The records of one partition, by offset. The oldest may be gone. */
export interface Log {
  readonly start: number
  readonly end: number
  /** Records from `offset` on: up to `max` and `maxBytes` of them, but one at least where there is one. */
  read(offset: number, max: number, maxBytes: number): readonly QueueRecord[]
}

export interface TopicOptions {
  readonly partitions: number
  /** Records of a partition that stay although every reader is behind them. */
  readonly retained: number
  /** Records of a partition that stay while there is no reader. */
  readonly maxUnread: number
  /** Records have gone that nobody has read. */
  readonly onUnreadDropped: () => void
  readonly wallMs: () => number
}

export function createTopic({ partitions: count, retained, maxUnread, onUnreadDropped, wallMs }: TopicOptions): Topic {
  const partitions = Array.from({ length: count }, createLog)
  const readers: (readonly number[])[] = []
  const watchers: (() => void)[] = []
  let keyless = 0

  function release(partition: number): void {
    const needed = readers.reduce((least, offsets) => Math.min(least, offsets[partition] as number), Infinity)
    partitions[partition]?.trim(needed - retained)
  }

  return {
    partitions,
    append(records) {
      const timestampMs = Math.round(wallMs())
      for (const { key, value, headers } of records) {
        const log = partitions[(key === null ? keyless++ : hash(key)) % count] as ReturnType<typeof createLog>
        // What the publisher does with its own bytes afterwards is not the topic's affair.
        log.append({
          key: key && Buffer.from(key),
          value: value && Buffer.from(value),
          headers: copied(headers),
          offset: log.end,
          timestampMs,
        })
        if (readers.length === 0 && log.trim(log.end - maxUnread)) onUnreadDropped()
      }
      for (const notify of watchers) notify()
    },
    watch: (onAppend) => void watchers.push(onAppend),
    addReader(needed) {
      readers.push(needed)
      for (const partition of needed.keys()) release(partition)
    },
    release,
  }
}

function createLog() {
  let records: QueueRecord[] = []
  let start = 0
  return {
    get start() {
      return start
    },
    get end() {
      return start + records.length
    },
    append: (record: QueueRecord): void => void records.push(record),
    read(offset: number, max: number, maxBytes: number): readonly QueueRecord[] {
      const from = Math.max(0, offset - start)
      let to = from
      let bytes = 0
      while (to < records.length && to - from < max) {
        bytes += recordBytes(records[to] as QueueRecord)
        if (bytes > maxBytes && to > from) break
        to++
      }
      return records.slice(from, to)
    },
    /** Drops what lies below `offset`, once that is an eighth of all: so a record that stays is moved eight times on average. */
    trim(offset: number): boolean {
      const gone = offset - start
      if (gone < 1 || gone * 8 < records.length) return false
      records = records.slice(gone)
      start = offset
      return true
    },
  }
}

/** Property by property, for an assignment to `__proto__` makes none. */
const copied = (headers: RecordHeaders): RecordHeaders =>
  Object.fromEntries(
    Object.keys(headers).map((name) => {
      const value = headers[name]
      return [name, typeof value === 'string' || !value ? value : structuredClone(value)]
    }),
  ) as RecordHeaders

/** FNV-1a, 32 bits: http://www.isthe.com/chongo/tech/comp/fnv/ */
function hash(bytes: Uint8Array): number {
  let h = 0x811c9dc5
  for (const byte of bytes) h = Math.imul(h ^ byte, 0x01000193)
  return h >>> 0
}
