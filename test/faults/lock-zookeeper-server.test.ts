import { expect, it, onTestFinished } from 'vitest'
import { StoreUnavailableError, WaitTimeoutError } from '../../src/core/errors.js'
import { createLock, createReadWriteLock, createSemaphore, type Lease, type LockReply } from '../../src/lock/index.js'
import { zookeeperLock } from '../../src/lock/zookeeper/index.js'
import { sleep } from '../services/net.js'
import { describeWithServices, uniqueName } from '../services/vitest.js'
import { openTree } from '../support/zookeeper-tree.js'
import { until } from '../support/until.js'
import { held, key, outcomeOf, patient, sessionTimeoutMs, setUp } from './lock-zookeeper-support.js'

describeWithServices('what zookeeperLock leaves', ['zookeeper'], ({ zookeeper }) => {
  const server = zookeeper.servers[0] as string

  it('is nothing of waiters that leave', async () => {
    const { path, tree, lock, elsewhere, line } = await setUp(server)
    const lease = await held(elsewhere.tryAcquire(key))
    const holder = await line()
    for (let round = 0; round < 20; round++) {
      const controller = new AbortController()
      const waits = [
        lock.acquire(key, { maxWaitMs: 20 }),
        lock.acquire(key, { signal: controller.signal }),
        lock.tryAcquire(key),
      ].map(outcomeOf)
      await until(async () => (await line()).length === 2)
      controller.abort(new Error('enough'))
      await until(() => waits.every(({ settled }) => settled))
      expect(waits.map(({ error, value }) => error ?? value)).toEqual([
        expect.any(WaitTimeoutError),
        new Error('enough'),
        null,
      ])
      await until(async () => (await line()).length === 1)
    }
    expect(await line()).toEqual(holder)
    // One for the node that is still there, and one of its holder's own if it was renewed meanwhile.
    expect([1, 2]).toContain(await tree.watches(path))
    await lease.release()
    await until(async () => (await tree.watches(path)) === 0)
  })

  it('is no node of a claim that its front could not give back, though the session lives on', async () => {
    const { path, tree, direct, elsewhere } = await setUp(server)
    const lease = await held(elsewhere.tryAcquire('renewed'))
    const trip = { signal: new AbortController().signal, sending: () => undefined }
    const given = { kind: 'mutex', key, front: 'lost', permits: 1, of: 1, ttlMs: 1_000, tokens: 1 } as const
    const claim = { ...given, number: 1, waits: false }
    const askedMs = performance.now()
    const [reply] = await direct.commit([{ verb: 'acquire', claim }], trip)
    const { heldMs } = reply as LockReply
    expect(heldMs).toBeGreaterThan(sessionTimeoutMs / 2)
    await until(async () => (await tree.children(`${path}/${key}`)) === undefined)
    expect(performance.now() - askedMs).toBeGreaterThan((heldMs as number) - 500)
    const replies = await direct.commit(
      [
        { verb: 'renew', claim },
        { verb: 'acquire', claim },
      ],
      trip,
    )
    expect(replies).toEqual([{ ok: false }, { ok: false, withdrawn: true }])
    expect(await lease.release()).toBe(true)
  })

  it('is a folder that somebody else has made', async () => {
    await using tree = await openTree(server)
    const path = `/${uniqueName('given')}`
    await tree.create(path)
    onTestFinished(async () => {
      await using again = await openTree(server)
      await again.remove(path)
    })
    await using driver = zookeeperLock({ servers: server, path, sessionTimeoutMs })
    const lock = createLock(driver, patient)
    await lock.run(key, async () => undefined)
    await lock.close()
    expect(await tree.below(path)).toEqual([path])
  })

  it('is nothing when a driver is disposed under its locks', async () => {
    await using tree = await openTree(server)
    const path = `/${uniqueName('disposed')}`
    const driver = zookeeperLock({ servers: server, path, sessionTimeoutMs })
    const lock = createLock(driver, patient)
    const lease = await lock.acquire(key)
    const waiting = outcomeOf(lock.acquire(key))
    await driver[Symbol.asyncDispose]()
    await driver[Symbol.asyncDispose]()
    expect(await tree.below(path)).toEqual([])
    await expect(lock.acquire('another')).rejects.toMatchObject({ name: 'ClosedError' })
    // The hold had ended, and was told so, before its node went.
    expect(lease.signal.reason).toMatchObject({ name: 'LockLostError' })
    expect(await lease.release()).toBe(false)
    await until(() => waiting.settled)
    await lock.close()
  })
})

describeWithServices(
  'zookeeperLock on a server of its own',
  ['zookeeper'],
  ({ zookeeper }) => {
    const server = zookeeper.servers[0] as string

    it('leaves neither a folder nor a session once the locks are closed, and works again after that', async () => {
      const path = `/${uniqueName('apps')}/locks`
      await using tree = await openTree(server)
      const sessions = await tree.sessions()
      await using driver = zookeeperLock({ servers: server, path, sessionTimeoutMs })
      for (let round = 0; round < 2; round++) {
        const lock = createLock(driver, patient)
        const shared = createReadWriteLock(driver, patient)
        const semaphore = createSemaphore(driver, { permits: 2, ...patient })
        const leases = await Promise.all([
          lock.acquire('a'),
          lock.acquire('a/b/c'),
          shared.read.acquire('a/b'),
          shared.write.acquire('x'),
          semaphore.acquire('a/b', { permits: 2 }),
        ])
        expect((await tree.below(path)).filter((name) => /\d{10}$/.test(name))).toHaveLength(leases.length)
        expect(await tree.sessions(), 'one session for all locks of a driver').toBe(sessions + 1)
        await Promise.all([lock.close(), shared.close()])
        expect(await tree.sessions(), 'somebody still uses it').toBe(sessions + 1)
        await semaphore.close()
        expect(await tree.below(path.replace('/locks', ''))).toEqual([])
        await until(async () => (await tree.sessions()) === sessions)
      }
    })

    it('keeps an empty folder for a while, whoever removes it meanwhile, and not for ever', async () => {
      const path = `/${uniqueName('kept')}`
      await using tree = await openTree(server)
      await using driver = zookeeperLock({ servers: server, path, sessionTimeoutMs })
      await using lock = createLock(driver, patient)
      await (await lock.acquire('a/b')).release()
      expect(await tree.below(path)).toEqual([path, `${path}/a`, `${path}/a/b`])
      for (const each of ['/a/b', '/a', '']) await tree.remove(path + each)
      await (await lock.acquire('a/b')).release()
      await (await lock.acquire('a')).release()
      expect(await tree.below(path)).toEqual([path, `${path}/a`, `${path}/a/b`])
      await until(async () => (await tree.below(path)).length === 1)
      await (await lock.acquire('a')).release()
    })

    it('loses its holds in time and settles every wait, and goes on when the server does', async () => {
      const path = `/${uniqueName('paused')}`
      await using driver = zookeeperLock({ servers: server, path, sessionTimeoutMs })
      await using direct = zookeeperLock({ servers: server, path, sessionTimeoutMs })
      await using lock = createLock(driver, patient)
      await using elsewhere = createLock(direct, patient)
      const lease = await held(lock.tryAcquire(key))
      const theirs = await held(elsewhere.tryAcquire('theirs'))
      const waits = [outcomeOf(lock.acquire('theirs')), outcomeOf(elsewhere.acquire(key))]
      await sleep(200)
      await zookeeper.pause()
      const pausedMs = performance.now()
      await sleep(pausedMs + sessionTimeoutMs - performance.now())
      expect(lease.signal.aborted, 'the hold was renewed before, at the latest').toBe(true)
      expect(theirs.signal.aborted).toBe(true)
      await until(() => waits.every(({ settled }) => settled))
      for (const { error } of waits) expect(error).toBeInstanceOf(StoreUnavailableError)
      expect(await lease.release()).toBe(false)
      await expect(lock.tryAcquire('another')).rejects.toMatchObject({ applied: 'no' })

      await zookeeper.unpause()
      await using tree = await openTree(server)
      await until(() =>
        lock
          .tryAcquire(key)
          .then((got) => got?.release())
          .catch(() => false),
      )
      await Promise.all([lock.close(), elsewhere.close()])
      expect(await tree.below(path)).toEqual([])
    })

    it('keeps its holds and its waiters over a restart that is quicker than the session', async () => {
      /** Whether it was as quick as that. */
      const isKept = async (): Promise<boolean> => {
        const path = `/${uniqueName('restarted')}`
        const long = { servers: server, path, sessionTimeoutMs: 30_000 }
        await using driver = zookeeperLock(long)
        await using direct = zookeeperLock(long)
        // A call that is on its way when the server ends may take as long as the restart.
        await using lock = createLock(driver, { timeoutMs: 30_000 })
        await using elsewhere = createLock(direct, { timeoutMs: 30_000 })
        const startedMs = performance.now()
        const lease = await held(lock.tryAcquire(key))
        const waiting = outcomeOf(elsewhere.acquire(key))
        const before = await openTree(server)
        await until(async () => (await before.children(`${path}/${key}`))?.length === 2)
        await before[Symbol.asyncDispose]()
        await zookeeper.restart()
        await using again = await openTree(server)
        const inLine = (await again.children(`${path}/${key}`))?.length
        const isLost = lease.signal.aborted
        // The hold, and the session at the server, last for longer than that, though nothing be renewed.
        if (performance.now() - startedMs > 18_000) return false
        expect(inLine).toBe(2)
        expect(isLost).toBe(false)
        await sleep(1_000)
        expect(waiting.settled).toBe(false)
        expect(await lease.release()).toBe(true)
        await until(() => waiting.settled)
        expect(await (waiting.value as Lease).release()).toBe(true)
        return true
      }
      while (!(await isKept()));
    })
  },
  { private: true },
)
