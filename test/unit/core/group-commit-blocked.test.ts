import { describe, expect, it } from 'vitest'
import { blockableClock, settle } from '../../support/virtual-clock.js'
import { heldBackend, heldCommit, watched } from './held-backend.js'
import { createGroupCommit } from '../../../src/core/group-commit.js'

const setUp = () => {
  const clock = blockableClock()
  const backend = heldBackend()
  const commit = createGroupCommit<string, string>({ module: 'test', verb: 'try', run: backend.sent, clock })
  return { clock, backend, commit }
}

describe('a loop that was blocked', () => {
  it('takes what arrived meanwhile, and what is sent after it', async () => {
    const { clock, backend, commit } = setUp()
    const first = watched(commit.call('a'))
    await settle()
    const second = watched(commit.call('b'))
    clock.block(1_500)
    await clock.advance(1_000)
    expect([first.state, second.state], 'the timer fired, 1,500 ms late').toEqual(['pending', 'pending'])
    backend.trips[0]?.answer()
    await settle()
    backend.trips[1]?.answer()
    await settle()
    expect([first.value, second.value]).toEqual(['A', 'B'])
    expect(clock.pending).toBe(0)
  })

  it.each([
    ['as much time as was lost', 400, 400],
    ['one time-out at most', 60_000, 1_000],
  ])('gives %s back, once', async (_, blockedMs, givenMs) => {
    const { clock, commit } = setUp()
    const call = watched(commit.call('a'))
    await settle()
    clock.block(blockedMs)
    await clock.advance(1_000)
    await clock.advance(givenMs - 1)
    expect(call.state).toBe('pending')
    clock.block(500)
    await clock.advance(1)
    expect(call).toMatchObject({ state: 'rejected', value: { applied: 'unknown' } })
  })

  it('does not use up the time of calls that it made and had no chance to send', async () => {
    const { clock, backend, commit } = setUp()
    const calls = ['a', 'b'].map((name) => {
      const call = watched(commit.call(name))
      clock.block(5_000)
      return call
    })
    await settle()
    await clock.advance(999)
    expect(backend.batches).toEqual([['a', 'b']])
    expect(calls.map(({ state }) => state)).toEqual(['pending', 'pending'])
    await clock.advance(1)
    expect(calls.map(({ state }) => state)).toEqual(['rejected', 'rejected'])
  })
})

it('gives a call its time-out although it is sent in the tick in which it is made', async () => {
  const { backend, clock, commit } = heldCommit()
  const first = watched(commit.call('a'))
  await settle()
  // The call is made right before the trip under way is answered, so that the next one leaves with it at once.
  backend.trips[0]?.answer()
  const second = watched(commit.call('b'))
  await settle()
  expect(backend.batches).toEqual([['a'], ['b']])
  await clock.advance(1_000)
  expect([first.state, second.state]).toEqual(['resolved', 'rejected'])
})
