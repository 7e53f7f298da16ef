import zookeeper from 'node-zookeeper-client'
import { describe, expect, it } from 'vitest'
import { codeOf, isRefusal, knownToClient, refusal } from '../../../../src/lock/zookeeper/refusal.js'

const answer = (code: number): Buffer => {
  const frame = Buffer.alloc(20)
  frame.writeInt32BE(16)
  frame.writeInt32BE(code, 16)
  return frame
}

/** The client makes its errors with this, and throws at codes that it does not know. */
const { create } = zookeeper.Exception as unknown as { create: (code: number) => Error }

const told = (code: number): Error => {
  const frame = answer(code)
  knownToClient(frame)
  return refusal(create(codeOf(frame)), code, 'create /locks/a')
}

describe('an answer with an error', () => {
  it.each([
    [-102, 'NO_AUTH', true],
    [-101, 'NO_NODE', true],
    [-108, 'NO_CHILDREN_FOR_EPHEMERALS', true],
    [-125, 'QUOTA_EXCEEDED', true],
    [-127, 'THROTTLED', true],
    [-999, '-999', true],
    [-122, 'REQUEST_TIMEOUT', false],
    [-118, 'SESSION_MOVED', false],
    [-1, 'SYSTEM_ERROR', false],
  ])('%i says what was refused and why, also if the client does not know its code', (code, name, proves) => {
    const error = told(code)
    expect(error).toMatchObject({ code, message: `ZooKeeper does not create /locks/a: ${name}` })
    expect(isRefusal(error), 'it proves that nothing was done').toBe(proves)
  })

  it('is left alone where there is none', () => {
    const frame = answer(0)
    knownToClient(frame)
    expect(codeOf(frame)).toBe(0)
    const short = Buffer.alloc(8)
    knownToClient(short)
    expect(short).toEqual(Buffer.alloc(8))
  })
})
