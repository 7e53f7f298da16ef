import { describe, expect, it } from 'vitest'
import {
  durationMs,
  keyString,
  nonNegativeInteger,
  objectWith,
  positiveInteger,
  positiveNumber,
} from '../../../src/core/check.js'

const nothingLike = [undefined, null, '1', 1n, true, {}, [], Symbol('s'), Object.create(null), () => 1] as const

describe('checks', () => {
  it.each([
    ['positiveInteger', positiveInteger, [1, 2, Number.MAX_SAFE_INTEGER]],
    ['nonNegativeInteger', nonNegativeInteger, [0, 1, Number.MAX_SAFE_INTEGER]],
    ['positiveNumber', positiveNumber, [0.001, 1, Number.MAX_VALUE]],
    ['durationMs', durationMs, [0, 0.5, 1_000, Infinity]],
  ] as const)('%s lets pass what it may', (_, check, values) => {
    for (const value of values) expect(check('it', value)).toBe(value)
  })

  it.each([
    ['positiveInteger', positiveInteger, [0, -1, 1.5, Number.NaN, Infinity, 2 ** 53]],
    ['nonNegativeInteger', nonNegativeInteger, [-1, 0.5, Number.NaN, Infinity, 2 ** 53]],
    ['positiveNumber', positiveNumber, [0, -0.1, Number.NaN, Infinity]],
    ['durationMs', durationMs, [-1, -Infinity, Number.NaN]],
  ] as const)('%s names the wrong number and what it is for', (_, check, values) => {
    for (const value of values) {
      expect(() => check('theCost', value)).toThrow(RangeError)
      expect(() => check('theCost', value)).toThrow(new RegExp(`^theCost .*got ${String(value)}$`))
    }
    for (const value of nothingLike) {
      expect(() => check('theCost', value)).toThrow(TypeError)
      expect(() => check('theCost', value)).toThrow(/^theCost must be a number.*, got .+/)
    }
  })

  it('says what an integer may be', () => {
    expect(() => nonNegativeInteger('n', -1)).toThrow('n must be an integer of at least 0, got -1')
    expect(() => positiveInteger('n', 0)).toThrow('n must be an integer of at least 1, got 0')
  })

  it('holds a duration above its least', () => {
    expect(durationMs('timeoutMs', 1, 1)).toBe(1)
    expect(() => durationMs('timeoutMs', 0.5, 1)).toThrow('timeoutMs must be 1 ms or more, got 0.5')
  })

  it('takes keys from 1 to 8,192 bytes of UTF-8', () => {
    const longest = ['x'.repeat(8_192), '€'.repeat(2_730), 'é'.repeat(4_096), '😀'.repeat(2_048)]
    for (const key of ['k', ' ', '€', ...longest]) expect(keyString('key', key)).toBe(key)
    expect(() => keyString('key', '')).toThrow(RangeError)
    expect(() => keyString('key', '')).toThrow(/^key /)
    for (const [tooLong, bytes] of [
      ['x'.repeat(8_193), 8_193],
      ['€'.repeat(2_731), 8_193],
      [`${'é'.repeat(4_096)}e`, 8_193],
      ['😀'.repeat(2_049), 8_196],
    ] as const) {
      expect(() => keyString('key', tooLong)).toThrow(RangeError)
      expect(() => keyString('key', tooLong)).toThrow(
        `key must be at most 8192 bytes of UTF-8, got ${bytes}: "${tooLong.slice(0, 20)}`,
      )
    }
    for (const half of ['\ud800', 'a\udc00b']) {
      expect(() => keyString('key', half)).toThrow(RangeError)
      expect(() => keyString('key', half)).toThrow(/^key must be well-formed Unicode, got "/)
    }
    expect(keyString('key', '\ud83d\ude00')).toBe('😀')
    for (const value of [undefined, null, 5, {}, ['a'], Buffer.from('a')]) {
      expect(() => keyString('key', value)).toThrow(TypeError)
      expect(() => keyString('key', value)).toThrow(/^key must be a string, got .+/)
    }
  })

  it('asks for an object by its methods, and shows of another no more than its kind', () => {
    class Redis {
      readonly options = { password: 'secret' }
    }
    const driver = { take: () => 1, peek: () => 2 }
    const check = (value: unknown): unknown => objectWith('driver', value, ['take', 'peek'], 'a rate limit driver')
    expect(check(driver)).toBe(driver)
    for (const [value, shown] of [
      [undefined, 'undefined'],
      [null, 'null'],
      ['redis', '"redis"'],
      [new Redis(), 'a Redis'],
      [{ take: () => 1, password: 'secret' }, 'an object with take, password'],
      [Object.create(null), 'an object with nothing'],
      [[], 'an Array'],
      [() => 1, '[Function (anonymous)]'],
    ]) {
      expect(() => check(value)).toThrow(TypeError)
      expect(() => check(value)).toThrow(`driver must be a rate limit driver, got ${String(shown)}`)
    }
  })

  it('shows no more of what came than fits a line', () => {
    for (const value of [`\n${'y'.repeat(5_000)}`, Array.from({ length: 500 }, () => 'item')]) {
      let message = ''
      try {
        positiveInteger('it', value)
      } catch (error) {
        message = (error as Error).message
      }
      expect(message.length).toBeGreaterThan(20)
      expect(message.length).toBeLessThan(160)
      expect(message).not.toContain('\n')
    }
  })
})
