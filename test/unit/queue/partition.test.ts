import { describe, expect, it } from 'vitest'
import type { QueueRecord } from '../../../src/queue/index.js'
import { openPartition, positionsToCommit, takeIn } from '../../../src/queue/partition.js'

const records = (...offsets: number[]): QueueRecord[] =>
  offsets.map((offset) => ({ offset, key: null, value: null, headers: {}, timestampMs: 0 }))
const offsetsOf = (taken: readonly QueueRecord[] | undefined) => taken?.map(({ offset }) => offset)

describe('takeIn', () => {
  it('takes what is new', () => {
    const partition = openPartition(0)
    expect(offsetsOf(takeIn(partition, records(3, 4), 5))).toEqual([3, 4])
    expect(offsetsOf(takeIn(partition, records(5, 8), 9))).toEqual([5, 8])
    expect(partition.offsets.expected).toBe(9)
  })

  it('passes over what a new sharing out delivers again', () => {
    const partition = openPartition(0)
    takeIn(partition, records(3, 4, 5, 6), 7)
    partition.repeatedBelow = 7
    expect(offsetsOf(takeIn(partition, records(3, 4), 5))).toEqual([])
    expect(offsetsOf(takeIn(partition, records(5, 6, 7), 8))).toEqual([7])
    expect(partition.repeatedBelow).toBe(0)
    expect(partition.offsets.unfinished).toBe(5)
  })

  it('notices a partition that went back by itself', () => {
    const partition = openPartition(0)
    takeIn(partition, records(30, 31), 32)
    expect(takeIn(partition, records(0, 1), 2)).toBeUndefined()
  })
})

describe('positionsToCommit', () => {
  it('has what the group does not know yet', () => {
    const [fresh, known, moved, lost] = [openPartition(0), openPartition(1), openPartition(2), openPartition(3)]
    for (const partition of [known, moved, lost]) takeIn(partition, records(5, 6), 7)
    known.committed = 5
    moved.committed = 5
    moved.offsets.finished(5)
    lost.lost = true
    expect([...positionsToCommit([fresh, known, moved, lost])]).toEqual([[2, 6]])
  })
})
