import { expect, it, onTestFinished } from 'vitest'
import { StoreUnavailableError } from '../../src/core/errors.js'
import { createLock, type LockOptions } from '../../src/lock/index.js'
import { zookeeperLock } from '../../src/lock/zookeeper/index.js'
import { parseAddress } from '../services/address.js'
import { sleep } from '../services/net.js'
import { describeWithServices, uniqueName } from '../services/vitest.js'
import { startProxy } from '../support/proxy.js'
import { until } from '../support/until.js'
import { openTree } from '../support/zookeeper-tree.js'

const calls = 20_000
const sessionTimeoutMs = 10_000
const each = <T>(make: (number: number) => T): T[] => Array.from({ length: calls }, (_, number) => make(number))

describeWithServices('a herd of 20,000 calls', ['zookeeper'], ({ zookeeper }) => {
  const server = zookeeper.servers[0] as string

  const setUp = async (options: LockOptions = { timeoutMs: 120_000 }) => {
    const path = `/${uniqueName('herd')}`
    const proxy = await startProxy(parseAddress(server))
    const driver = zookeeperLock({ servers: proxy.address, path, sessionTimeoutMs })
    const lock = createLock(driver, options)
    await createLock(driver, { timeoutMs: 30_000 }).run('connects', async () => undefined)
    onTestFinished(async () => {
      await lock.close()
      await driver[Symbol.asyncDispose]()
      await proxy.stop()
    })
    const before = proxy.counters.bytesUp
    return { path, lock, sent: () => proxy.counters.bytesUp - before }
  }

  it('on one key grants one, refuses the others together, and sends little', async () => {
    const { lock, sent } = await setUp()
    const leases = await Promise.all(each(() => lock.tryAcquire('key')))
    expect(leases.filter((lease) => lease !== null)).toHaveLength(1)
    expect(sent(), 'bytes, where a try of each would be about 8,000,000').toBeLessThan(100_000)
    await leases.find((lease) => lease !== null)?.release()
  })

  it('on one key that somebody else holds refuses them together', async () => {
    const { path, lock, sent } = await setUp()
    await using driver = zookeeperLock({ servers: server, path, sessionTimeoutMs })
    await using elsewhere = createLock(driver, { timeoutMs: 30_000 })
    await using _lease = await elsewhere.acquire('key')
    expect(new Set(await Promise.all(each(() => lock.tryAcquire('key'))))).toEqual(new Set([null]))
    expect(sent()).toBeLessThan(100_000)
  })

  it('on one key serves all who wait, in their order', async () => {
    const { lock, sent } = await setUp({ timeoutMs: 120_000, localHandovers: 999 })
    const order: number[] = []
    await Promise.all(each((number) => lock.run('key', async () => void order.push(number))))
    expect(order).toEqual(each((number) => number))
    expect(sent()).toBeLessThan(100_000)
  })

  it('on as many keys serves all of them', { timeout: 900_000 }, async () => {
    const { lock, sent } = await setUp({ timeoutMs: 900_000 })
    let served = 0
    await Promise.all(each((number) => lock.run(`key-${number}`, async () => void served++)))
    expect(served).toBe(calls)
    expect(sent() / calls, 'bytes for each').toBeLessThan(2_000)
  })

  it('leaves many holds, whose renewals ask nothing as long as nothing happens', async () => {
    const { lock, sent } = await setUp()
    const held = 1_000
    const leases = await Promise.all(Array.from({ length: held }, (_, number) => lock.acquire(`key-${number}`)))
    const renewalMs = sessionTimeoutMs / 3
    await sleep(2 * renewalMs)
    const before = sent()
    await sleep(2 * renewalMs)
    expect((sent() - before) / held, 'bytes for each').toBeLessThan(10)
    expect(leases.filter(({ signal }) => signal.aborted)).toEqual([])
    const released = await Promise.all(leases.map((lease) => lease.release()))
    expect(released.every(Boolean)).toBe(true)
  })

  it('that is too much for its time-out sends nothing for those who have given up', { timeout: 600_000 }, async () => {
    const { path, lock } = await setUp({ timeoutMs: 500 })
    await using tree = await openTree(server)
    const outcomes = await Promise.allSettled(each((number) => lock.tryAcquire(`key-${number}`)))
    const failures = outcomes.flatMap((outcome) => (outcome.status === 'rejected' ? [outcome.reason as unknown] : []))
    const unknown = failures.filter((error) => (error as StoreUnavailableError).applied === 'unknown')
    expect(failures.every((error) => error instanceof StoreUnavailableError)).toBe(true)
    expect(failures.length, 'that it was too much').toBeGreaterThan(1_000)
    // 500 are under way at once. Where one is answered while the others give up one after the other, the next begins.
    expect(unknown.length, 'those that were under way').toBeLessThanOrEqual(2 * 500)
    const leases = outcomes.flatMap((outcome) =>
      outcome.status === 'fulfilled' && outcome.value ? [outcome.value] : [],
    )
    await Promise.allSettled(leases.map((lease) => lease.release()))
    await lock.close()
    await until(async () => (await tree.below(path)).length === 0)
  })
})
