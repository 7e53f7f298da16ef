import { channel, subscribe, unsubscribe } from 'node:diagnostics_channel'
import { describe, expect, it, onTestFinished, vi } from 'vitest'
import { channels } from '../../../src/core/diagnostics.js'
import { createGroupCommit, type Trip } from '../../../src/core/group-commit.js'
import { settle, virtualClock } from '../../support/virtual-clock.js'
import { heldBackend, watched } from './held-backend.js'

const listen = (name: string): object[] => {
  const events: object[] = []
  const note = (event: unknown): void => void events.push(event as object)
  subscribe(name, note)
  onTestFinished(() => void unsubscribe(name, note))
  return events
}

const setUp = (run?: (requests: readonly string[], trip: Trip) => Promise<readonly string[]>) => {
  const clock = virtualClock(0)
  const backend = heldBackend()
  const commit = createGroupCommit<string, string>({
    module: 'shop',
    name: 'noon',
    verb: 'sell',
    run: run ?? backend.sent,
    clock,
    timeoutMs: 100,
  })
  return { clock, backend, commit }
}

/** A driver whose connection is away. */
function awayUntilAborted(trip: Trip, why: Error): Promise<never> {
  trip.blames?.(() => why)
  return new Promise((_, reject) => {
    trip.signal.addEventListener('abort', () => reject(trip.signal.reason as Error))
  })
}

describe('spillway:trip', () => {
  it('tells of a trip that went well', async () => {
    const events = listen('spillway:trip')
    const { clock, backend, commit } = setUp()
    const calls = Promise.all([commit.call('a'), commit.call('b')])
    await clock.advance(30)
    expect(events).toEqual([])
    backend.trips[0]?.answer()
    await calls
    await settle()
    expect(events).toEqual([
      { module: 'shop', name: 'noon', verb: 'sell', calls: 2, durationMs: 30, outcome: 'answered' },
    ])
  })

  it('tells why a trip failed, and not of one that was called back', async () => {
    const events = listen('spillway:trip')
    const { clock, backend, commit } = setUp(async (requests, trip) => {
      await new Promise<void>((resolve) => void clock.after(10, resolve))
      return backend.sent(requests, trip) as Promise<readonly string[]>
    })
    const controller = new AbortController()
    const calls = Promise.allSettled([commit.call('a'), commit.call('b', controller.signal)])
    await clock.advance(5)
    controller.abort()
    await clock.advance(20)
    expect(backend.batches).toEqual([['a']])
    const error = new Error('connection lost')
    backend.trips[0]?.fail(error)
    await calls
    await settle()
    expect(events).toEqual([
      { module: 'shop', name: 'noon', verb: 'sell', calls: 1, durationMs: 15, outcome: 'failed', error },
    ])
  })

  const trip = { module: 'shop', name: 'noon', verb: 'sell' }

  it('tells of a trip that nobody waits for any more when its calls have timed out, and not once more', async () => {
    for (const lands of ['answer', 'fail'] as const) {
      const events = listen('spillway:trip')
      const { clock, backend, commit } = setUp()
      const calls = ['a', 'b'].map((one) => watched(commit.call(one)))
      await clock.advance(100)
      const error = calls[1]?.value
      expect(error).toMatchObject({ code: 'ERR_STORE_UNAVAILABLE', applied: 'unknown' })
      const failed = [{ ...trip, calls: 2, durationMs: 100, outcome: 'failed', error }]
      expect(events).toEqual(failed)
      backend.trips[0]?.[lands](undefined)
      await clock.advance(1_000)
      expect(events).toEqual(failed)
    }
  })

  it('tells of it with what the driver knows of why no answer comes', async () => {
    const events = listen('spillway:trip')
    const why = new Error('the client is not ready')
    const { clock, commit } = setUp((_, trip) => awayUntilAborted(trip, why))
    const call = watched(commit.call('a'))
    await clock.advance(100)
    expect(call.value).toMatchObject({ applied: 'no', cause: why })
    expect(events).toEqual([{ ...trip, calls: 1, durationMs: 100, outcome: 'failed', error: call.value }])
  })

  it('does not end with a call that was given up while another is waited for', async () => {
    const events = listen('spillway:trip')
    const { clock, backend, commit } = setUp()
    const controller = new AbortController()
    const [first, other] = [watched(commit.call('a', controller.signal)), watched(commit.call('b'))]
    await clock.advance(50)
    controller.abort()
    await settle()
    expect([first.state, events.length]).toEqual(['rejected', 0])
    backend.trips[0]?.answer()
    await settle()
    expect(other.value).toBe('B')
    expect(events).toMatchObject([{ outcome: 'answered', calls: 2 }])
  })

  it('whose callers have aborted ends when it lands', async () => {
    const events = listen('spillway:trip')
    const { clock, backend, commit } = setUp()
    const controller = new AbortController()
    const call = watched(commit.call('a', controller.signal))
    await clock.advance(20)
    controller.abort()
    await clock.advance(50)
    expect([call.state, events.length]).toEqual(['rejected', 0])
    backend.trips[0]?.answer()
    await clock.advance(1_000)
    expect(events).toEqual([{ ...trip, calls: 1, durationMs: 70, outcome: 'answered' }])
  })

  it('whose callers have aborted failed if it has not landed within the time that they had', async () => {
    const events = listen('spillway:trip')
    const { clock, backend, commit } = setUp()
    const controller = new AbortController()
    const call = watched(commit.call('a', controller.signal))
    await clock.advance(20)
    controller.abort()
    await clock.advance(79)
    expect([call.state, events.length]).toEqual(['rejected', 0])
    await clock.advance(1)
    const message = 'shop: sell had no answer within 100 ms'
    const error = expect.objectContaining({ code: 'ERR_STORE_UNAVAILABLE', applied: 'unknown', message }) as object
    const failed = [{ ...trip, calls: 1, durationMs: 100, outcome: 'failed', error }]
    expect(events).toEqual(failed)
    backend.trips[0]?.answer()
    await clock.advance(1_000)
    expect(events).toEqual(failed)
  })

  it('whose callers have aborted before it was sent tells what the driver knows', async () => {
    const events = listen('spillway:trip')
    const cause = new Error('the client is not ready')
    const { clock, commit } = setUp((_, trip) => awayUntilAborted(trip, cause))
    const controller = new AbortController()
    const call = watched(commit.call('a', controller.signal))
    await clock.advance(20)
    controller.abort()
    await settle()
    expect(call.state).toBe('rejected')
    const error = expect.objectContaining({ code: 'ERR_STORE_UNAVAILABLE', applied: 'no', cause }) as object
    expect(events).toEqual([{ ...trip, calls: 1, durationMs: 20, outcome: 'failed', error }])
  })

  it('builds nothing while nobody listens', async () => {
    const publish = vi.spyOn(channel('spillway:trip'), 'publish')
    onTestFinished(() => publish.mockRestore())
    expect(channels.trip.hasSubscribers).toBe(false)
    const { backend, commit } = setUp()
    const call = commit.call('a')
    await settle()
    backend.trips[0]?.answer()
    await call
    await settle()
    expect(publish).not.toHaveBeenCalled()
  })
})

it('names its channels as node knows them', () => {
  expect(channels.trip).toBe(channel('spillway:trip'))
  expect(channels.queueMessage).toBe(channel('spillway:queue.message'))
})
