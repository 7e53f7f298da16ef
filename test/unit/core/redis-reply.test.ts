import { describe, expect, it } from 'vitest'
import { bytesReply, integerReply, integersReply, listReply, textReply } from '../../../src/core/redis-reply.js'

const strangers = [
  null,
  undefined,
  'QUEUED',
  '',
  'x',
  '1.5',
  '1e3',
  Number.NaN,
  1.5,
  Infinity,
  '9'.repeat(17),
  {},
  true,
  5n,
]

/** The class of what is thrown. */
function faultOf(read: () => unknown): unknown {
  try {
    return read()
  } catch (error) {
    return (error as Error).constructor
  }
}

describe('a reply of Redis', () => {
  it.each([
    [5, 5],
    ['-5', -5],
    ['0', 0],
    [Buffer.from('49'), 49],
    ['9007199254740991', Number.MAX_SAFE_INTEGER],
  ])('%s is the integer %d', (reply, value) => expect(integerReply(reply)).toBe(value))

  it.each(strangers)('%s is no integer', (reply) => {
    expect(faultOf(() => integerReply(reply))).toBe(reply === 'QUEUED' ? TypeError : Error)
    expect(faultOf(() => integersReply([1, reply]))).toBe(reply === 'QUEUED' ? TypeError : Error)
  })

  it('is a list of as many as were asked for', () => {
    expect(integersReply([1, '2', 3], 3)).toEqual([1, 2, 3])
    expect(listReply(['a', null])).toEqual(['a', null])
    for (const reply of [[1], [1, 2, 3], 'OK', null, 2, { length: 2 }]) {
      expect(faultOf(() => integersReply(reply, 2))).toBe(Error)
      expect(faultOf(() => listReply(reply, 2))).toBe(Error)
    }
  })

  it('is text or bytes', () => {
    expect([textReply('a'), textReply(Buffer.from('ä')), textReply(5)]).toEqual(['a', 'ä', '5'])
    expect([bytesReply(null), bytesReply(Buffer.from([1]))]).toEqual([null, Buffer.from([1])])
    for (const reply of [null, undefined, []]) expect(faultOf(() => textReply(reply))).toBe(Error)
    for (const reply of ['a', 5, undefined, []]) expect(faultOf(() => bytesReply(reply))).toBe(Error)
  })

  it('of a client inside MULTI is the fault of the program, every other stranger that of the store', () => {
    for (const read of [integerReply, integersReply, listReply, textReply, bytesReply]) {
      expect(faultOf(() => read('QUEUED'))).toBe(TypeError)
      expect(faultOf(() => read({}))).toBe(Error)
    }
  })

  it('that is none says what came', () => {
    expect(() => integerReply('QUEUED')).toThrow('the client is inside MULTI')
    expect(() => integersReply([1], 2)).toThrow('Redis answered [ 1 ] instead of a list of 2')
    expect(() => integerReply('x'.repeat(100_000))).toThrow(/^Redis answered '.{80,110} instead of an integer$/)
  })
})
