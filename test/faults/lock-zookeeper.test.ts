import { expect, it, onTestFinished } from 'vitest'
import { LockLostError, StoreUnavailableError, WaitTimeoutError } from '../../src/core/errors.js'
import type { Trip } from '../../src/core/group-commit.js'
import type { Claim } from '../../src/lock/driver.js'
import { createLock, type Lease } from '../../src/lock/index.js'
import { zookeeperLock } from '../../src/lock/zookeeper/index.js'
import { parseAddress } from '../services/address.js'
import { freePort, sleep } from '../services/net.js'
import { describeWithServices, uniqueName } from '../services/vitest.js'
import { startProxy } from '../support/proxy.js'
import { openTree } from '../support/zookeeper-tree.js'
import { until } from '../support/until.js'
import { knewWhenFreed } from './lock-support.js'
import { held, key, outcomeOf, patient, sessionTimeoutMs, setUp } from './lock-zookeeper-support.js'

/** A claim that no lock looks after. */
const claimOf = (given: Partial<Claim>): Claim => ({
  ...{ kind: 'mutex', key, front: 'a test', number: 1, permits: 1, of: 1, ttlMs: 30_000, tokens: 1, waits: true },
  ...given,
})
const givenUpBy = ({ signal }: AbortController): Trip => ({ signal, sending: () => undefined })

describeWithServices('zookeeperLock on a broken connection', ['zookeeper'], ({ zookeeper }) => {
  const server = zookeeper.servers[0] as string

  it('keeps a hold over a cut that is shorter than the session, and the waiters their place', async () => {
    const { proxy, direct, lock, elsewhere, line } = await setUp(server)
    await using third = createLock(direct, patient)
    const mine = await held(lock.tryAcquire('mine'))
    const theirs = await held(elsewhere.tryAcquire(key))
    const waiting = outcomeOf(lock.acquire(key))
    await until(async () => (await line()).length === 2)
    const before = await line()
    expect(proxy.cut()).toBe(1)
    await until(() => proxy.counters.connections > 1)
    const behind = outcomeOf(third.acquire(key))
    await until(async () => (await line()).length === 3)
    expect((await line()).slice(0, 2)).toEqual(before)
    await theirs.release()
    await until(() => waiting.settled)
    expect(behind.settled, 'who came later waits').toBe(false)
    await (waiting.value as Lease).release()
    await until(() => behind.settled)
    await (behind.value as Lease).release()
    await sleep(sessionTimeoutMs)
    expect(mine.signal.aborted).toBe(false)
    expect(await mine.release()).toBe(true)
  })

  it('releases when the connection is back what could not be released before', async () => {
    const { path, proxy, tree, lock, connecting, elsewhere, line } = await setUp(server, { timeoutMs: 1_000 })
    const other = await held(connecting.tryAcquire('other'))
    let lease = null as Lease | null
    await until(async () => (lease = await lock.tryAcquire(key)))
    const before = await tree.children(`${path}/other`)
    expect(before).toHaveLength(1)
    await proxy.refuse()
    expect(proxy.cut()).toBe(1)
    await expect(lease?.release()).rejects.toBeInstanceOf(StoreUnavailableError)
    expect(await line()).toHaveLength(1)
    await proxy.accept()
    const next = await elsewhere.acquire(key)
    expect(await tree.children(`${path}/other`), 'long before the session expires').toEqual(before)
    await next.release()
    expect(await other.release()).toBe(true)
  })

  it('sends nothing later for a try that failed as not applied', async () => {
    const { proxy, lock, line, connect } = await setUp(server, { timeoutMs: 1_500 })
    await connect()
    await proxy.refuse()
    proxy.cut()
    // The first of them may still be written to the connection that was cut.
    await lock.tryAcquire('notices').catch(() => undefined)
    for (const call of [lock.tryAcquire(key), lock.acquire(key)]) {
      await expect(call).rejects.toMatchObject({ name: 'StoreUnavailableError', applied: 'no' })
    }
    const { connections } = proxy.counters
    await proxy.accept()
    await connect()
    expect(proxy.counters.connections).toBeGreaterThan(connections)
    expect(await line()).toEqual([])
  })

  it('loses a hold in time when the server falls silent, and settles every wait', async () => {
    const { proxy, lock, elsewhere, line } = await setUp(server)
    const lease = await held(lock.tryAcquire(key))
    const theirs = await held(elsewhere.tryAcquire('theirs'))
    const waits = [
      outcomeOf(lock.acquire('theirs')),
      outcomeOf(lock.acquire('theirs', { maxWaitMs: 60_000 })),
      outcomeOf(lock.acquire(key)),
    ]
    const next = outcomeOf(elsewhere.acquire(key))
    await until(async () => (await line()).length === 2)
    proxy.freeze()
    const frozenMs = performance.now()
    const sent = proxy.counters.bytesUp
    const knew = await knewWhenFreed(lease, async () => (await line()).length < 2)
    const goneMs = performance.now()
    await until(() => next.settled)
    expect(proxy.counters.bytesUp, 'nothing got through').toBe(sent)
    expect(lease.signal.reason).toBeInstanceOf(LockLostError)
    expect(goneMs).toBeGreaterThan(frozenMs + sessionTimeoutMs / 3)
    expect(knew, 'it was told before').toBe(true)
    expect(await lease.release()).toBe(false)
    await until(() => waits.every(({ settled }) => settled))
    for (const { error } of waits) expect(error).toBeInstanceOf(StoreUnavailableError)

    proxy.thaw()
    await (next.value as Lease).release()
    await theirs.release()
    await using _again = await lock.acquire(key)
  })

  it('begins a new session when the old one has expired, and holds nothing of the old one', async () => {
    const { proxy, tree, lock, elsewhere, line, path } = await setUp(server, { timeoutMs: 30_000 })
    const theirs = await held(elsewhere.tryAcquire('theirs'))
    const lease = await held(lock.tryAcquire(key))
    const waiting = outcomeOf(lock.acquire('theirs'))
    await until(async () => (await tree.children(`${path}/theirs`))?.length === 2)
    const [old] = await line()
    await proxy.refuse()
    proxy.cut()
    expect(await knewWhenFreed(lease, async () => (await line()).length === 0), 'it was told before').toBe(true)
    const between = await held(elsewhere.tryAcquire(key))
    await proxy.accept()
    const again = outcomeOf(lock.acquire(key))
    await until(async () => (await line()).length === 2)
    expect(await line()).not.toContain(old)
    await until(async () => (await tree.children(`${path}/theirs`))?.length === 2)
    expect(waiting.settled).toBe(false)
    expect(again.settled).toBe(false)
    expect(await between.release()).toBe(true)
    await until(() => again.settled)
    expect((again.value as Lease).fencingToken).toBeGreaterThan(between.fencingToken as bigint)
    await theirs.release()
    await until(() => waiting.settled)
    await Promise.all([again, waiting].map(({ value }) => (value as Lease).release()))
  })

  it('finds its node again when the answer to its creation is lost', async () => {
    const { proxy, lock, elsewhere, line, connect } = await setUp(server, { timeoutMs: 30_000 })
    const rounds = 5
    for (let round = 0; round < rounds; round++) {
      const theirs = await held(elsewhere.tryAcquire(key))
      await connect()
      // The connection is quiet now, so the next answer is the one to the creation.
      await sleep(20)
      proxy.dropReplies(1)
      const mine = outcomeOf(lock.acquire(key))
      await until(() => proxy.counters.droppedReplies === round + 1)
      await until(async () => (await line()).length === 2)
      const [, created] = await line()
      await connect()
      expect((await line()).slice(1), 'one node, and the same').toEqual([created])
      expect(mine.settled).toBe(false)
      await theirs.release()
      await until(() => mine.settled)
      expect(await line()).toEqual([created])
      expect(await (mine.value as Lease).release()).toBe(true)
    }
  })

  it('leaves no node behind when the answer to its creation is lost and nobody waits for it any more', async () => {
    const { proxy, lock, elsewhere, line, connect } = await setUp(server, { timeoutMs: 5_000 })
    const theirs = await held(elsewhere.tryAcquire(key))
    const [first] = await line()
    const rounds = 3
    for (let [round, tries] = [0, 1]; round < rounds; tries++) {
      await connect()
      await sleep(20)
      proxy.dropReplies(1)
      const mine = lock.acquire(key)
      await proxy.refuse()
      const error = (await mine.catch((why: unknown) => why)) as StoreUnavailableError
      expect(error).toBeInstanceOf(StoreUnavailableError)
      expect(proxy.counters.droppedReplies).toBe(tries)
      // If it was the answer to a ping that was lost, the creation may never have arrived.
      if ((await line()).length === 2) {
        expect(error.applied).toBe('unknown')
        round++
      }
      await proxy.accept()
      await until(async () => (await line()).length === 1)
    }
    expect(await line()).toEqual([first])
    await theirs.release()
    await using _lease = await elsewhere.acquire(key)
  })

  it('makes no node for a try that was given back before its turn in a batch came', async () => {
    const { proxy, driver, line, connect } = await setUp(server)
    await connect()
    const [first, second] = [1, 2].map((number) => claimOf({ number })) as [Claim, Claim]
    await driver.commit([{ verb: 'acquire', claim: first }], givenUpBy(new AbortController()))
    expect(await line()).toHaveLength(1)
    await proxy.refuse()
    proxy.cut()
    const [batch, withdrawal] = [new AbortController(), new AbortController()]
    const [releasing, trying] = [
      { verb: 'release', claim: first } as const,
      { verb: 'acquire', claim: second } as const,
    ]
    // The release loses its connection, waits for another, and holds the try behind it up.
    const tried = driver.commit([releasing, trying], givenUpBy(batch))
    batch.abort()
    withdrawal.abort()
    await until(async () => {
      const asked = driver.commit([{ verb: 'renew', claim: claimOf({ number: 3 }) }], givenUpBy(withdrawal))
      return (await asked.catch(() => 'no connection')) === 'no connection'
    })
    const withdrawn = driver.commit([{ verb: 'release', claim: second }], givenUpBy(withdrawal))
    await expect(withdrawn).rejects.toThrow('no connection')
    await proxy.accept()
    await connect()
    await tried.catch(() => undefined)
    await connect()
    expect(await line()).toEqual([])
  })

  it('frees a claim that nobody renews, though no connection lasts a second', async () => {
    const { proxy, driver, line, connect } = await setUp(server)
    await connect()
    await driver.commit([{ verb: 'acquire', claim: claimOf({ ttlMs: 1_000 }) }], givenUpBy(new AbortController()))
    expect(await line()).toHaveLength(1)
    await until(async () => {
      await sleep(300)
      proxy.cut()
      await connect()
      return (await line()).length === 0
    })
    expect(proxy.counters.cuts).toBeGreaterThan(3)
  })

  it('neither blocks nor holds twice when the answer to a release is lost', async () => {
    const { proxy, lock, elsewhere, line } = await setUp(server, { timeoutMs: 30_000 })
    for (let round = 0; round < 5; round++) {
      const lease = await held(lock.tryAcquire(key))
      await sleep(20)
      proxy.dropReplies(1)
      const released = lease.release()
      const next = await elsewhere.acquire(key)
      expect(await released, 'it was ours until now').toBe(true)
      expect(proxy.counters.droppedReplies).toBe(round + 1)
      expect(await line()).toHaveLength(1)
      expect(await next.release()).toBe(true)
    }
  })

  it('lets no two in, and leaves nothing, while connections break and answers are lost all the time', async () => {
    const path = `/${uniqueName('storm')}`
    await using tree = await openTree(server)
    const proxies = await Promise.all([0, 1, 2].map(() => startProxy(parseAddress(server))))
    const drivers = proxies.map(({ address }) => zookeeperLock({ servers: address, path, sessionTimeoutMs: 10_000 }))
    const locks = drivers.flatMap((driver) => [createLock(driver), createLock(driver, { timeoutMs: 20 })])
    const failed = { no: 0, unknown: 0 }
    let inside = 0
    let rounds = 0
    let lastRoundMs = performance.now()
    let last = 0n
    let done = false
    const caller = async (number: number): Promise<void> => {
      const lock = locks[number % locks.length] as (typeof locks)[0]
      while (!done) {
        try {
          const patience = number % 4 === 3 ? { maxWaitMs: 30 } : {}
          const lease = await lock.acquire(key, patience)
          expect(++inside).toBe(1)
          expect(lease.fencingToken).toBeGreaterThan(last)
          last = lease.fencingToken as bigint
          await sleep(Math.random() * 3)
          expect(lease.signal.aborted).toBe(false)
          inside--
          rounds++
          lastRoundMs = performance.now()
          await lease.release()
        } catch (error) {
          if (error instanceof WaitTimeoutError) continue
          if (!(error instanceof StoreUnavailableError)) throw error
          failed[error.applied]++
          await sleep(5)
        }
      }
    }
    const callers = Promise.all(Array.from({ length: 12 }, (_, number) => caller(number))).finally(() => (done = true))
    const startedMs = performance.now()
    const sumOf = (count: 'cuts' | 'droppedReplies'): number =>
      proxies.reduce((sum, { counters }) => sum + counters[count], 0)
    const isEnough = (): boolean =>
      performance.now() - startedMs > 8_000 &&
      rounds > 50 &&
      sumOf('cuts') > 50 &&
      sumOf('droppedReplies') > 20 &&
      failed.unknown + failed.no > 0
    for (let fault = 0; !done && !isEnough(); fault++) {
      const proxy = proxies[fault % proxies.length] as (typeof proxies)[0]
      if (fault % 2) proxy.cut()
      else proxy.dropReplies(1)
      // On a busy machine a connection may be cut before it could be used: then they come less and less often.
      await sleep(Math.random() * (60 + (performance.now() - lastRoundMs) / 10))
    }
    done = true
    for (const proxy of proxies) proxy.dropReplies(false)
    await callers
    await until(async () => (await tree.children(`${path}/${key}`)) === undefined)
    await Promise.all(locks.map((lock) => lock.close()))
    await Promise.all(drivers.map((driver) => driver[Symbol.asyncDispose]()))
    expect(await tree.below(path)).toEqual([])
    await Promise.all(proxies.map((proxy) => proxy.stop()))
  })

  it('finds a server that answers among those that do not', async () => {
    const { proxy, path } = await setUp(server)
    const silent = await startProxy(parseAddress(server))
    onTestFinished(() => silent.stop())
    silent.freeze()
    // The order is left to chance.
    for (let round = 0; round < 6 || silent.counters.connections === 0; round++) {
      const servers = [`127.0.0.1:${await freePort()}`, silent.address, proxy.address].join()
      await using driver = zookeeperLock({ servers, path, sessionTimeoutMs })
      await using lock = createLock(driver, { timeoutMs: 30_000 })
      await using _lease = await lock.acquire(key)
    }
  })

  it('finds the key free again, and loses its hold, when its node is removed by hand', async () => {
    const { folder, tree, lock, elsewhere, line } = await setUp(server)
    const lease = await held(lock.tryAcquire(key))
    await tree.remove(`${folder}/${(await line())[0]}`)
    await using _next = await held(elsewhere.tryAcquire(key))
    await until(() => lease.signal.aborted)
    expect(await lease.release()).toBe(false)
    expect(await line()).toHaveLength(1)
  })
})
