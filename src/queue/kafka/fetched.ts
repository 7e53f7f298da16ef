import type { Delivery } from '../driver.js'
import { recordBytes } from '../record-bytes.js'

export type Records = Extract<Delivery, { type: 'records' }>

interface Batch {
  readonly records: Records
  readonly bytes: number
}
interface Buffer {
  readonly batches: Batch[]
  bytes: number
}

/** Batches of a partition that wait here. What is left when fetching goes on bridges how late it begins to. */
const mostBatches = 4
const resumeAt = 2

/**
 * What was fetched and not yet asked for, per partition of the present assignment. Tells when fetching a partition has
 * to pause, by batches and by bytes, and when it goes on.
 */
export interface Fetched {
  /** Forgets everything: from now on these partitions are fetched. */
  assign(partitions: number): void
  /** Nothing is held back any more. */
  release(): void
  hold(partition: number, held: boolean): void
  push(records: Records): void
  /** The next batch of a partition that is not held back, each in its turn. */
  shift(): Records | undefined
}

export function createFetched(options: {
  readonly maxBytes: number
  readonly pause: (partition: number) => void
  readonly resume: (partition: number) => void
}): Fetched {
  const { maxBytes, pause, resume } = options
  const buffers = new Map<number, Buffer>()
  const held = new Set<number>()
  const paused = new Set<number>()
  let shareBytes = maxBytes

  return {
    assign(partitions) {
      buffers.clear()
      paused.clear()
      shareBytes = maxBytes / Math.max(1, partitions)
    },
    release: () => held.clear(),
    hold(partition, hold) {
      if (hold) held.add(partition)
      else held.delete(partition)
    },
    push(records) {
      const { partition } = records
      const buffer = buffers.get(partition) ?? { batches: [], bytes: 0 }
      buffers.set(partition, buffer)
      const bytes = records.records.reduce((sum, record) => sum + recordBytes(record), 0)
      buffer.batches.push({ records, bytes })
      buffer.bytes += bytes
      if (paused.has(partition) || (buffer.batches.length < mostBatches && buffer.bytes < shareBytes)) return
      paused.add(partition)
      pause(partition)
    },
    shift() {
      for (const [partition, buffer] of buffers) {
        if (held.has(partition)) continue
        const batch = buffer.batches.shift()
        if (!batch) continue
        buffer.bytes -= batch.bytes
        // Behind the others, so that each gets its turn.
        buffers.delete(partition)
        if (buffer.batches.length > 0) buffers.set(partition, buffer)
        if (buffer.batches.length <= resumeAt && buffer.bytes <= shareBytes / 2 && paused.delete(partition)) {
          resume(partition)
        }
        return batch.records
      }
      return undefined
    },
  }
}
