import { expect, it } from 'vitest'
import { systemClock } from '../../../src/core/clock.js'
import { knownOptions, type Known } from '../../../src/core/options.js'

interface Options {
  readonly clock?: unknown
  readonly cost?: number | undefined
  readonly atMost?: boolean | undefined
}
const known: Known<Options> = { cost: true, atMost: true, clock: true }
const check = (options: unknown): Partial<Options> => knownOptions('take', options, known)

it('hands on options that are known, also undefined ones and those of a class', () => {
  const mine = new (class {
    readonly cost = 1
  })()
  for (const options of [{ cost: 1 }, { atMost: undefined }, {}, mine, Object.create({ cost: 3 })]) {
    expect(check(options)).toBe(options)
  }
  expect(check(undefined)).toEqual({})
})

it('names an option that is not known, and those that are', () => {
  for (const options of [{ tokens: 5 }, { cost: 1, tokens: undefined }, Object.create({ tokens: 5 })]) {
    expect(() => check(options)).toThrow(new TypeError('take: there is no option "tokens", only cost, atMost, clock'))
  }
  for (const name of ['toString', '__proto__', 'constructor', '']) {
    expect(() => check(Object.fromEntries([[name, 1]]))).toThrow(TypeError)
  }
})

it('refuses what is no object', () => {
  for (const [options, shown] of [
    [5, '5'],
    ['foo:', '"foo:"'],
    [null, 'null'],
    [[1], '[ 1 ]'],
    [true, 'true'],
    [new Map([['cost', 5]]), "Map(1) { 'cost' => 5 }"],
  ] as const) {
    expect(() => check(options)).toThrow(
      new TypeError(`take: options must be an object with cost, atMost, clock, got ${shown}`),
    )
  }
  expect(() => check(() => 1)).toThrow(TypeError)
})

it('refuses null, which is not the same as absent', () => {
  expect(() => check({ cost: null })).toThrow(new TypeError('take: cost must not be null'))
})

it('refuses a signal that is none', () => {
  const check = (signal: unknown): object => knownOptions<{ signal?: unknown }>('wait', { signal }, { signal: true })
  const { signal } = new AbortController()
  expect(check(signal)).toEqual({ signal })
  expect(check(undefined)).toEqual({ signal: undefined })
  for (const wrong of [5, false, 'stop']) {
    expect(() => check(wrong)).toThrow(new TypeError(`signal must be an AbortSignal, got ${JSON.stringify(wrong)}`))
  }
})

it('refuses a clock that is none', () => {
  expect(check({ clock: systemClock })).toEqual({ clock: systemClock })
  for (const [clock, shown] of [
    [5, '5'],
    [Date, '[Function: Date]'],
    [{ nowMs: () => 0 }, 'an object with nowMs'],
  ] as const) {
    expect(() => check({ clock })).toThrow(new TypeError(`clock must be a Clock, got ${shown}`))
  }
})
