import { describe, expect, it } from 'vitest'
import { createCourtesy } from '../../../examples/shared/selling/courtesy.js'

describe('the courtesy of those who write orders', () => {
  it('lets buyers go first only while they rush', () => {
    const courtesy = createCourtesy()
    expect(courtesy.mayWait(10, 0)).toBe(false)
    courtesy.doors(1_999)
    expect(courtesy.mayWait(10, 500)).toBe(false)
    courtesy.doors(2_000)
    expect(courtesy.mayWait(10, 1_000)).toBe(true)
    courtesy.doors(0)
    expect(courtesy.mayWait(10, 1_500)).toBe(false)
  })

  it('ends after five seconds, until all that waited is written', () => {
    const courtesy = createCourtesy()
    courtesy.doors(20_000)
    expect(courtesy.mayWait(0, 0)).toBe(true)
    expect(courtesy.mayWait(100, 60_000)).toBe(true)
    expect(courtesy.mayWait(90_000, 64_999)).toBe(true)
    expect(courtesy.mayWait(100_000, 65_000)).toBe(false)
    expect(courtesy.mayWait(1, 90_000)).toBe(false)
    expect(courtesy.mayWait(0, 90_500)).toBe(true)
    expect(courtesy.mayWait(1, 91_000)).toBe(true)
  })
})
