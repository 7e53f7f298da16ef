import type { Redis } from 'ioredis'
import { beforeEach, expect, it, onTestFinished } from 'vitest'
import { LockLostError } from '../../src/core/errors.js'
import { createLock, type Lease, type Lock } from '../../src/lock/index.js'
import { redlockLock, type RedlockOptions } from '../../src/lock/redlock/index.js'
import { sleep } from '../services/net.js'
import { uniqueName } from '../services/vitest.js'
import { describeWithNodes } from '../support/redis-nodes.js'
import { until } from '../support/until.js'
import { knewWhenFreed } from './lock-support.js'
import { contents, fail, heal, open, placesOf, type Place } from './lock-redlock-support.js'

describeWithNodes('Redlock under faults', 3, (servers) => {
  let key: string
  beforeEach(() => {
    key = uniqueName('fault')
  })

  const lockOver = (nodes: readonly Redis[], options: RedlockOptions = { nodeTimeoutMs: 5_000 }): Lock => {
    const lock = createLock(redlockLock(nodes, options), { timeoutMs: 30_000 })
    onTestFinished(() => lock.close())
    return lock
  }
  const nodesOf = (places: readonly Place[]): Redis[] => places.map(({ node }) => node)
  const own = (value: string | null | undefined): boolean => typeof value === 'string' && value !== 'foreign'
  /** Commands that a client has sent and that are not answered. */
  const waiting = ({ node }: Place): number =>
    (node as unknown as { commandQueue: { length: number } }).commandQueue.length
  const restart = async ({ server, node }: Place): Promise<void> => {
    await server.restart()
    await until(() => node.status === 'ready')
  }

  it('keeps a hold though a minority is killed, and renews it into a node that comes back empty', async () => {
    const places = await placesOf(servers)
    const [victim, ...rest] = places as [Place, Place, Place]
    const lock = lockOver(nodesOf(places))
    const other = lockOver(nodesOf(await placesOf(servers)))
    const ttlMs = 12_000
    const lease = await lock.acquire(key, { ttlMs })
    await until(async () => (await contents(places, key)).every(own))
    await victim.server.kill()
    const killedMs = performance.now()
    let tries = 0
    while (performance.now() - killedMs < ttlMs + 1_000 || tries <= 5) {
      expect(await other.tryAcquire(key)).toBeNull()
      expect(lease.signal.aborted).toBe(false)
      tries++
      await sleep(100)
    }
    expect(victim.node.status).not.toBe('ready')
    await restart(victim)
    await until(async () => own(await victim.admin.get(key)))
    // Now another one may go.
    await rest[0].server.kill()
    await sleep(ttlMs + 1_000)
    expect(lease.signal.aborted).toBe(false)
    expect(await other.tryAcquire(key)).toBeNull()
    expect(await lease.release()).toBe(true)
    await restart(rest[0])
    await expect.poll(() => contents(places, key), { timeout: 30_000 }).toEqual([null, null, null])
  })

  it('tells the holder in time that a majority was killed', async () => {
    const places = await placesOf(servers)
    const [first, second, survivor] = places as [Place, Place, Place]
    const lease = await lockOver(nodesOf(places), { nodeTimeoutMs: 1_500 }).acquire(key, { ttlMs: 6_000 })
    await until(async () => (await contents(places, key)).every(own))
    // One renewal at least, so that the deadline is that of a renewal.
    await sleep(3_000)
    await Promise.all([first.server.kill(), second.server.kill()])
    const knew = await knewWhenFreed(lease, async () => (await survivor.admin.get(key)) === null)
    expect(knew, 'it was told before').toBe(true)
    expect(lease.signal.reason).toBeInstanceOf(LockLostError)
    expect(await lease.release()).toBe(false)
    await Promise.all([restart(first), restart(second)])
  })

  it('tells the holder in time that a majority is silent', async () => {
    const places = await placesOf(servers)
    const [first, second] = places as [Place, Place, Place]
    const lease = await lockOver(nodesOf(places), { nodeTimeoutMs: 1_500 }).acquire(key, { ttlMs: 6_000 })
    await until(async () => (await contents(places, key)).every(own))
    for (const { proxy } of [first, second]) proxy.freeze()
    // What the silent nodes hold ends by itself, for no renewal reaches them.
    const areFree = async (): Promise<boolean> => !(await contents([first, second], key)).some(own)
    expect(await knewWhenFreed(lease, areFree), 'it was told before').toBe(true)
    await heal(places)
    await expect.poll(() => contents(places, key), { timeout: 30_000 }).toEqual([null, null, null])
  })

  it('is granted, and released once, though replies of a node are lost and the client sends again', async () => {
    const places = await placesOf(servers)
    const [deaf, absent] = places as [Place, Place, Place]
    const lock = lockOver(nodesOf(places), { nodeTimeoutMs: 20_000 })
    await (await lock.acquire(uniqueName('warm'))).release()
    await fail(absent)
    // It owes no reply any more: the next one is that to the acquire.
    await deaf.node.ping()
    deaf.proxy.dropReplies(1)
    const lease = await lock.acquire(key, { ttlMs: 120_000 })
    expect(deaf.proxy.counters.droppedReplies).toBe(1)
    expect(await contents(places, key).then((all) => all.filter(own).length)).toBe(2)
    await deaf.node.ping()
    deaf.proxy.dropReplies(1)
    expect(await lease.release()).toBe(true)
    expect(deaf.proxy.counters.droppedReplies).toBe(2)
    expect(await contents(places, key)).toEqual([null, null, null])
  })

  it('is not blocked by its own key after the reply to an acquire was lost for good', async () => {
    const places = await placesOf(servers)
    const [deaf, absent] = places as [Place, Place, Place]
    const node = open(deaf.proxy.port, { autoResendUnfulfilledCommands: false })
    const lock = lockOver([node, ...nodesOf(places.slice(1))], { nodeTimeoutMs: 4_000 })
    await (await lock.acquire(uniqueName('warm'))).release()
    await fail(absent)
    await node.ping()
    deaf.proxy.dropReplies(1)
    const trying = lock.tryAcquire(key, { ttlMs: 120_000 })
    await expect(trying).rejects.toMatchObject({ applied: 'unknown' })
    expect(deaf.proxy.counters.droppedReplies).toBe(1)
    const lease = await lock.tryAcquire(key, { ttlMs: 120_000 })
    expect(await lease?.release()).toBe(true)
    await expect.poll(() => contents(places, key), { timeout: 30_000 }).toEqual([null, null, null])
  })

  it('leaves no key of an acquire that was held up in a connection that is gone', async () => {
    const places = await placesOf(servers)
    const [held, taken, free] = places as [Place, Place, Place]
    const [detour] = (await placesOf([held.server])) as [Place]
    const lock = lockOver(nodesOf(places), { nodeTimeoutMs: 1_500 })
    await (await lock.acquire(uniqueName('warm'))).release()
    await taken.admin.set(key, 'foreign', 'PX', 120_000)
    held.proxy.freeze()
    const trying = lock.tryAcquire(key, { ttlMs: 120_000 })
    await until(() => waiting(held) > 0)
    // The client goes another way, and sends again what had no answer, before it is taken back.
    held.node.options.port = detour.proxy.port
    detour.proxy.freeze()
    held.node.disconnect(true)
    expect(await trying).toBeNull()
    detour.proxy.thaw()
    await until(() => held.node.status === 'ready')
    await held.node.ping()
    await expect.poll(() => contents([held, free], key), { timeout: 30_000 }).toEqual([null, null])
    const before = held.proxy.counters.bytesUp
    held.proxy.thaw()
    await until(() => held.proxy.counters.bytesUp - before > 100)
    // The server has read it by now, in one piece with what ends the connection.
    await until(() => held.proxy.counters.open === 0)
    expect(await contents([held, free], key)).toEqual([null, null])
  })

  it('does not pile up commands for a node that is silent, and asks it again when it has woken up', async () => {
    const places = await placesOf(servers)
    const [silent, ...rest] = places as [Place, Place, Place]
    const lock = lockOver(nodesOf(places))
    await (await lock.acquire(uniqueName('warm'))).release()
    silent.proxy.freeze()
    const turns = async (count: number): Promise<void> => {
      for (let turn = 0; turn < count; turn++) await (await lock.acquire(uniqueName('turn'))).release()
    }
    // Until it has failed to answer in time it is asked by every turn.
    let owed = 0
    await until(async () => {
      owed = waiting(silent)
      await turns(1)
      return waiting(silent) === owed
    })
    expect(owed).toBeGreaterThan(0)
    await turns(200)
    expect(waiting(silent)).toBe(owed)
    // A refusal does not wait for it either: with the rest split, it would decide.
    await rest[0].admin.set(key, 'foreign', 'PX', 120_000)
    await expect(lock.tryAcquire(key)).resolves.toBeNull()
    silent.proxy.thaw()
    await silent.node.ping()
    const lease = (await lock.tryAcquire(key)) as Lease
    await until(async () => own(await silent.admin.get(key)))
    expect(await lease.release()).toBe(true)
  })

  it('asks a node again though its client never answers for a connection that is gone', async () => {
    const places = await placesOf(servers)
    const [forgetful] = places as [Place, Place, Place]
    const redis = open(forgetful.proxy.port, { autoResendUnfulfilledCommands: false })
    const lock = lockOver([redis, ...nodesOf(places.slice(1))], { nodeTimeoutMs: 1_500 })
    await (await lock.acquire(uniqueName('warm'))).release()
    forgetful.proxy.freeze()
    const lease = await lock.acquire(key)
    await sleep(3_000)
    forgetful.proxy.cut()
    forgetful.proxy.thaw()
    expect(await lease.release()).toBe(true)
    await until(() => redis.status === 'ready')
    const again = await lock.acquire(key)
    await until(async () => own(await forgetful.admin.get(key)))
    expect(await again.release()).toBe(true)
  })

  it('frees a key on a node that could not be reached when it was released, once it can', async () => {
    const places = await placesOf(servers)
    const [away] = places as [Place, Place, Place]
    const lock = lockOver(nodesOf(places))
    const lease = await lock.acquire(key, { ttlMs: 120_000 })
    await until(async () => (await contents(places, key)).every(own))
    await fail(away)
    expect(await lease.release()).toBe(true)
    expect(own(await away.admin.get(key))).toBe(true)
    await heal(places)
    await expect.poll(() => contents(places, key), { timeout: 30_000 }).toEqual([null, null, null])
  })

  it('says that it does not know, when too few nodes answer a release', async () => {
    const places = await placesOf(servers)
    const [first, second] = places as [Place, Place, Place]
    const lock = lockOver(nodesOf(places), { nodeTimeoutMs: 1_500 })
    const lease = await lock.acquire(key, { ttlMs: 120_000 })
    await until(async () => (await contents(places, key)).every(own))
    await fail(first)
    second.proxy.freeze()
    await expect(lease.release()).rejects.toMatchObject({ applied: 'unknown' })
    await heal(places)
    await expect.poll(() => contents(places, key), { timeout: 30_000 }).toEqual([null, null, null])
  })

  it('takes a grant that came too late for a refusal, and takes it back', async () => {
    const places = await placesOf(servers)
    // Not through the proxies, which would be held up as well.
    const lock = lockOver(places.map(({ admin }) => admin))
    await (await lock.acquire(uniqueName('warm'))).release()
    const trying = lock.tryAcquire(key, { ttlMs: 2_000 })
    // The commands leave in this turn of the event loop; then the process is held up for longer than they are worth.
    await new Promise<void>((resolve) => setImmediate(resolve))
    const heldUpMs = performance.now()
    while (performance.now() - heldUpMs < 2_500);
    expect(await trying).toBeNull()
    expect(await contents(places, key)).toEqual([null, null, null])
  })
})
