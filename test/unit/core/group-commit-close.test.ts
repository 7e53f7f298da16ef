import { describe, expect, it } from 'vitest'
import { ClosedError } from '../../../src/core/errors.js'
import { settle } from '../../support/virtual-clock.js'
import { heldCommit, watched } from './held-backend.js'

describe('close', () => {
  it('waits for the trip under way and for the calls that wait, and turns new ones away', async () => {
    const { backend, commit } = heldCommit()
    const first = watched(commit.call('a'))
    await settle()
    const second = watched(commit.call('b'))
    const closed = [watched(commit.close()), watched(commit.close())]
    await expect(commit.call('c')).rejects.toBeInstanceOf(ClosedError)
    backend.trips[0]?.answer()
    await settle()
    expect(closed.map(({ state }) => state)).toEqual(['pending', 'pending'])
    backend.trips[1]?.answer()
    await settle()
    expect([first.value, second.value]).toEqual(['A', 'B'])
    expect(closed.map(({ state }) => state)).toEqual(['resolved', 'resolved'])
    expect(backend.batches).toEqual([['a'], ['b']])
  })

  it('waits for calls of the same turn', async () => {
    const { backend, commit } = heldCommit()
    const call = watched(commit.call('a'))
    const closed = watched(commit.close())
    await settle()
    expect([call.state, closed.state]).toEqual(['pending', 'pending'])
    backend.trips[0]?.answer()
    await settle()
    expect([call.state, closed.state]).toEqual(['resolved', 'resolved'])
  })

  it('waits no longer than the time-out', async () => {
    const { clock, commit } = heldCommit({ lane: (request) => request })
    const calls = [watched(commit.call('a')), watched(commit.call('b'))]
    const closed = watched(commit.close())
    await clock.advance(999)
    expect(closed.state).toBe('pending')
    await clock.advance(1)
    expect(closed.state).toBe('resolved')
    expect(calls.every(({ state }) => state === 'rejected')).toBe(true)
    expect(clock.pending).toBe(0)
  })

  it('waits for every lane', async () => {
    const { backend, commit } = heldCommit({ lane: (request) => request })
    const calls = [watched(commit.call('a')), watched(commit.call('b'))]
    const closed = watched(commit.close())
    await settle()
    backend.trips[0]?.answer()
    await settle()
    expect([...calls, closed].map(({ state }) => state)).toEqual(['resolved', 'pending', 'pending'])
    backend.trips[1]?.answer()
    await settle()
    expect(closed.state).toBe('resolved')
  })

  it('is done at once when idle, and when the last call was aborted', async () => {
    const idle = heldCommit()
    await idle.commit.close()
    await idle.commit.close()
    const { commit } = heldCommit()
    const controller = new AbortController()
    const call = watched(commit.call('a', controller.signal))
    const closed = watched(commit.close())
    controller.abort()
    await settle()
    expect([call.state, closed.state]).toEqual(['rejected', 'resolved'])
  })
})
