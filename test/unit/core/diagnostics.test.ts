import { channel, subscribe, unsubscribe } from 'node:diagnostics_channel'
import { describe, expect, it, onTestFinished, vi } from 'vitest'
import { channels } from '../../../src/core/diagnostics.js'
import { createGroupCommit, type Trip } from '../../../src/core/group-commit.js'
import { settle, virtualClock } from '../../support/virtual-clock.js'
import { heldBackend } from './held-backend.js'

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
