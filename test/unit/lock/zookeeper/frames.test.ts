import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { createFrames } from '../../../../src/lock/zookeeper/frames.js'

const framed = (body: Uint8Array): Buffer => {
  const header = Buffer.alloc(4)
  header.writeInt32BE(body.length)
  return Buffer.concat([header, body])
}

const cut = (bytes: Buffer, sizes: readonly number[]): Buffer[] => {
  const chunks: Buffer[] = []
  for (let [start, turn] = [0, 0]; start < bytes.length; turn++) {
    const size = sizes[turn % sizes.length] as number
    chunks.push(bytes.subarray(start, start + size))
    start += size
  }
  return chunks
}

describe('createFrames', () => {
  it('brings the same frames however the bytes arrive', () => {
    const bodies = fc.array(fc.uint8Array({ maxLength: 40 }), { maxLength: 20 })
    const sizes = fc.array(fc.integer({ min: 1, max: 50 }), { minLength: 1, maxLength: 5 })
    fc.assert(
      fc.property(bodies, sizes, (bodies, sizes) => {
        const frames = bodies.map(framed)
        const taken: Buffer[] = []
        const take = createFrames((frame) => void taken.push(frame))
        for (const chunk of cut(Buffer.concat(frames), sizes)) take(chunk)
        expect(taken.map((frame) => frame.toString('hex'))).toEqual(frames.map((frame) => frame.toString('hex')))
      }),
    )
  })

  it('copies nothing of a chunk that holds whole frames only', () => {
    const chunk = Buffer.concat(Array.from({ length: 1_000 }, () => framed(Buffer.from('body'))))
    const taken: Buffer[] = []
    createFrames((frame) => void taken.push(frame))(chunk)
    expect(taken).toHaveLength(1_000)
    expect(taken.every(({ buffer }) => buffer === chunk.buffer)).toBe(true)
  })

  it('takes no negative length', () => {
    const take = createFrames(() => undefined)
    expect(() => take(Buffer.from([255, 255, 255, 254, 0]))).toThrow(RangeError)
  })
})
