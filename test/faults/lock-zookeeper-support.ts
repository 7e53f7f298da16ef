import { expect, onTestFinished } from 'vitest'
import { createLock, type Lease, type LockOptions } from '../../src/lock/index.js'
import { zookeeperLock } from '../../src/lock/zookeeper/index.js'
import { parseAddress } from '../services/address.js'
import { uniqueName } from '../services/vitest.js'
import { startProxy } from '../support/proxy.js'
import { until } from '../support/until.js'
import { openTree } from '../support/zookeeper-tree.js'

export const sessionTimeoutMs = 10_000
export const key = 'order-7'
/** Longer than a busy machine holds a process up. */
export const patient = { timeoutMs: 3_000 }

/** What became of a call, as soon as that is known. */
export const outcomeOf = (call: Promise<unknown>) => {
  const outcome: { settled: boolean; error?: unknown; value?: unknown; atMs?: number } = { settled: false }
  const settle = (more: object): void => void Object.assign(outcome, more, { settled: true, atMs: performance.now() })
  call.then(
    (value) => settle({ value }),
    (error: unknown) => settle({ error }),
  )
  return outcome
}

export const held = async (lease: Promise<Lease | null>): Promise<Lease> => {
  const got = await lease
  expect(got).not.toBeNull()
  return got as Lease
}

/** Locks of two drivers on one tree: one behind a proxy, one with a connection that no fault touches. */
export const setUp = async (server: string, options: LockOptions = patient, sessionMs = sessionTimeoutMs) => {
  const path = `/${uniqueName('faults')}`
  const proxy = await startProxy(parseAddress(server))
  const tree = await openTree(server)
  const drivers = [proxy.address, server].map((servers) =>
    zookeeperLock({ servers, path, sessionTimeoutMs: sessionMs }),
  )
  const [driver, direct] = drivers as [(typeof drivers)[0], (typeof drivers)[0]]
  const lock = createLock(driver, options)
  /** Over the driver behind the proxy, too, for calls that are to succeed. */
  const connecting = createLock(driver, { timeoutMs: 30_000 })
  const elsewhere = createLock(direct, { timeoutMs: 30_000 })
  onTestFinished(async () => {
    proxy.thaw()
    proxy.dropReplies(false)
    await proxy.accept()
    await Promise.all([lock, connecting, elsewhere].map((each) => each.close()))
    await Promise.all(drivers.map((each) => each[Symbol.asyncDispose]()))
    await until(async () => (await tree.below(path)).length === 0)
    await proxy.stop()
    await tree[Symbol.asyncDispose]()
  })
  const folder = `${path}/${key}`
  const line = async (): Promise<string[]> => (await tree.children(folder)) ?? []
  /** The driver behind the proxy has a connection after this. */
  const connect = (): Promise<void> => connecting.run('connects', async () => undefined)
  return { path, folder, proxy, tree, driver, direct, lock, connecting, elsewhere, line, connect }
}
