import { createRequire } from 'node:module'
import { afterEach, describe, expect, it, vi } from 'vitest'
import { stopIdleTimerLoop } from '../../../../src/queue/kafka/timer-loop.js'

interface RequestQueue {
  pending: unknown[]
  throttledUntil: number
  scheduleCheckPendingRequests(): void
  destroy(): void
}
type RequestQueueClass = new (options: object) => RequestQueue

const load = createRequire(import.meta.url)
const path = load.resolve('kafkajs/src/network/requestQueue/index.js')

function delays(Queue: RequestQueueClass, change: (queue: RequestQueue) => void = () => undefined): unknown[] {
  const timer = vi.spyOn(globalThis, 'setTimeout').mockReturnValue(1 as never)
  const queue = new Queue({ logger: {} })
  change(queue)
  queue.scheduleCheckPendingRequests()
  return timer.mock.calls.map(([, delay]) => delay)
}

describe('the timer loop of kafkajs', () => {
  afterEach(() => void vi.restoreAllMocks())

  it('spins when nothing waits, without the guard', () => {
    // The class as it is on disk, whatever has been done to the one in use.
    const inUse = load.cache[path]
    delete load.cache[path]
    const Untouched = load(path) as RequestQueueClass
    if (inUse) load.cache[path] = inUse
    else delete load.cache[path]
    expect(delays(Untouched)[0]).toBeLessThan(0)
  })

  it('is still with it, and checks what waits or is throttled', () => {
    stopIdleTimerLoop()
    const Guarded = load(path) as RequestQueueClass
    expect(delays(Guarded)).toEqual([])
    expect(delays(Guarded, (queue) => queue.pending.push({}))).toEqual([10])
    vi.restoreAllMocks()
    expect(delays(Guarded, (queue) => (queue.throttledUntil = Date.now() + 60_000))[0]).toBeGreaterThan(0)
    vi.restoreAllMocks()
    expect(delays(Guarded, (queue) => (queue.throttledUntil = Date.now() - 1))).toEqual([])
  })
})
