import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { jsonCodec } from '../../../src/core/codec.js'

const codec = jsonCodec<unknown>()
const bytes = (text: string | Uint8Array): Uint8Array => (typeof text === 'string' ? Buffer.from(text, 'utf8') : text)

describe('jsonCodec', () => {
  it('gives back what JSON can hold', () => {
    fc.assert(
      fc.property(fc.jsonValue({ maxDepth: 2, stringUnit: 'grapheme' }), (value) => {
        expect(codec.decode(bytes(codec.encode(value)))).toEqual(JSON.parse(JSON.stringify(value)))
      }),
    )
  })

  it.each([[undefined], [() => 1], [Symbol('s')], [1n], [{ toJSON: () => undefined }]])('refuses %s', (value) => {
    expect(() => codec.encode(value)).toThrow(TypeError)
  })

  it('says what JSON has no text for', () => {
    expect(() => codec.encode(undefined)).toThrow('JSON has no text for undefined')
    expect(() => codec.encode(() => 1)).toThrow('JSON has no text for a function')
    expect(() => codec.encode({ toJSON: () => undefined })).toThrow('JSON has no text for an object of this kind')
  })

  it.each([
    ['bytes that are not UTF-8', Uint8Array.of(0x22, 0xff, 0x22), TypeError],
    ['a character cut in two', Buffer.from('"€"').subarray(0, 3), TypeError],
    ['text that is not JSON', Buffer.from('{"a":'), SyntaxError],
    ['nothing', new Uint8Array(), SyntaxError],
  ])('throws on %s', (_, input, kind) => {
    expect(() => codec.decode(input)).toThrow(kind)
  })

  it('stays of one piece after bad input', () => {
    expect(() => codec.decode(Buffer.from('"€"').subarray(0, 3))).toThrow()
    expect(codec.decode(Buffer.from('"ok"'))).toBe('ok')
  })

  it('reads a view into a larger buffer', () => {
    expect(codec.decode(Buffer.from('xx{"a":1}yy').subarray(2, 9))).toEqual({ a: 1 })
  })
})
