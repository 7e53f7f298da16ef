import { describe, expect, it, vi } from 'vitest'
import type { Claim } from '../../../../src/lock/driver.js'
import { createWakeups } from '../../../../src/lock/zookeeper/wakeups.js'
import { createWatches } from '../../../../src/lock/zookeeper/watches.js'

const claim: Claim = {
  ...{ kind: 'mutex', key: 'k', front: 'f', number: 1, permits: 1, of: 1, ttlMs: 1, tokens: 1, waits: true },
}

describe('wakeups', () => {
  it('reach those who watch, of the same lock and key only', () => {
    const wakeups = createWakeups()
    const wakes = [claim, { ...claim, number: 2 }, { ...claim, key: 'other' }, { ...claim, front: 'g' }].map(
      (watched) => {
        const wake = vi.fn()
        wakeups.watch(watched, wake)
        return wake
      },
    )
    wakeups.enter(claim).fire()
    expect(wakes.map(({ mock }) => mock.calls.length)).toEqual([1, 1, 0, 0])
    wakeups.fireAll()
    expect(wakes.map(({ mock }) => mock.calls.length)).toEqual([2, 2, 1, 1])
  })

  it('are kept for who begins to watch later, once', () => {
    const wakeups = createWakeups()
    const slot = wakeups.enter(claim)
    slot.fire()
    const [first, second] = [vi.fn(), vi.fn()]
    wakeups.watch(claim, first)
    wakeups.watch(claim, second)
    expect([first.mock.calls.length, second.mock.calls.length]).toEqual([1, 0])
  })

  it('stop when they are no longer wanted, and leave nothing', () => {
    const wakeups = createWakeups()
    const slot = wakeups.enter(claim)
    const wake = vi.fn()
    const unwatch = wakeups.watch(claim, wake)
    unwatch()
    unwatch()
    slot.fire()
    expect(wake).not.toHaveBeenCalled()
    wakeups.leave(claim, slot)
    expect(wakeups.enter(claim)).not.toBe(slot)
  })
})

describe('watches', () => {
  it('give the client one function for a path until it fires', () => {
    const watches = createWatches()
    const calls = [vi.fn(), vi.fn(), vi.fn()]
    const [one, two] = calls.map((call) => watches.on('data', '/a', call))
    expect(two?.fire).toBe(one?.fire)
    expect(watches.on('children', '/a', vi.fn()).fire).not.toBe(one?.fire)
    one?.stand()
    two?.off()
    one?.fire()
    expect(calls.map(({ mock }) => mock.calls.length)).toEqual([1, 0, 1])
    expect(watches.on('data', '/a', vi.fn()).fire).not.toBe(one?.fire)
  })

  it('keep the function that the client holds on to, though nobody waits', () => {
    const watches = createWatches()
    const one = watches.on('data', '/a', vi.fn())
    one.stand()
    one.off()
    const call = vi.fn()
    expect(watches.on('data', '/a', call).fire).toBe(one.fire)
    one.fire()
    expect(call).toHaveBeenCalledTimes(1)
  })

  it('drop a function that the client never had', () => {
    const watches = createWatches()
    const one = watches.on('data', '/a', vi.fn())
    one.off()
    expect(watches.on('data', '/a', vi.fn()).fire).not.toBe(one.fire)
  })
})
