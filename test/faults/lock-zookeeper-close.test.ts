import { expect, it, onTestFinished } from 'vitest'
import { ClosedError, LockLostError } from '../../src/core/errors.js'
import { createLock, createReadWriteLock, createSemaphore, type Lease } from '../../src/lock/index.js'
import { zookeeperLock } from '../../src/lock/zookeeper/index.js'
import { describeWithServices, uniqueName } from '../services/vitest.js'
import { until } from '../support/until.js'
import { openTree } from '../support/zookeeper-tree.js'
import { outcomeOf, sessionTimeoutMs } from './lock-zookeeper-support.js'

const options = { timeoutMs: 30_000 }

describeWithServices('a zookeeperLock that is closed', ['zookeeper'], ({ zookeeper }) => {
  const server = zookeeper.servers[0] as string

  const setUp = async () => {
    const path = `/${uniqueName('close')}`
    const tree = await openTree(server)
    const [driver, other] = [0, 1].map(() => zookeeperLock({ servers: server, path, sessionTimeoutMs }))
    onTestFinished(async () => {
      await driver?.[Symbol.asyncDispose]()
      await other?.[Symbol.asyncDispose]()
      await tree[Symbol.asyncDispose]()
    })
    return { path, tree, driver: driver as NonNullable<typeof driver>, elsewhere: createLock(other as never, options) }
  }

  it.each([
    ['by its lock', 'lock'],
    ['under its locks', 'driver'],
  ])('%s, tells the holders before their keys are granted to others', async (_, closes) => {
    const { driver, elsewhere, tree, path } = await setUp()
    const [lock, readers, semaphore] = [
      createLock(driver, options),
      createReadWriteLock(driver, options),
      createSemaphore(driver, { ...options, permits: 2 }),
    ]
    const leases = [await lock.acquire('key'), await readers.write.acquire('key'), await semaphore.acquire('key')]
    let abortedFirst: boolean | undefined
    const body = outcomeOf(
      lock.run('run', async ({ signal }) => {
        await new Promise((resolve) => signal.addEventListener('abort', resolve))
      }),
    )
    const waiting = outcomeOf(lock.acquire('key'))
    const theirs = await elsewhere.acquire('theirs')
    const behind = outcomeOf(lock.acquire('theirs'))
    const next = outcomeOf(elsewhere.run('key', async () => void (abortedFirst = leases[0]?.signal.aborted)))
    await until(async () => (await tree.children(`${path}/key`))?.length === 2)
    await until(async () => (await tree.children(`${path}/theirs`))?.length === 2)
    const calls = [lock.tryAcquire('under way'), lock.acquire('under way too')].map(outcomeOf)
    const closed =
      closes === 'lock' ? [lock, readers, semaphore].map((each) => each.close()) : [driver[Symbol.asyncDispose]()]
    for (const { signal } of leases) expect(signal.reason).toBeInstanceOf(LockLostError)
    await Promise.all(closed)
    await until(() => [body, waiting, behind, next, ...calls].every(({ settled }) => settled))
    expect(abortedFirst, 'the signal, when the next holder began').toBe(true)
    for (const { error } of [waiting, behind]) expect(error).toBeInstanceOf(ClosedError)
    for (const { error, value } of calls) {
      if (value) expect((value as Lease).signal.aborted).toBe(true)
      else expect(error).toBeInstanceOf(ClosedError)
    }
    for (const lease of leases) expect(await lease.release()).toBe(false)
    await theirs.release()
    await elsewhere.close()
    await until(async () => (await tree.below(path)).filter((node) => /-\d{10}$|__\d{10}$/.test(node)).length === 0)
  })
})
