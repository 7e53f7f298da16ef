import { describe, expect, it, vi } from 'vitest'
import { createDeadline } from '../../../../src/lock/redlock/deadline.js'
import { virtualClock } from '../../../support/virtual-clock.js'

describe('createDeadline', () => {
  it('passes for all who still wait', async () => {
    const clock = virtualClock()
    const deadline = createDeadline(clock, 100)
    const late = [vi.fn(), vi.fn(), vi.fn()] as const
    const unwatch = late.map((each) => deadline.watch(each))
    expect(clock.pending).toBe(1)
    unwatch[1]?.()
    await clock.advance(99)
    for (const each of late) expect(each).not.toHaveBeenCalled()
    await clock.advance(1)
    expect(late.map((each) => each.mock.calls.length)).toEqual([1, 0, 1])
    for (const each of unwatch) each()
    expect(clock.pending).toBe(0)
  })

  it('costs no timer once all answers are in, however late that is', async () => {
    const clock = virtualClock()
    const deadline = createDeadline(clock, 100)
    expect(clock.pending).toBe(0)
    const late = vi.fn<(name: string) => void>()
    const first = deadline.watch(() => late('first'))
    const second = deadline.watch(() => late('second'))
    first()
    expect(clock.pending).toBe(1)
    await clock.advance(99)
    second()
    expect(clock.pending).toBe(0)
    await clock.advance(1_000)
    expect(late).not.toHaveBeenCalled()
  })

  it('gives who comes again the rest of the time, and who comes too late none', async () => {
    const clock = virtualClock()
    const deadline = createDeadline(clock, 100)
    deadline.watch(() => undefined)()
    await clock.advance(60)
    const again = vi.fn()
    deadline.watch(again)
    await clock.advance(39)
    expect(again).not.toHaveBeenCalled()
    await clock.advance(2)
    expect(again).toHaveBeenCalledTimes(1)
    const tooLate = vi.fn()
    deadline.watch(tooLate)
    await clock.advance(1)
    expect(tooLate).toHaveBeenCalledTimes(1)
    expect(clock.pending).toBe(0)
  })
})
