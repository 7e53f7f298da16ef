import { getEventListeners } from 'node:events'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { callTimeout, sleep, systemClock, tickReader } from '../../../src/core/clock.js'
import { settle, virtualClock } from '../../support/virtual-clock.js'
import { watched } from './held-backend.js'

const dayMs = 86_400_000

describe('the system clock', () => {
  beforeEach(() => void vi.useFakeTimers())
  afterEach(() => void vi.useRealTimers())

  it('waits for delays that a timer cannot hold', () => {
    const run = vi.fn()
    systemClock.after(60 * dayMs, run)
    vi.advanceTimersByTime(60 * dayMs - 1)
    expect(run).not.toHaveBeenCalled()
    vi.advanceTimersByTime(2)
    expect(run).toHaveBeenCalledTimes(1)
    expect(vi.getTimerCount()).toBe(0)
  })

  it('cancels, also between two timers of a long delay', () => {
    const run = vi.fn()
    const cancel = systemClock.after(60 * dayMs, run)
    vi.advanceTimersByTime(30 * dayMs)
    cancel()
    cancel()
    expect(vi.getTimerCount()).toBe(0)
    vi.advanceTimersByTime(60 * dayMs)
    expect(run).not.toHaveBeenCalled()
  })

  it('waits without end for Infinity', () => {
    const run = vi.fn()
    systemClock.after(Infinity, run)
    vi.advanceTimersByTime(100 * dayMs)
    expect(run).not.toHaveBeenCalled()
  })

  it.each([0, -5, Number.NaN])('runs at the next turn after %d ms, and once', (delayMs) => {
    const run = vi.fn()
    systemClock.after(delayMs, run)
    expect(run).not.toHaveBeenCalled()
    vi.advanceTimersByTime(5)
    expect(run).toHaveBeenCalledTimes(1)
    expect(vi.getTimerCount()).toBe(0)
  })

  it('looks again when a timer fires early', () => {
    const run = vi.fn()
    systemClock.after(10, run)
    const now = performance.now()
    const early = vi.spyOn(performance, 'now').mockReturnValue(now + 9.5)
    vi.advanceTimersByTime(10)
    expect(run).not.toHaveBeenCalled()
    early.mockReturnValue(now + 10.5)
    vi.advanceTimersByTime(1)
    expect(run).toHaveBeenCalledTimes(1)
    early.mockRestore()
  })
})

it('is never early in real time, for any fraction of a millisecond', async () => {
  const early: number[] = []
  const waits = Array.from({ length: 200 }, (_, i) => (i * 7.3) % 20)
  await Promise.all(
    waits.map(async (delayMs) => {
      const startedMs = systemClock.nowMs()
      await sleep(delayMs)
      if (systemClock.nowMs() - startedMs < delayMs) early.push(delayMs)
    }),
  )
  expect(early).toEqual([])
})

it('tells people the time of day and itself a time that only grows', () => {
  const first = systemClock.nowMs()
  expect(systemClock.nowMs()).toBeGreaterThanOrEqual(first)
  expect(Math.abs(systemClock.wallMs() - Date.now())).toBeLessThan(60_000)
})

describe('sleep', () => {
  it('takes as long as it was told', async () => {
    const clock = virtualClock()
    const slept = watched(sleep(100, { clock }))
    await clock.advance(99)
    expect(slept.state).toBe('pending')
    await clock.advance(1)
    expect(slept.state).toBe('resolved')
  })

  it('rejects with the reason itself, before and during, and leaves neither timer nor listener', async () => {
    const clock = virtualClock()
    const reason = { any: 'thing' }
    const before = watched(sleep(100, { clock, signal: AbortSignal.abort(reason) }))
    const controller = new AbortController()
    const during = watched(sleep(100, { clock, signal: controller.signal }))
    expect(clock.pending).toBe(1)
    controller.abort(reason)
    await settle()
    for (const slept of [before, during]) {
      expect(slept.state).toBe('rejected')
      expect(slept.value).toBe(reason)
    }
    expect(clock.pending).toBe(0)
    expect(getEventListeners(controller.signal, 'abort')).toHaveLength(0)
  })

  it('leaves no listener on a signal that outlives it', async () => {
    const clock = virtualClock()
    const { signal } = new AbortController()
    const slept = Array.from({ length: 30 }, () => sleep(5, { clock, signal }))
    await clock.advance(5)
    await Promise.all(slept)
    expect(getEventListeners(signal, 'abort')).toHaveLength(0)
  })
})

describe('the tick reader', () => {
  const later = (thanMs: number): void => {
    while (performance.now() <= thanMs) continue
  }

  it('gives calls that are made in one go one reading, also those of callers that resume together', async () => {
    const nowMs = tickReader(systemClock)
    const readings: number[] = []
    const caller = async (): Promise<void> => {
      await Promise.resolve()
      readings.push(nowMs())
      later(performance.now())
      readings.push(nowMs())
    }
    await Promise.all([caller(), caller(), caller()])
    expect(readings).toHaveLength(6)
    expect(new Set(readings).size).toBe(1)
  })

  it('reads again after an await, a tick that blocks included, and in the next tick', async () => {
    const nowMs = tickReader(systemClock)
    for (const next of [() => Promise.resolve(), () => new Promise<void>((resolve) => process.nextTick(resolve))]) {
      const first = nowMs()
      await next()
      // As a stopped process or execSync does, without leaving the tick.
      later(first + 20)
      expect(nowMs()).toBeGreaterThan(first + 20)
    }
    const first = nowMs()
    await new Promise(setImmediate)
    later(first)
    expect(nowMs()).toBeGreaterThan(first)
  })

  it('reads again after 64, so that a loop that never leaves its tick still sees time pass', async () => {
    const nowMs = tickReader(systemClock)
    await new Promise(setImmediate)
    const first = nowMs()
    later(first)
    for (let i = 1; i < 64; i++) expect(nowMs()).toBe(first)
    expect(nowMs()).toBeGreaterThan(first)
  })

  it('reads a clock that is turned by hand each time', async () => {
    const clock = virtualClock()
    const nowMs = tickReader(clock)
    const first = nowMs()
    await clock.advance(5)
    expect(nowMs()).toBe(first + 5)
  })
})

describe('the time-out of a call', () => {
  it('fires when it is due, and not when it was cancelled', async () => {
    const clock = virtualClock()
    const run = vi.fn()
    const cancelled = vi.fn()
    callTimeout(clock, 100, run)
    callTimeout(clock, 100, cancelled)()
    await clock.advance(99)
    expect(run).not.toHaveBeenCalled()
    await clock.advance(1)
    expect(run).toHaveBeenCalledTimes(1)
    expect(cancelled).not.toHaveBeenCalled()
    expect(clock.pending).toBe(0)
  })

  it('gives a blocked loop the lost time back, once, and can be cancelled then', () => {
    vi.useFakeTimers()
    const run = vi.fn()
    const cancelled = vi.fn()
    const startMs = performance.now()
    callTimeout(systemClock, 100, run)
    const cancel = callTimeout(systemClock, 100, cancelled)
    // The clock goes on, and no timer runs: the loop is blocked for 170 ms.
    const now = vi.spyOn(performance, 'now').mockReturnValue(startMs + 170)
    vi.advanceTimersByTime(100)
    expect(run).not.toHaveBeenCalled()
    cancel()
    now.mockReturnValue(startMs + 400)
    vi.advanceTimersByTime(70)
    expect(run).toHaveBeenCalledTimes(1)
    expect(cancelled).not.toHaveBeenCalled()
    expect(vi.getTimerCount()).toBe(0)
    now.mockRestore()
    vi.useRealTimers()
  })
})
