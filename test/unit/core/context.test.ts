import { AsyncLocalStorage } from 'node:async_hooks'
import { describe, expect, it } from 'vitest'
import { keepContext, outsideRequests } from '../../../src/core/context.js'
import { createGroupCommit } from '../../../src/core/group-commit.js'
import { sleep } from '../../../src/core/clock.js'
import { settle, virtualClock } from '../../support/virtual-clock.js'
import { heldBackend } from './held-backend.js'

const request = new AsyncLocalStorage<string>()

describe('async context', () => {
  it('is none outside requests, also for what is awaited and timed there', async () => {
    const seen: unknown[] = []
    await request.run('a', async () => {
      await outsideRequests(async () => {
        seen.push(request.getStore())
        await sleep(1)
        seen.push(request.getStore())
      })
      seen.push(request.getStore())
    })
    expect(seen).toEqual([undefined, undefined, 'a'])
  })

  it('is kept for what is told later', () => {
    const tell = request.run('a', () => keepContext((text: string) => [text, request.getStore()]))
    expect(outsideRequests(() => tell('x'))).toEqual(['x', 'a'])
  })

  it('of a trip is that of no call, and of a continuation its own', async () => {
    const stores: unknown[] = []
    const note = (): void => void stores.push(request.getStore())
    const clock = virtualClock()
    const backend = heldBackend()
    const commit = createGroupCommit<string, string>({
      module: 'test',
      verb: 'ask',
      clock,
      onUnwanted: note,
      async run(requests, trip) {
        note()
        const replies = await backend.sent(requests, trip)
        note()
        return replies
      },
    })
    const ask = (name: string): Promise<unknown[]> =>
      request.run(name, async () => [await commit.call(name).catch(() => 'late'), request.getStore()])
    const first = ask('a')
    await clock.advance(600)
    const second = ask('b')
    // The first call times out, so the second trip is sent from a timer; the third is sent when the second is answered.
    await clock.advance(600)
    const third = ask('c')
    await settle()
    backend.trips[1]?.answer()
    await settle()
    backend.trips[2]?.answer()
    backend.trips[0]?.answer()
    expect(await Promise.all([first, second, third])).toEqual([['late', 'a'], ['B', 'b'], ['C', 'c']]) // prettier-ignore
    await settle()
    expect(backend.batches).toEqual([['a'], ['b'], ['c']])
    expect(stores, 'twice in each trip, and once for what came too late').toEqual(new Array(7).fill(undefined))
  })

  it('of a trip that an abort makes room for is none either', async () => {
    const stores: unknown[] = []
    const commit = createGroupCommit<number, number>({
      module: 'test',
      verb: 'ask',
      run: async (requests) => {
        stores.push(request.getStore())
        await sleep(requests[0] === 0 ? 10_000 : 1)
        return requests
      },
      timeoutMs: 30_000,
    })
    const leaving = new AbortController()
    const left = request.run('first', () => commit.call(0, leaving.signal)).catch(() => 'left')
    await sleep(1)
    const second = request.run('second', () => commit.call(1))
    request.run('leaver', () => leaving.abort())
    expect(await Promise.all([left, second])).toEqual(['left', 1])
    expect(stores).toEqual([undefined, undefined])
  })
})
