import { describe, expect, it } from 'vitest'
import { createGroupCommit, type GroupCommitOptions } from '../../../src/core/group-commit.js'
import { SpillwayError, StoreUnavailableError } from '../../../src/core/errors.js'
import { settle } from '../../support/virtual-clock.js'
import { heldBackend, heldCommit, watched } from './held-backend.js'

type Options = Partial<GroupCommitOptions<string, string>>

describe('trips', () => {
  it('starts for an idle caller in the same turn', async () => {
    const { backend, commit } = heldCommit()
    const call = commit.call('a')
    await Promise.resolve()
    expect(backend.batches).toEqual([['a']])
    backend.trips[0]?.answer()
    expect(await call).toBe('A')
  })

  it('joins what is called in the same turn', async () => {
    const { backend, commit } = heldCommit()
    const calls = Promise.all([commit.call('a'), commit.call('b'), commit.call('c')])
    await settle()
    expect(backend.batches).toEqual([['a', 'b', 'c']])
    backend.trips[0]?.answer()
    expect(await calls).toEqual(['A', 'B', 'C'])
  })

  it('joins what comes during a trip into the next', async () => {
    const { backend, commit } = heldCommit()
    const first = commit.call('a')
    await settle()
    const rest = [commit.call('b')]
    await settle()
    rest.push(commit.call('c'))
    await settle()
    expect(backend.batches).toEqual([['a']])
    backend.trips[0]?.answer()
    await settle()
    expect(backend.batches).toEqual([['a'], ['b', 'c']])
    backend.trips[1]?.answer()
    expect(await first).toBe('A')
    expect(await Promise.all(rest)).toEqual(['B', 'C'])
  })

  it('has one trip under way unless told otherwise, and a thousand calls in it', async () => {
    const { backend, commit } = heldCommit()
    const calls = Array.from({ length: 2_500 }, (_, i) => commit.call(`${i}`))
    await settle()
    expect(backend.batches.map((batch) => batch.length)).toEqual([1_000])
    backend.trips[0]?.answer()
    await settle()
    backend.trips[1]?.answer()
    await settle()
    backend.trips[2]?.answer()
    expect(backend.batches.map((batch) => batch.length)).toEqual([1_000, 1_000, 500])
    expect(await Promise.all(calls)).toHaveLength(2_500)
  })

  it('lets no more weigh in a trip than it may carry, and what is heavier travel alone', async () => {
    const { backend, commit } = heldCommit({ maxWeight: { of: (text) => text.length, most: 4 } })
    const calls = ['aa', 'bb', 'c', 'ddddd', 'e', 'fff'].map((text) => commit.call(text))
    for (const trip of [0, 1, 2, 3]) {
      await settle()
      backend.trips[trip]?.answer()
    }
    expect(await Promise.all(calls)).toHaveLength(6)
    expect(backend.batches).toEqual([['aa', 'bb'], ['c'], ['ddddd'], ['e', 'fff']])
  })

  it('takes calls in the order they came', async () => {
    const { backend, commit } = heldCommit({ maxBatch: 2 })
    const calls = ['a', 'b', 'c', 'd', 'e'].map((name) => commit.call(name))
    for (let i = 0; i < 3; i++) {
      await settle()
      backend.trips[i]?.answer()
    }
    await Promise.all(calls)
    expect(backend.batches).toEqual([['a', 'b'], ['c', 'd'], ['e']])
  })

  it('fills as many places as there are', async () => {
    const { backend, commit } = heldCommit({ maxBatch: 1, maxInFlight: 3 })
    const calls = ['a', 'b', 'c', 'd', 'e'].map((name) => commit.call(name))
    await settle()
    expect(backend.batches).toEqual([['a'], ['b'], ['c']])
    backend.trips[1]?.answer()
    await settle()
    expect(backend.batches).toEqual([['a'], ['b'], ['c'], ['d']])
    for (const index of [0, 2, 3]) backend.trips[index]?.answer()
    await settle()
    backend.trips[4]?.answer()
    expect(await Promise.all(calls)).toEqual(['A', 'B', 'C', 'D', 'E'])
  })

  it('keeps lanes apart', async () => {
    const { backend, clock, commit } = heldCommit({ lane: (request) => request.slice(0, 1) })
    const calls = ['a1', 'b1', 'a2'].map((name) => watched(commit.call(name)))
    await settle()
    expect(backend.batches).toEqual([['a1', 'a2'], ['b1']])
    backend.trips[1]?.answer()
    await settle()
    expect(calls.map(({ state }) => state)).toEqual(['pending', 'resolved', 'pending'])
    await clock.advance(1_000)
    expect(calls.map(({ state }) => state)).toEqual(['rejected', 'resolved', 'rejected'])
  })

  it('leaves no timer behind when idle', async () => {
    const { backend, clock, commit } = heldCommit({ lane: (request) => request })
    const calls = Promise.all([commit.call('a'), commit.call('b')])
    await settle()
    expect(clock.pending).toBeGreaterThan(0)
    for (const trip of backend.trips) trip.answer()
    await calls
    await settle()
    expect(clock.pending).toBe(0)
  })
})

describe('failures', () => {
  it('fails one call alone', async () => {
    const { backend, commit } = heldCommit()
    const calls = ['a', 'b', 'c'].map((name) => watched(commit.call(name)))
    await settle()
    const wrong = new Error('only this one')
    backend.trips[0]?.answer(['A', wrong, 'C'])
    await settle()
    expect(calls.map(({ value }) => value)).toEqual(['A', wrong, 'C'])
    expect(calls[1]).toMatchObject({ state: 'rejected', value: wrong })
  })

  it.each([
    ['sent', 'unknown'],
    ['unsent', 'no'],
  ] as const)('fails all calls of a trip that was %s with applied %s', async (run, applied) => {
    const backend = heldBackend()
    const calls: unknown[] = []
    const failing = createGroupCommit<string, string>({ module: 'test', verb: 'try', run: backend[run] })
    for (const name of ['a', 'b']) failing.call(name).catch((error: unknown) => calls.push(error))
    await settle()
    const cause = new Error('connection reset')
    backend.trips[0]?.fail(cause)
    await settle()
    expect(calls).toHaveLength(2)
    for (const error of calls) {
      expect(error).toBeInstanceOf(StoreUnavailableError)
      expect(error).toMatchObject({ applied, cause, code: 'ERR_STORE_UNAVAILABLE' })
    }
    await failing.close()
  })

  it('passes on what is already an error of ours', async () => {
    const { backend, commit } = heldCommit()
    const call = watched(commit.call('a'))
    await settle()
    const error = new SpillwayError('as it is')
    backend.trips[0]?.fail(error)
    await settle()
    expect(call.value).toBe(error)
  })

  it('fails also without a reason', async () => {
    const { backend, commit } = heldCommit()
    const call = watched(commit.call('a'))
    await settle()
    backend.trips[0]?.fail(undefined)
    await settle()
    expect(call).toMatchObject({ state: 'rejected', value: { applied: 'unknown' } })
  })

  it('goes on with the next trip after one that failed', async () => {
    const { backend, commit } = heldCommit()
    const first = watched(commit.call('a'))
    await settle()
    const second = commit.call('b')
    backend.trips[0]?.fail(new Error('once'))
    await settle()
    backend.trips[1]?.answer()
    expect(await second).toBe('B')
    expect(first.state).toBe('rejected')
  })

  it('takes what run throws at once for a failed trip, however many wait', async () => {
    const { commit, clock } = heldCommit({
      maxBatch: 1,
      run: () => {
        throw new Error('no driver')
      },
    })
    const calls = Array.from({ length: 8_000 }, (_, i) => watched(commit.call(`${i}`)))
    await settle()
    expect(calls.filter(({ state }) => state === 'rejected')).toHaveLength(8_000)
    expect(calls[7_999]?.value).toMatchObject({ applied: 'no', cause: { message: 'no driver' } })
    expect(clock.pending).toBe(0)
  }, 60_000)

  it.each([[[]], [['A']], [['A', 'B', 'C']], [undefined]])(
    'does not guess from %j replies to two requests, nor whether they took effect',
    async (replies) => {
      const { commit } = heldCommit({ run: async () => replies as readonly string[] })
      const calls = [watched(commit.call('a')), watched(commit.call('b'))]
      await settle()
      for (const call of calls) expect(call).toMatchObject({ state: 'rejected', value: { applied: 'unknown' } })
    },
  )

  it('starts nothing for a request whose lane cannot be told', async () => {
    const { backend, clock, commit } = heldCommit({
      lane: () => {
        throw new TypeError('no lane')
      },
    })
    await expect(commit.call('a')).rejects.toThrow('no lane')
    await settle()
    expect(backend.batches).toEqual([])
    expect(clock.pending).toBe(0)
    await commit.close()
  })

  it('starts nothing for a call whose signal is none', async () => {
    const { backend, commit } = heldCommit()
    await expect(commit.call('a', {} as AbortSignal)).rejects.toThrow(TypeError)
    await settle()
    expect(backend.batches).toEqual([])
    await commit.close()
  })

  it.each([
    ['timeoutMs', 0, RangeError],
    ['timeoutMs', Number.NaN, RangeError],
    ['timeoutMs', '5', TypeError],
    ['maxInFlight', 0, RangeError],
    ['maxInFlight', 1.5, RangeError],
    ['maxBatch', -3, RangeError],
    ['maxBatch', 'many', TypeError],
  ])('refuses %s %j at once', (name, value, kind) => {
    const options = { [name]: value } as Options
    expect(() => heldCommit(options)).toThrow(kind)
    expect(() => heldCommit(options)).toThrow(new RegExp(`${name}.*${String(value)}`))
  })
})
