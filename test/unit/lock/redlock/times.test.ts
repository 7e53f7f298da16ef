import { describe, expect, it } from 'vitest'
import {
  answerWithin,
  heldFor,
  isForOthers,
  pollMs,
  standBackMs,
  wantedMs,
} from '../../../../src/lock/redlock/times.js'

describe('heldFor', () => {
  it.each([
    [30_000, 29_698],
    [1_000, 988],
    [100, 97],
    [99, 96],
    [10, 7],
    [4, 1],
    [3, 0],
    [1, -2],
  ])('leaves %i ms %i', (ttlMs, heldMs) => {
    expect(heldFor(ttlMs)).toBe(heldMs)
  })
})

describe('answerWithin', () => {
  it.each([
    [300, 30_000, 300],
    [300, 500, 246.5],
    [10_000, 1_000, 494],
    [300, 4, 0.5],
  ])('gives a node %i ms at most, of a TTL of %i ms: %d', (nodeTimeoutMs, ttlMs, ms) => {
    expect(answerWithin(nodeTimeoutMs, ttlMs)).toBe(ms)
  })
})

describe('polling', () => {
  it('leaves the delay to chance, from 50 to 150 ms', () => {
    expect([0, 0.5, 1].map(pollMs)).toEqual([50, 100, 150])
  })

  it('stands back for longer than anyone waits between two tries, and wants for as long', () => {
    expect(standBackMs).toBeGreaterThan(pollMs(1))
    expect(wantedMs).toBeGreaterThan(pollMs(1))
  })

  it('makes way after 64 turns in a row', () => {
    expect([1, 2, 64, 65, 66].map(isForOthers)).toEqual([false, false, false, true, true])
  })
})
