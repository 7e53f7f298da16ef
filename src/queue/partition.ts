import type { QueueRecord } from './driver.js'
import { createPartitionOffsets, type PartitionOffsets } from './offsets.js'

/** A partition while it is this member's. */
export interface Partition {
  readonly id: number
  readonly offsets: PartitionOffsets
  /** Whether its messages may still be handled: neither lost to another member nor stalled. */
  open: boolean
  lost: boolean
  /** Whether the driver was told to hold its messages back. */
  held: boolean
  /** What the group remembers, as far as this member knows. */
  committed: number
  /** After a new sharing out, delivery restarts at what was committed: what lies below was here already. */
  repeatedBelow: number
}

export const openPartition = (id: number): Partition => ({
  id,
  offsets: createPartitionOffsets(),
  open: true,
  lost: false,
  held: false,
  committed: -1,
  repeatedBelow: 0,
})

/**
 * The new ones among delivered records, taken into the partition's account; `undefined` when the partition went back
 * by itself (it was emptied, or made anew), so that what is known of it means nothing any more.
 */
export function takeIn(
  partition: Partition,
  records: readonly QueueRecord[],
  nextOffset: number,
): readonly QueueRecord[] | undefined {
  const { offsets } = partition
  const repeated = records.length > 0 && (records[0] as QueueRecord).offset < offsets.expected
  if (repeated && partition.repeatedBelow === 0) return undefined
  const fresh = repeated ? records.filter(({ offset }) => offset >= offsets.expected) : records
  if (nextOffset > offsets.expected) {
    offsets.arrived(
      fresh.map(({ offset }) => offset),
      nextOffset,
    )
  }
  if (nextOffset >= partition.repeatedBelow) partition.repeatedBelow = 0
  return fresh
}

/** What is to be committed, of partitions whose position the group does not have yet. */
export function positionsToCommit(partitions: Iterable<Partition>): Map<number, number> {
  const positions = new Map<number, number>()
  for (const { id, offsets, committed, lost } of partitions) {
    if (!lost && offsets.expected > 0 && offsets.position !== committed) positions.set(id, offsets.position)
  }
  return positions
}
