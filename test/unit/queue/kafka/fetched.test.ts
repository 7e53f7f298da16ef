import { describe, expect, it } from 'vitest'
import { createFetched, type Records } from '../../../../src/queue/kafka/fetched.js'

function setUp(maxBytes = 1_000_000) {
  const calls: string[] = []
  const fetched = createFetched({
    maxBytes,
    pause: (partition) => void calls.push(`pause ${partition}`),
    resume: (partition) => void calls.push(`resume ${partition}`),
  })
  let offset = 0
  const push = (partition: number, bytes = 0): void => {
    const record = { key: null, value: Buffer.alloc(bytes), headers: {}, offset: offset++, timestampMs: 0 }
    fetched.push({ type: 'records', partition, records: [record], nextOffset: offset })
  }
  const next = (): [number, number] | undefined => {
    const records: Records | undefined = fetched.shift()
    return records && [records.partition, records.records[0]?.offset as number]
  }
  return { calls, fetched, push, next }
}

describe('what was fetched', () => {
  it('comes in order, each partition in its turn, but for those that are held back', () => {
    const { fetched, push, next } = setUp()
    fetched.assign(2)
    for (const partition of [0, 0, 0, 1, 1]) push(partition)
    expect([next(), next(), next()]).toEqual([
      [0, 0],
      [1, 3],
      [0, 1],
    ])
    fetched.hold(0, true)
    expect([next(), next()]).toEqual([[1, 4], undefined])
    fetched.hold(0, false)
    expect(next()).toEqual([0, 2])
  })

  it('pauses a partition by the number of its batches, once, and goes on when few are left', () => {
    const { calls, fetched, push, next } = setUp()
    fetched.assign(1)
    for (let i = 0; i < 6; i++) push(0)
    expect(calls).toEqual(['pause 0'])
    for (let i = 0; i < 3; i++) next()
    expect(calls).toEqual(['pause 0'])
    next()
    expect(calls).toEqual(['pause 0', 'resume 0'])
  })

  it('pauses a partition by its share of the bytes', () => {
    const { calls, fetched, push, next } = setUp(1_000_000)
    fetched.assign(4)
    push(0, 200_000)
    push(1, 200_000)
    expect(calls).toEqual([])
    push(1, 60_000)
    // One message may be larger than all.
    push(2, 2_000_000)
    expect(calls).toEqual(['pause 1', 'pause 2'])
    for (let i = 0; i < 4; i++) next()
    expect(calls.slice(2).sort()).toEqual(['resume 1', 'resume 2'])
  })

  it('counts headers', () => {
    const { calls, fetched } = setUp(10_000)
    fetched.assign(1)
    const headers = { many: Array.from({ length: 20 }, () => Buffer.alloc(1_000)), none: null }
    const record = { key: null, value: null, headers, offset: 0, timestampMs: 0 }
    fetched.push({ type: 'records', partition: 0, records: [record], nextOffset: 1 })
    expect(calls).toEqual(['pause 0'])
  })

  it('is forgotten with its assignment, as is what was held back and what was paused', () => {
    const { calls, fetched, push, next } = setUp()
    fetched.assign(1)
    fetched.hold(0, true)
    for (let i = 0; i < 4; i++) push(0)
    fetched.assign(1)
    fetched.release()
    expect(next()).toBeUndefined()
    for (let i = 0; i < 4; i++) push(0)
    expect(calls).toEqual(['pause 0', 'pause 0'])
    expect(next()).toEqual([0, 4])
  })
})
