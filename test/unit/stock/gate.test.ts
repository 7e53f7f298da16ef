import { describe, expect, it } from 'vitest'
import type { StockState } from '../../../src/stock/driver.js'
import { closedMs, createGate, type Gate, type Verdict } from '../../../src/stock/gate.js'
import { createIdFilter, type IdFilter } from '../../../src/stock/id-filter.js'

const state = (available: number, more: Partial<StockState> = {}): StockState => {
  const sold = 100 - available
  return {
    epoch: 'e',
    total: 100,
    available,
    held: 0,
    sold,
    recorded: sold,
    closedForMs: closedMs,
    frozen: false,
    ...more,
  }
}
const idsOf = (...ids: string[]): IdFilter => {
  const filter = createIdFilter(ids.length)
  ids.forEach((id) => filter.add(id))
  return filter
}
const judged = (gate: Gate, nowMs: number, quantity = 1): Verdict => gate.judge('new', quantity, nowMs)

describe('createGate', () => {
  it('lets its units through, then asks', () => {
    const gate = createGate(3)
    gate.take(2)
    expect(judged(gate, 0)).toBe('send')
    gate.take(1)
    expect(judged(gate, 0)).toBe('ask')
    gate.giveBack(1)
    expect(judged(gate, 0)).toBe('send')
  })

  it('lets an order through that is larger than its units', () => {
    const gate = createGate(3)
    expect(judged(gate, 0, 50)).toBe('send')
    gate.take(50)
    expect(judged(gate, 0)).toBe('ask')
  })

  it('never has more than its units, whatever is given back', () => {
    const gate = createGate(2)
    gate.giveBack(10)
    gate.take(2)
    expect(judged(gate, 0)).toBe('ask')
  })

  it('asks once something was refused, until it has learned', () => {
    const gate = createGate(3)
    gate.doubt()
    expect(judged(gate, 0)).toBe('ask')
    gate.learn(state(50, { closedForMs: 0 }), 0)
    expect(judged(gate, 0)).toBe('send')
  })

  it('has as many units after learning as are left, and at most its own', () => {
    const gate = createGate(3)
    gate.learn(state(2, { closedForMs: 0 }), 0)
    gate.take(2)
    expect(judged(gate, 0)).toBe('ask')
    gate.learn(state(50, { closedForMs: 0 }), 0)
    gate.take(3)
    expect(judged(gate, 0)).toBe('ask')
  })

  // What is left, what is asked, when, and what the gate then says.
  it.each<[rest: number, quantity: number, atMs: number, verdict: Verdict]>([
    [0, 1, 0, 'refuse'],
    [0, 1, closedMs - 1, 'refuse'],
    [0, 1, closedMs, 'ask'],
    [0, 1, closedMs * 100, 'ask'],
    [2, 3, 0, 'refuse'],
    [2, 2, 0, 'send'],
    [2, 3, closedMs, 'send'],
  ])('with %i left, an order for %i at %i ms: %s', (rest, quantity, atMs, verdict) => {
    const gate = createGate(5)
    gate.learn(state(rest), 1_000)
    gate.cover(state(rest), idsOf())
    expect(judged(gate, 1_000 + atMs, quantity)).toBe(verdict)
  })

  it('refuses nobody without the right to, however little is left', () => {
    const gate = createGate(5)
    gate.learn(state(0, { closedForMs: 0 }), 0)
    gate.cover(state(0), idsOf())
    expect(judged(gate, 0)).toBe('ask')
  })

  it('sends an id that may be recorded, and every id while it does not know them', () => {
    const gate = createGate(5)
    expect(gate.lacksIds(state(0))).toBe(true)
    gate.learn(state(0), 0)
    expect(judged(gate, 0)).toBe('send')
    gate.cover(state(0), idsOf('old'))
    expect(gate.lacksIds(state(0))).toBe(false)
    expect(judged(gate, 0)).toBe('refuse')
    expect(gate.judge('old', 1, 0)).toBe('send')
  })

  it('does not trust ids that were read before others were recorded, or of another sale', () => {
    const gate = createGate(5)
    gate.cover(state(0, { recorded: 7 }), idsOf())
    for (const newer of [state(0, { recorded: 8 }), state(0, { recorded: 7, epoch: 'next' })]) {
      expect(gate.lacksIds(newer)).toBe(true)
      gate.learn(newer, 0)
      expect(judged(gate, 0)).toBe('send')
    }
    gate.learn(state(0, { recorded: 7 }), 0)
    expect(judged(gate, 0)).toBe('refuse')
  })

  it('says what is left when it refuses', async () => {
    const gate = createGate(5)
    gate.learn(state(0), 0)
    expect(await gate.refusal).toEqual({ ok: false, reason: 'sold-out', available: 0 })
    gate.learn(state(2), 0)
    expect(await gate.refusal).toEqual({ ok: false, reason: 'sold-out', available: 2 })
  })
})
