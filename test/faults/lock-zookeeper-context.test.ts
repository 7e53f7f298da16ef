import { AsyncLocalStorage } from 'node:async_hooks'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { expect, it } from 'vitest'
import type { Lease } from '../../src/lock/index.js'
import { describeWithServices } from '../services/vitest.js'
import { until } from '../support/until.js'
import { held, key, outcomeOf, sessionTimeoutMs, setUp } from './lock-zookeeper-support.js'

setFlagsFromString('--expose-gc')
const collectGarbage = runInNewContext('gc') as () => void

interface Request {
  readonly name: string
}

describeWithServices('the async context of requests', ['zookeeper'], ({ zookeeper }) => {
  const server = zookeeper.servers[0] as string
  const context = new AsyncLocalStorage<Request>()

  it('is not kept by the connection, the session and the watches that a request has set up', async () => {
    const { proxy, lock, elsewhere, line } = await setUp(server)
    const collected = new Set<string>()
    const registry = new FinalizationRegistry<string>((name) => collected.add(name))
    const request = async <T>(name: string, work: () => Promise<T>): Promise<T> => {
      const store = { name }
      registry.register(store, name)
      return context.run(store, work)
    }
    // The first request opens the session, the second waits behind somebody, the third meets a lost connection.
    const lease = await request('opens', () => held(lock.tryAcquire('mine')))
    const theirs = await held(elsewhere.tryAcquire(key))
    const given = { maxWaitMs: 50 }
    await request('waits', () => lock.acquire(key, given).catch(() => undefined))
    const waiting = outcomeOf(lock.acquire(key))
    await until(async () => (await line()).length === 2)
    proxy.cut()
    await request('dials', async () => (await lock.tryAcquire('other'))?.release())
    await theirs.release()
    await until(() => waiting.settled)
    await until(() => {
      collectGarbage()
      return ['opens', 'waits', 'dials'].every((name) => collected.has(name))
    })
    expect(lease.signal.aborted).toBe(false)
    await (waiting.value as Lease).release()
    await lease.release()
  })

  it('is its own for each caller, whoever set the connection up', async () => {
    const { lock } = await setUp(server, { timeoutMs: 3_000 }, sessionTimeoutMs)
    const seen = await Promise.all(
      Array.from({ length: 20 }, async (_, number) =>
        context.run({ name: String(number) }, () => lock.run(key, async () => context.getStore()?.name)),
      ),
    )
    expect(seen).toEqual(Array.from({ length: 20 }, (_, number) => String(number)))
  })
})
