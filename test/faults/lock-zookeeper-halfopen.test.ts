import { expect, it } from 'vitest'
import { StoreUnavailableError } from '../../src/core/errors.js'
import type { Lease } from '../../src/lock/index.js'
import { describeWithServices } from '../services/vitest.js'
import { until } from '../support/until.js'
import { held, key, outcomeOf, setUp } from './lock-zookeeper-support.js'

const longSessionMs = 20_000

describeWithServices('a connection that died without a word', ['zookeeper'], ({ zookeeper }) => {
  const server = zookeeper.servers[0] as string

  it('is replaced within a few time-outs of a call, with the holds and the places in line', async () => {
    const { path, tree, proxy, lock, connecting, elsewhere } = await setUp(server, { timeoutMs: 1_000 }, longSessionMs)
    const lease = await held(connecting.tryAcquire('mine'))
    const theirs = await held(elsewhere.tryAcquire(key))
    const waiting = outcomeOf(connecting.acquire(key))
    await until(async () => (await tree.watches(path)) >= 1)
    // The server keeps the watch; its answer is here when another question has been answered.
    await (await held(connecting.tryAcquire('another'))).release()
    const connections = proxy.counters.connections
    expect(proxy.strand()).toBe(1)
    let failures = 0
    for (let done = false; !done;) {
      try {
        const other = await lock.tryAcquire('other')
        done = (await other?.release()) === true
      } catch (error) {
        expect(error).toBeInstanceOf(StoreUnavailableError)
        failures++
      }
    }
    // The first call may last until there is a new one, on a machine that gives it back the time that was not its own.
    expect(proxy.counters.connections, 'there is a new connection').toBeGreaterThan(connections)
    expect(failures, 'of a second each').toBeLessThan(8)
    expect(lease.signal.aborted).toBe(false)
    expect(await lease.release()).toBe(true)
    expect(waiting.settled).toBe(false)
    await theirs.release()
    await until(() => waiting.settled)
    expect(await (waiting.value as Lease).release()).toBe(true)
  })

  it('is replaced though nobody calls, before the holds are lost', async () => {
    const { proxy, connecting } = await setUp(server, { timeoutMs: 1_000 }, longSessionMs)
    const lease = await held(connecting.tryAcquire(key))
    for (let round = 1; round <= 2; round++) {
      expect(proxy.strand()).toBeGreaterThan(0)
      await until(() => proxy.counters.connections >= 1 + round)
    }
    expect(lease.signal.aborted).toBe(false)
    expect(await lease.release()).toBe(true)
  })

  it('does not keep a close waiting, nor the key taken', async () => {
    const { proxy, lock, elsewhere } = await setUp(server, { timeoutMs: 1_000 }, longSessionMs)
    await until(() => lock.tryAcquire(key))
    expect(proxy.strand()).toBe(1)
    const closed = outcomeOf(lock.close())
    const next = outcomeOf(elsewhere.acquire(key))
    await until(() => closed.settled && next.settled)
    expect(closed.error).toBeUndefined()
    await (next.value as Lease).release()
  })
})
