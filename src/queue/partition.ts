import type { QueueRecord } from './driver.js'
import { createPartitionOffsets, type PartitionOffsets } from './offsets.js'

/** A partition while it is this member's. */
export interface Partition {
  readonly id: number
  readonly offsets: PartitionOffsets
  /** Of the messages that were delivered and have not finished. */
  bytes: number
  /** Whether its messages may still be handled: neither lost to another member nor stalled. */
  open: boolean
  lost: boolean
  /** Whether the driver was told to hold its messages back. */
  held: boolean
  /** What the group remembers, as far as this member knows. */
  committed: number
  /** After a new sharing out, delivery restarts at what was committed: what lies below was here already. */
  repeatedBelow: number
  /** After the membership was lost, another member may have been further: nothing is committed before a delivery. */
  doubted: boolean
}

export const openPartition = (id: number): Partition => ({
  id,
  offsets: createPartitionOffsets(),
  bytes: 0,
  open: true,
  lost: false,
  held: false,
  committed: -1,
  repeatedBelow: 0,
  doubted: false,
})

/** How much of a partition the front takes before the driver is to wait. */
export interface Allowance {
  readonly messages: number
  readonly bytes: number
}

/** Whether the driver is to hold the partition back: from the allowance on, until half of it is left. */
export function shouldHold({ open, held, offsets, bytes }: Partition, allowed: Allowance): boolean {
  if (!open) return true
  if (held) return offsets.unfinished > allowed.messages / 2 || bytes > allowed.bytes / 2
  return offsets.unfinished >= allowed.messages || bytes >= allowed.bytes
}

/**
 * The new ones among delivered records, taken into the partition's account; `undefined` when what is known of the
 * partition means nothing any more: it went back by itself (it was emptied, or made anew), or another member went on in
 * it meanwhile.
 */
export function takeIn(
  partition: Partition,
  records: readonly QueueRecord[],
  nextOffset: number,
): readonly QueueRecord[] | undefined {
  const { offsets } = partition
  if (partition.doubted) {
    const from = records[0]?.offset ?? nextOffset
    if (offsets.unfinished > 0 && from > offsets.position) return undefined
    partition.doubted = false
  }
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
  for (const { id, offsets, committed, lost, doubted } of partitions) {
    if (!lost && !doubted && offsets.expected > 0 && offsets.position !== committed) positions.set(id, offsets.position)
  }
  return positions
}
