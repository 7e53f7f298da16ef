import { getEventListeners } from 'node:events'
import { describe, expect, it, onTestFinished, vi } from 'vitest'
import { StoreUnavailableError } from '../../../src/core/errors.js'
import { createGroupCommit, type GroupCommitOptions } from '../../../src/core/group-commit.js'
import { settle, virtualClock } from '../../support/virtual-clock.js'
import { heldBackend, watched } from './held-backend.js'

type Options = Partial<GroupCommitOptions<string, string>>

const setUp = (options: Options | ((backend: ReturnType<typeof heldBackend>) => Options) = {}) => {
  const clock = virtualClock()
  const backend = heldBackend()
  const onUnwanted = vi.fn<(request: string, reply: string) => void>()
  const commit = createGroupCommit<string, string>({
    module: 'test',
    verb: 'try',
    run: backend.sent,
    clock,
    onUnwanted,
    ...(typeof options === 'function' ? options(backend) : options),
  })
  return { clock, backend, commit, onUnwanted }
}

describe('abort', () => {
  it('rejects at once when the signal has aborted already', async () => {
    const { backend, commit } = setUp()
    const reason = new Error('before')
    await expect(commit.call('a', AbortSignal.abort(reason))).rejects.toBe(reason)
    await settle()
    expect(backend.batches).toEqual([])
  })

  it('keeps a call that waits from being sent', async () => {
    const { backend, clock, commit } = setUp()
    const first = commit.call('a')
    await settle()
    const { signal, controller } = abortable()
    const second = watched(commit.call('b', signal))
    const third = commit.call('c')
    await settle()
    controller.abort('changed my mind')
    await settle()
    expect(second).toMatchObject({ state: 'rejected', value: 'changed my mind' })
    backend.trips[0]?.answer()
    await settle()
    backend.trips[1]?.answer()
    expect(await Promise.all([first, third])).toEqual(['A', 'C'])
    expect(backend.batches).toEqual([['a'], ['c']])
    expect(clock.pending).toBe(0)
  })

  it('does not part calls of one turn', async () => {
    const { backend, commit } = setUp()
    const { signal, controller } = abortable()
    const calls = [watched(commit.call('a')), watched(commit.call('b', signal))]
    controller.abort('at once')
    calls.push(watched(commit.call('c')))
    await settle()
    expect(backend.batches).toEqual([['a', 'c']])
    expect(calls.map(({ state }) => state)).toEqual(['pending', 'rejected', 'pending'])
  })

  it('gives back what an aborted call took, and leaves the rest of its trip alone', async () => {
    const { backend, commit, onUnwanted } = setUp()
    const { signal, controller } = abortable()
    const calls = [watched(commit.call('a')), watched(commit.call('b', signal)), watched(commit.call('c'))]
    await settle()
    controller.abort('too late')
    await settle()
    expect(calls.map(({ state }) => state)).toEqual(['pending', 'rejected', 'pending'])
    expect(backend.trips[0]?.trip.signal.aborted).toBe(false)
    backend.trips[0]?.answer()
    await settle()
    expect(calls.map(({ value }) => value)).toEqual(['A', 'too late', 'C'])
    expect(onUnwanted.mock.calls).toEqual([['b', 'B']])
  })

  it('has nothing to give back when the call failed anyway', async () => {
    const { backend, commit, onUnwanted } = setUp()
    const { signal, controller } = abortable()
    const calls = [watched(commit.call('a', signal)), watched(commit.call('b'))]
    await settle()
    controller.abort()
    backend.trips[0]?.answer([new Error('refused'), 'B'])
    await settle()
    expect(onUnwanted).not.toHaveBeenCalled()
    expect(calls[1]?.value).toBe('B')
  })

  it('tells the driver when nobody waits any more, and frees the place', async () => {
    const { backend, commit, onUnwanted } = setUp()
    const { signal, controller } = abortable()
    const calls = [watched(commit.call('a', signal)), watched(commit.call('b', signal))]
    await settle()
    const next = commit.call('c')
    await settle()
    expect(backend.trips).toHaveLength(1)
    controller.abort('all of you')
    await settle()
    expect(calls.map(({ value }) => value)).toEqual(['all of you', 'all of you'])
    expect(backend.trips[0]?.trip.signal.aborted).toBe(true)
    expect(backend.batches).toEqual([['a', 'b'], ['c']])
    backend.trips[0]?.answer()
    backend.trips[1]?.answer()
    expect(await next).toBe('C')
    expect(onUnwanted.mock.calls).toEqual([
      ['a', 'A'],
      ['b', 'B'],
    ])
  })

  it('leaves one listener at most on a signal that many wait on, and none when they are done', async () => {
    const warnings: Error[] = []
    const note = (warning: Error): void => void warnings.push(warning)
    process.on('warning', note)
    onTestFinished(() => void process.off('warning', note))
    const { backend, commit } = setUp()
    const { signal } = abortable()
    const calls = Array.from({ length: 100 }, (_, i) => watched(commit.call(`${i}`, signal)))
    await settle()
    expect(getEventListeners(signal, 'abort').length).toBeLessThanOrEqual(1)
    backend.trips[0]?.fail(new Error('all fail'))
    await settle()
    calls.push(watched(commit.call('answered', signal)))
    await settle()
    backend.trips[1]?.answer()
    await settle()
    expect(calls.every(({ state }) => state !== 'pending')).toBe(true)
    expect(getEventListeners(signal, 'abort')).toHaveLength(0)
    expect(warnings).toEqual([])
  })

  it('leaves no listener after a time-out', async () => {
    const { clock, commit } = setUp()
    const { signal } = abortable()
    const call = watched(commit.call('a', signal))
    await clock.advance(1_000)
    expect(call.state).toBe('rejected')
    expect(getEventListeners(signal, 'abort')).toHaveLength(0)
  })
})

describe('time-out', () => {
  it('comes after a second unless told otherwise, neither earlier nor later', async () => {
    const { clock, commit } = setUp()
    const call = watched(commit.call('a'))
    await clock.advance(999)
    expect(call.state).toBe('pending')
    await clock.advance(1)
    expect(call.value).toBeInstanceOf(StoreUnavailableError)
  })

  it.each([
    ['sent', 'unknown'],
    ['unsent', 'no'],
  ] as const)('of a trip that was %s says applied %s', async (run, applied) => {
    const { clock, commit } = setUp((backend) => ({ run: backend[run], timeoutMs: 50 }))
    const call = watched(commit.call('a'))
    await clock.advance(50)
    expect(call.value).toMatchObject({ code: 'ERR_STORE_UNAVAILABLE', applied })
    expect(clock.pending).toBe(0)
  })

  it('of a call that waits says no, and the call is never sent', async () => {
    const { backend, clock, commit } = setUp({ maxBatch: 1 })
    const calls = [watched(commit.call('a')), watched(commit.call('b'))]
    await clock.advance(1_000)
    expect(calls.map(({ value }) => (value as StoreUnavailableError).applied)).toEqual(['unknown', 'no'])
    backend.trips[0]?.answer()
    await settle()
    expect(backend.batches).toEqual([['a']])
  })

  it('takes back what a late reply brings', async () => {
    const { backend, clock, commit, onUnwanted } = setUp()
    const call = watched(commit.call('a'))
    await clock.advance(1_000)
    backend.trips[0]?.answer()
    await settle()
    expect(onUnwanted.mock.calls).toEqual([['a', 'A']])
    expect(call.times).toBe(1)
  })

  it('reaches every call of a silent backend at its own deadline, later calls too', async () => {
    const { backend, clock, commit } = setUp({ maxBatch: 3 })
    const started: { atMs: number; settledMs?: number }[] = []
    for (let i = 0; i < 40; i++) {
      const call: { atMs: number; settledMs?: number } = { atMs: clock.nowMs() }
      started.push(call)
      commit.call(`${i}`).catch(() => (call.settledMs = clock.nowMs()))
      await clock.advance(70)
    }
    await clock.advance(1_000)
    expect(started.map(({ atMs, settledMs }) => (settledMs ?? 0) - atMs)).toEqual(started.map(() => 1_000))
    expect(backend.trips.length).toBeGreaterThan(1)
    expect(clock.pending).toBe(0)
  })

  it('never comes when it is infinite', async () => {
    const { backend, clock, commit } = setUp({ timeoutMs: Infinity })
    const call = watched(commit.call('a'))
    await clock.advance(1e12)
    expect(call.state).toBe('pending')
    expect(clock.pending).toBe(0)
    backend.trips[0]?.answer()
    await settle()
    expect(call.value).toBe('A')
  })
})

describe('a trip that has not been sent', () => {
  /** `a` is under way and ends when `b` and then `c` wait; so they share a trip, and `b` gives up before `c`. */
  const shared = async (options: Options = {}) => {
    const setup = setUp((backend) => ({ run: backend.unsent, ...options }))
    const { signal, controller } = abortable()
    const first = watched(setup.commit.call('a'))
    await settle()
    const second = watched(setup.commit.call('b', signal))
    await setup.clock.advance(500)
    const third = watched(setup.commit.call('c'))
    setup.backend.trips[0]?.trip.sending()
    setup.backend.trips[0]?.answer()
    await settle()
    expect(setup.backend.batches).toEqual([['a'], ['b', 'c']])
    expect(first.value).toBe('A')
    return { ...setup, second, third, controller, trip: setup.backend.trips[1] }
  }

  it('leaves without a call that was told no', async () => {
    const { backend, clock, commit, second, third, trip, onUnwanted } = await shared()
    await clock.advance(500)
    expect(second.value).toMatchObject({ applied: 'no' })
    expect(third.state).toBe('pending')
    expect(() => trip?.trip.sending()).toThrow(StoreUnavailableError)
    trip?.fail(new Error('as it was told'))
    await settle()
    expect(backend.batches).toEqual([['a'], ['b', 'c'], ['c']])
    backend.trips[2]?.trip.sending()
    backend.trips[2]?.answer()
    await settle()
    expect(third.value).toBe('C')
    expect(onUnwanted).not.toHaveBeenCalled()
    await commit.close()
    expect(clock.pending).toBe(0)
  })

  it('leaves without a call that was aborted, before those that came later', async () => {
    const { backend, commit, controller, second, third, trip } = await shared({ maxBatch: 3 })
    controller.abort('enough')
    const later = [watched(commit.call('d')), watched(commit.call('e'))]
    expect(() => trip?.trip.sending()).toThrow()
    trip?.fail(new Error('as it was told'))
    await settle()
    expect(backend.batches.at(-1)).toEqual(['c', 'd'])
    for (const index of [2, 3]) {
      backend.trips[index]?.trip.sending()
      backend.trips[index]?.answer()
      await settle()
    }
    expect([second, third, ...later].map(({ value }) => value)).toEqual(['enough', 'C', 'D', 'E'])
  })

  it('keeps the deadline of a call it was called back for', async () => {
    const { clock, third, trip } = await shared({ maxInFlight: 1 })
    await clock.advance(500)
    expect(() => trip?.trip.sending()).toThrow()
    trip?.fail(new Error('as it was told'))
    await clock.advance(499)
    expect(third.state).toBe('pending')
    await clock.advance(1)
    expect(third).toMatchObject({ state: 'rejected', value: { applied: 'no' } })
    expect(clock.pending).toBe(0)
  })

  it('is not sent when nobody waits for it any more', async () => {
    const { clock, trip } = await shared()
    await clock.advance(1_000)
    expect(trip?.trip.signal.aborted).toBe(true)
    expect(() => trip?.trip.sending()).toThrow(StoreUnavailableError)
  })

  it('may say more than once that it is being sent', async () => {
    const { controller, trip } = await shared()
    trip?.trip.sending()
    controller.abort()
    expect(() => trip?.trip.sending()).not.toThrow()
  })
})

describe('lanes that have ended', () => {
  it('do not take a newer lane of the same name along', async () => {
    const { backend, clock, commit } = setUp({ maxBatch: 1 })
    const first = watched(commit.call('a'))
    await clock.advance(1_000)
    expect(first.state).toBe('rejected')
    const second = watched(commit.call('b'))
    const third = watched(commit.call('c'))
    await settle()
    backend.trips[0]?.answer()
    await settle()
    const closed = watched(commit.close())
    await settle()
    expect(closed.state).toBe('pending')
    expect(backend.batches).toEqual([['a'], ['b']])
    backend.trips[1]?.answer()
    await settle()
    backend.trips[2]?.answer()
    await settle()
    expect([second.value, third.value]).toEqual(['B', 'C'])
    expect(closed.state).toBe('resolved')
    expect(clock.pending).toBe(0)
  })
})

describe('onUnwanted that throws', () => {
  it('is heard of, and harms no other call', async () => {
    const listeners = process.listeners('uncaughtException')
    process.removeAllListeners('uncaughtException')
    const uncaught: unknown[] = []
    process.on('uncaughtException', (error) => uncaught.push(error))
    onTestFinished(() => {
      process.removeAllListeners('uncaughtException')
      for (const listener of listeners) process.on('uncaughtException', listener)
    })
    const { backend, commit } = setUp({
      onUnwanted: () => {
        throw new Error('cannot take it back')
      },
    })
    const { signal, controller } = abortable()
    const calls = [watched(commit.call('a', signal)), watched(commit.call('b'))]
    await settle()
    controller.abort()
    backend.trips[0]?.answer()
    await settle()
    expect(calls[1]).toMatchObject({ state: 'resolved', value: 'B' })
    expect(uncaught).toEqual([new Error('cannot take it back')])
    const next = commit.call('c')
    await settle()
    backend.trips[1]?.answer()
    expect(await next).toBe('C')
  })
})

function abortable() {
  const controller = new AbortController()
  return { controller, signal: controller.signal }
}
