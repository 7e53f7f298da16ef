import zookeeper from 'node-zookeeper-client'
import { describe, expect, it, onTestFinished } from 'vitest'
import { createLock, createReadWriteLock, createSemaphore, type Lease } from '../../src/lock/index.js'
import { zookeeperLock } from '../../src/lock/zookeeper/index.js'
import { sleep } from '../services/net.js'
import { describeWithServices, uniqueName } from '../services/vitest.js'
import { until } from '../support/until.js'
import { anyone, openTree } from '../support/zookeeper-tree.js'
import { held, outcomeOf, sessionTimeoutMs } from './lock-zookeeper-support.js'

const options = { timeoutMs: 30_000 }
const notApplied = (message: RegExp) => ({
  name: 'StoreUnavailableError',
  applied: 'no',
  message: expect.stringMatching(message) as string,
})

describeWithServices('a tree that strangers use', ['zookeeper'], ({ zookeeper: service }) => {
  const server = service.servers[0] as string

  const setUp = async (sessionMs = sessionTimeoutMs) => {
    const path = `/${uniqueName('strangers')}`
    const tree = await openTree(server)
    await tree.create(path)
    const driver = zookeeperLock({ servers: server, path, sessionTimeoutMs: sessionMs })
    onTestFinished(async () => {
      await driver[Symbol.asyncDispose]()
      for (const node of (await tree.below(path)).reverse()) await tree.remove(node)
      await tree[Symbol.asyncDispose]()
    })
    return { path, tree, driver, lock: createLock(driver, options) }
  }

  it('says which right is missing to create a folder, and that nothing was applied', async () => {
    const { path, tree, driver, lock } = await setUp()
    await using held = await lock.acquire('held')
    const ownerOf = async (key: string) => tree.owner(`${path}/${key}/${(await tree.children(`${path}/${key}`))?.[0]}`)
    const owner = await ownerOf('held')
    await tree.setAcl(path, anyone('READ', 'DELETE', 'ADMIN'))
    const refusal = notApplied(/ZooKeeper does not create .*\/key: NO_AUTH/)
    const semaphore = createSemaphore(driver, { ...options, permits: 2 })
    await Promise.all(
      [lock.tryAcquire('key'), lock.acquire('key'), lock.run('key', async () => undefined)].map((call) =>
        expect(call).rejects.toMatchObject(refusal),
      ),
    )
    await expect(semaphore.acquire('key')).rejects.toMatchObject(notApplied(/NO_AUTH/))
    await tree.setAcl(path, anyone('ALL'))
    const lease = await lock.acquire('key')
    expect(held.signal.aborted).toBe(false)
    expect(await ownerOf('key'), 'the session is the same').toBe(owner)
    await lease.release()
  })

  it('says which right is missing to list a folder, and leaves nothing there', async () => {
    const { path, tree, lock } = await setUp()
    await tree.create(`${path}/key`, { acl: anyone('CREATE', 'DELETE', 'ADMIN') })
    await Promise.all(
      [lock.tryAcquire('key'), lock.acquire('key')].map((call) =>
        expect(call).rejects.toMatchObject(notApplied(/ZooKeeper does not list .*\/key: NO_AUTH/)),
      ),
    )
    await tree.setAcl(`${path}/key`, anyone('ALL'))
    expect(await tree.children(`${path}/key`)).toEqual([])
  })

  it('says which right is missing to release, and frees the key when there is the right again', async () => {
    const { path, tree, lock } = await setUp()
    const lease = await lock.acquire('key')
    await tree.setAcl(`${path}/key`, anyone('READ', 'CREATE', 'ADMIN'))
    await expect(lease.release()).rejects.toMatchObject(notApplied(/ZooKeeper does not remove .*: NO_AUTH/))
    expect(await tree.children(`${path}/key`)).toHaveLength(1)
    const next = outcomeOf(lock.acquire('key'))
    await sleep(1_500)
    expect(next.settled).toBe(false)
    await tree.setAcl(`${path}/key`, anyone('ALL'))
    await until(() => next.settled)
    expect(await (next.value as Lease).release()).toBe(true)
  })

  it('frees what it may not remove when the last lock over the driver is closed', async () => {
    const { path, tree, lock } = await setUp()
    const lease = await lock.acquire('key')
    await tree.setAcl(`${path}/key`, anyone('READ', 'CREATE', 'ADMIN'))
    await expect(lease.release()).rejects.toMatchObject(notApplied(/NO_AUTH/))
    await lock.close()
    expect(await tree.children(`${path}/key`)).toEqual([])
    await tree.setAcl(`${path}/key`, anyone('ALL'))
  })

  it('says that the folder of a key is an ephemeral node of somebody else', async () => {
    const { path, tree, lock } = await setUp()
    await tree.create(`${path}/key`, { mode: zookeeper.CreateMode.EPHEMERAL })
    await Promise.all(
      [lock.tryAcquire('key'), lock.acquire('key'), lock.tryAcquire('key/below')].map((call) =>
        expect(call).rejects.toMatchObject(notApplied(/NO_CHILDREN_FOR_EPHEMERALS/)),
      ),
    )
    await lock.run('other', async () => undefined)
  })

  describe('a persistent node in the line of a key', () => {
    const stuck = notApplied(/stands in the line of the lock, but it is a persistent node/)
    const name = 'lock-0000000000'

    it.each([name, `_c_8d3b2b0e-5d6c-4f0f-8b52-111111111111-${name}`])(
      'is an error at once for a mutex, and not an endless wait: %s',
      async (name) => {
        const { path, tree, lock } = await setUp()
        await tree.create(`${path}/key`)
        await tree.create(`${path}/key/${name}`)
        for (let round = 0; round < 2; round++) {
          await expect(lock.tryAcquire('key')).rejects.toMatchObject(stuck)
          await expect(lock.acquire('key')).rejects.toMatchObject(stuck)
        }
        expect(await tree.children(`${path}/key`), 'nothing of ours').toEqual([name])
        expect(await tree.watches(path)).toBeLessThan(3)
        await tree.remove(`${path}/key/${name}`)
        await lock.run('key', async () => undefined)
      },
    )

    it('is one behind the waiters of others, too', async () => {
      const { path, tree, lock } = await setUp()
      await tree.create(`${path}/key`)
      await tree.create(`${path}/key/${name}`)
      await tree.create(`${path}/key/_c_curator-lock-`, { mode: zookeeper.CreateMode.EPHEMERAL_SEQUENTIAL })
      await expect(lock.acquire('key')).rejects.toMatchObject(stuck)
      await expect(lock.tryAcquire('key')).rejects.toMatchObject(stuck)
    })

    it('is one for readers, writers and semaphores', async () => {
      const { path, tree, driver } = await setUp()
      const semaphore = createSemaphore(driver, { ...options, permits: 2 })
      const { read, write } = createReadWriteLock(driver, options)
      for (const [kind, name] of [
        ['.semaphore', 'x-permits-2-0000000000'],
        ['.read-write', 'x__WRIT__0000000000'],
      ]) {
        await tree.create(`${path}/${kind}`)
        await tree.create(`${path}/${kind}/key`)
        await tree.create(`${path}/${kind}/key/${name}`)
      }
      for (const lock of [semaphore, read, write]) {
        await expect(lock.acquire('key')).rejects.toMatchObject(stuck)
        await expect(lock.tryAcquire('key')).rejects.toMatchObject(stuck)
      }
    })

    it('is none when it is only like one', async () => {
      const { path, tree, driver, lock } = await setUp()
      const strange = [
        'lock-',
        'lock-7',
        'LOCK',
        'leases',
        'a__lock__0000000000',
        'lock-00000000000',
        '0000000000',
        'ä',
      ]
      for (const folder of [`${path}/key`, `${path}/.semaphore`, `${path}/.semaphore/key`]) {
        await tree.create(folder, { data: 'not from here' })
      }
      for (const name of strange) {
        await tree.create(`${path}/key/${name}`, { data: '\u0000\u00ff' })
        await tree.create(`${path}/.semaphore/key/${name}`)
      }
      await lock.run('key', async () => undefined)
      await lock.run('key/leases', async () => undefined)
      const semaphore = createSemaphore(driver, { ...options, permits: 1 })
      await (await held(semaphore.tryAcquire('key'))).release()
      await Promise.all([lock.close(), semaphore.close()])
      await driver[Symbol.asyncDispose]()
      expect([...((await tree.children(`${path}/key`)) ?? [])].sort()).toEqual([...strange].sort())
      expect(await tree.data(`${path}/key`)).toBe('not from here')
    })
  })

  it('excludes the next version of a program, which has other settings', async () => {
    const { path, lock, driver } = await setUp()
    await using next = zookeeperLock({ servers: `${server}${path}`, path: '/apps/next', sessionTimeoutMs: 8_000 })
    await using moved = zookeeperLock({ servers: server, path: `${path}/apps/next`, sessionTimeoutMs: 9_000 })
    await using same = zookeeperLock({ servers: server, path, sessionTimeoutMs: 9_000 })
    const changed = { ...options, ttlMs: 1_000 }
    const [after, other, later] = [createLock(next, changed), createLock(moved, changed), createLock(same, changed)]
    const lease = await held(lock.tryAcquire('key', { ttlMs: 60_000 }))
    expect(await later.tryAcquire('key')).toBeNull()
    const there = await held(after.tryAcquire('key'))
    expect(await other.tryAcquire('key'), 'one folder by another path').toBeNull()
    expect(await there.release()).toBe(true)
    const waiting = outcomeOf(later.acquire('key'))
    await lock.close()
    await until(() => waiting.settled)
    expect(lease.signal.aborted || (await lease.release()) === false).toBe(true)
    await (waiting.value as Lease).release()
    await Promise.all([after, other, later].map((each) => each.close()))
    await driver[Symbol.asyncDispose]()
  })

  it('holds keys of up to 8,192 bytes of every kind, and never takes one for another', async () => {
    // As long as the server allows: some of these keys have hundreds of folders to be made.
    const { path, tree, driver, lock } = await setUp(60_000)
    const filled = (unit: string, end: string): string => {
      const times = Math.floor((8_192 - Buffer.byteLength(end)) / Buffer.byteLength(unit))
      return unit.repeat(times) + end
    }
    const keys = [
      'x',
      'a/',
      '/',
      '.',
      '../',
      '\u0000',
      '\u0085',
      '\ue000',
      '😀',
      '日',
      '~2F',
      'lock-0000000000/',
    ].flatMap((unit) => [filled(unit, '1'), filled(unit, '2'), filled(unit, '1').slice(0, 1_000)])
    expect(new Set(keys).size).toBe(keys.length)
    const { read, write } = createReadWriteLock(driver, options)
    const semaphore = createSemaphore(driver, { ...options, permits: 1 })
    const elsewhere = createLock(driver, options)
    for (const key of keys) {
      const leases = await Promise.all([lock, write, semaphore].map((each) => held(each.tryAcquire(key))))
      for (const each of [elsewhere, read, semaphore]) expect(await each.tryAcquire(key)).toBeNull()
      const other = keys[(keys.indexOf(key) + 1) % keys.length] as string
      await (await held(elsewhere.tryAcquire(other))).release()
      for (const lease of leases) expect(await lease.release()).toBe(true)
    }
    await Promise.all([lock, read, semaphore, elsewhere].map((each) => each.close()))
    await driver[Symbol.asyncDispose]()
    const inLine = (await tree.below(path)).filter((node) => /_c_[0-9a-f-]{36}-/.test(node))
    expect(inLine, 'of its nodes none is left').toEqual([])
  })
})
