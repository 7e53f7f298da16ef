import fc from 'fast-check'
import kafkajs from 'kafkajs'
import { describe, expect, it } from 'vitest'
import { createPartitioner, murmur2 } from '../../../../src/queue/kafka/partitioner.js'

const partitionMetadata = Array.from({ length: 12 }, (_, partitionId) => ({ partitionId, leader: 1 }))

describe('the partitioner', () => {
  it.each([
    // From Kafka's UtilsTest.
    ['21', -973932308],
    ['foobar', -790332482],
    ['a-little-bit-long-string', -985981536],
    ['a-little-bit-longer-string', -1486304829],
    ['lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8', -58897971],
    ['abc', 479470107],
  ])('hashes %s as Java does', (text, hash) => {
    expect(murmur2(Buffer.from(text))).toBe(hash)
  })

  it('puts every key where kafkajs would', () => {
    const ours = createPartitioner()
    const theirs = kafkajs.Partitioners.DefaultPartitioner() as unknown as typeof ours
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 40 }), (bytes) => {
        const question = { topic: 'orders', partitionMetadata, message: { key: Buffer.from(bytes), value: null } }
        expect(ours(question)).toBe(theirs(question))
      }),
    )
  })

  it('takes partitions with a leader in turn for messages without a key', () => {
    const choose = createPartitioner()
    const some = partitionMetadata.map(({ partitionId }) => ({ partitionId, leader: partitionId % 2 ? 1 : -1 }))
    const chosen = Array.from({ length: 12 }, () => choose({ partitionMetadata: some, message: { key: null } }))
    expect(new Set(chosen)).toEqual(new Set([1, 3, 5, 7, 9, 11]))
    const none = partitionMetadata.map(({ partitionId }) => ({ partitionId, leader: -1 }))
    expect(choose({ partitionMetadata: none, message: { key: null } })).toBeLessThan(12)
  })
})
