import { describe, expect, it } from 'vitest'
import * as errors from '../../../src/core/errors.js'

const classes = [
  ['SpillwayError', 'ERR_SPILLWAY'],
  ['StoreUnavailableError', 'ERR_STORE_UNAVAILABLE'],
  ['StockFrozenError', 'ERR_STORE_UNAVAILABLE'],
  ['WaitTimeoutError', 'ERR_WAIT_TIMEOUT'],
  ['LockLostError', 'ERR_LOCK_LOST'],
  ['OrderConflictError', 'ERR_ORDER_CONFLICT'],
  ['ClosedError', 'ERR_CLOSED'],
] as const

const make = (from: typeof errors, name: (typeof classes)[number][0], cause?: unknown): errors.SpillwayError =>
  new from[name]('what happened', { applied: 'no', cause })

// @ts-expect-error The query makes Node load the file a second time, as a second copy of the package would.
const copy = (await import('../../../src/core/errors.js?copy')) as typeof errors

describe('errors', () => {
  it('are all listed here', () => {
    expect(Object.keys(errors).sort()).toEqual(classes.map(([name]) => name).sort())
  })

  it.each(classes)('%s has code %s, its name, its message and its cause', (name, code) => {
    const cause = new Error('why')
    const error = make(errors, name, cause)
    expect(error).toMatchObject({ name, code, message: 'what happened', cause })
    expect(error).toBeInstanceOf(Error)
    expect(error.stack).toContain(`${name}: what happened`)
    expect(errors.SpillwayError.is(error)).toBe(true)
  })

  it.each(classes)('%s is told from every other', (name) => {
    const error = make(errors, name)
    const bases = name === 'StockFrozenError' ? ['SpillwayError', 'StoreUnavailableError'] : ['SpillwayError']
    for (const [other] of classes) {
      expect(error instanceof errors[other], other).toBe(other === name || bases.includes(other))
    }
  })

  it.each(classes)('%s of another copy of the package is known', (name) => {
    expect(copy[name]).not.toBe(errors[name])
    const theirs = make(copy, name)
    expect(theirs).toBeInstanceOf(errors[name])
    expect(theirs).toBeInstanceOf(errors.SpillwayError)
    expect(make(errors, name)).toBeInstanceOf(copy[name])
    expect(errors.SpillwayError.is(theirs)).toBe(true)
    if (name !== 'ClosedError') expect(theirs).not.toBeInstanceOf(errors.ClosedError)
  })

  it('says whether a store applied the call', () => {
    for (const applied of ['no', 'unknown'] as const) {
      expect(new errors.StoreUnavailableError('x', { applied }).applied).toBe(applied)
    }
    expect(new errors.StockFrozenError('x').applied).toBe('no')
  })

  it.each([[undefined], [null], ['ERR_CLOSED'], [new Error('x')], [{ code: 'ERR_CLOSED', name: 'ClosedError' }]])(
    'does not take %s for one of its own',
    (value) => {
      expect(errors.SpillwayError.is(value)).toBe(false)
      expect(value instanceof errors.ClosedError).toBe(false)
    },
  )
})
