import { Redis as Redis6 } from 'ioredis'
import { Redis as Redis5 } from 'ioredis5'
import { Redis as Valkey } from 'iovalkey'
import Redlock, { ExecutionError, type RedlockClient } from 'redlock'
import { afterAll, beforeEach, describe, expect, it, onTestFinished, vi } from 'vitest'
import type { RedisClient } from '../../src/core/redis-client.js'
import type { Claim, LockDriver, LockReply } from '../../src/lock/driver.js'
import { createLock } from '../../src/lock/index.js'
import { redlockLock } from '../../src/lock/redlock/index.js'
import { uniqueName } from '../services/vitest.js'
import { describeWithNodes } from '../support/redis-nodes.js'

const trip = { signal: new AbortController().signal, sending: () => undefined }
const ample = { nodeTimeoutMs: 10_000 }

describeWithNodes('the nodes of redlockLock', 4, (servers) => {
  const admin = servers.map(({ url }) => new Redis6(url))
  afterAll(() => admin.forEach((node) => node.disconnect()))
  let key: string
  let front: string
  let numbers = 0
  beforeEach(() => {
    key = uniqueName('key')
    front = uniqueName('front')
  })

  const open = (count = 3, options = {}): Redis6[] =>
    servers.slice(0, count).map(({ host, port }) => {
      const redis = new Redis6({ host, port, ...options })
      onTestFinished(() => redis.disconnect())
      return redis
    })
  const claimOf = (more: Partial<Claim> = {}): Claim => {
    const base = { kind: 'mutex', key, front, permits: 1, of: 1, ttlMs: 60_000, tokens: 1, waits: false } as const
    return { ...base, number: ++numbers, ...more }
  }
  const one = async (driver: LockDriver, verb: 'acquire' | 'renew' | 'release', claim: Claim): Promise<LockReply> => {
    const [reply] = await driver.commit([{ verb, claim }], trip)
    if (!reply || reply instanceof Error) throw reply ?? new Error('no reply')
    return reply
  }
  const pass = async (driver: LockDriver, claim: Claim, next: Claim): Promise<LockReply> => {
    const [reply] = await driver.commit([{ verb: 'release', claim, next }], trip)
    if (!reply || reply instanceof Error) throw reply ?? new Error('no reply')
    return reply
  }
  const holders = (): Promise<(string | null)[]> => Promise.all(admin.map((node) => node.get(key)))
  /** On how many nodes a claim is. */
  const holdersOf = async (claim: Claim): Promise<number> =>
    (await holders()).filter((holder) => holder?.startsWith(`${claim.front}:${claim.number}:`)).length
  /** A majority decides, the other nodes follow. */
  const nobodyHolds = (): Promise<void> =>
    vi.waitFor(async () => expect(await holders()).toEqual([null, null, null, null]), 30_000)
  const ownKeys = async (): Promise<string[]> =>
    (await Promise.all(admin.map((node) => node.keys(`*${key}*`)))).flat().sort()

  describe('layout', () => {
    it('is a string with a TTL at the key itself, and a latch that ends', async () => {
      const driver = redlockLock(open(), ample)
      const claim = claimOf()
      expect(await one(driver, 'acquire', claim)).toEqual({ ok: true, heldMs: 59_398 })
      await vi.waitFor(async () => expect(await holdersOf(claim)).toBe(3), 30_000)
      const leftMs = await admin[0]?.pttl(key)
      expect(leftMs).toBeGreaterThan(50_000)
      expect(leftMs).toBeLessThanOrEqual(60_000)
      expect(await one(driver, 'release', claim)).toEqual({ ok: true })
      const latch = `spillway:redlock:${key}:latch:${front}`
      await vi.waitFor(async () => expect(await ownKeys()).toEqual([latch, latch, latch]), 30_000)
      const latchLeftMs = await admin[0]?.pttl(latch)
      expect(latchLeftMs).toBeGreaterThan(10_000)
      expect(latchLeftMs).toBeLessThanOrEqual(20_000)
    })

    it('excludes the package by itself, and is excluded by it', async () => {
      const nodes = open()
      const lock = createLock(redlockLock(nodes, ample), { timeoutMs: 30_000 })
      const plain = new Redlock(nodes as unknown as RedlockClient[], { retryCount: 0 }, {} as never)
      const lease = await lock.acquire(key)
      await expect(plain.acquire([key], 60_000)).rejects.toThrow(ExecutionError)
      expect(await lease.release()).toBe(true)
      const theirs = await plain.acquire([key], 60_000)
      expect(await lock.tryAcquire(key)).toBeNull()
      await plain.release(theirs)
      await using _free = await lock.acquire(key, { maxWaitMs: 30_000 })
      await lock.close()
    })

    it('takes a key of another type for a fault of the node, and says so', async () => {
      const lock = createLock(redlockLock(open(), ample), { timeoutMs: 30_000 })
      await Promise.all(admin.slice(0, 2).map((node) => node.rpush(key, 'a list')))
      // The script reads the key before it writes, and the third node has taken its vote back.
      await expect(lock.tryAcquire(key)).rejects.toMatchObject({
        applied: 'no',
        message: expect.stringContaining('WRONGTYPE') as string,
        cause: { errors: [{ message: expect.stringContaining('WRONGTYPE') as string }, {}] },
      })
      expect((await admin[2]?.get(key)) ?? null).toBeNull()
      await lock.close()
    })
  })

  describe('what comes late or twice', () => {
    it('grants nothing to a claim that was withdrawn, and leaves no key', async () => {
      const driver = redlockLock(open(), ample)
      const claim = claimOf()
      expect(await one(driver, 'release', claim)).toEqual({ ok: false })
      expect(await one(driver, 'acquire', claim)).toMatchObject({ ok: false, withdrawn: true })
      expect(await one(driver, 'renew', claim)).toEqual({ ok: false })
      await nobodyHolds()
      expect(await one(driver, 'acquire', claimOf())).toMatchObject({ ok: true })
    })

    it('keeps a number withdrawn although a lower one is released later', async () => {
      const driver = redlockLock(open(), ample)
      const [held, late] = [claimOf(), claimOf()]
      expect((await one(driver, 'acquire', held)).ok).toBe(true)
      expect(await one(driver, 'release', late)).toEqual({ ok: false })
      expect((await one(driver, 'renew', held)).ok).toBe(true)
      expect(await one(driver, 'release', held)).toEqual({ ok: true })
      expect(await one(driver, 'acquire', late)).toMatchObject({ ok: false, withdrawn: true })
      await nobodyHolds()
    })

    it('answers a release that is sent twice as before', async () => {
      const driver = redlockLock(open(), ample)
      const claim = claimOf()
      await one(driver, 'acquire', claim)
      expect(await one(driver, 'release', claim)).toEqual({ ok: true })
      expect(await one(driver, 'release', claim)).toEqual({ ok: true })
      expect(await one(driver, 'release', claimOf())).toEqual({ ok: false })
    })

    it('lets a claim in that was granted before by a minority, and may be tried again', async () => {
      const driver = redlockLock(open(), ample)
      const claim = claimOf({ waits: true })
      await admin[0]?.set(key, `${front}:${claim.number}:0`, 'PX', 60_000)
      await admin[1]?.set(key, 'foreign', 'PX', 60_000)
      expect((await one(driver, 'acquire', claim)).ok).toBe(true)
      expect((await holders())[1]).toBe('foreign')
    })

    it('leaves nothing on the nodes that granted, when the majority is taken', async () => {
      const driver = redlockLock(open(), ample)
      await Promise.all(admin.slice(0, 2).map((node) => node.set(key, 'foreign', 'PX', 60_000)))
      for (const waits of [true, false]) {
        const reply = await one(driver, 'acquire', claimOf({ waits }))
        expect(reply).toEqual({ ok: false, retryAfterMs: expect.any(Number) as number })
        expect(reply.retryAfterMs).toBeGreaterThanOrEqual(50)
        expect(reply.retryAfterMs).toBeLessThanOrEqual(150)
        expect(await holders()).toEqual(['foreign', 'foreign', null, null])
      }
    })

    it('never frees what is held by others', async () => {
      const driver = redlockLock(open(), ample)
      const claim = claimOf()
      await one(driver, 'acquire', claim)
      await Promise.all(admin.slice(0, 3).map((node) => node.set(key, 'foreign', 'PX', 60_000)))
      expect(await one(driver, 'renew', claim)).toEqual({ ok: false })
      expect(await one(driver, 'release', claim)).toEqual({ ok: false })
      expect(await holders()).toEqual(['foreign', 'foreign', 'foreign', null])
    })
  })

  describe('renewal', () => {
    it('takes the key again where nobody has it, but does not count that', async () => {
      const driver = redlockLock(open(), ample)
      const claim = claimOf()
      await one(driver, 'acquire', claim)
      await admin[2]?.del(key)
      expect(await one(driver, 'renew', claim)).toEqual({ ok: true, heldMs: 59_398 })
      await vi.waitFor(async () => expect(await holdersOf(claim)).toBe(3), 30_000)
      await Promise.all(admin.slice(0, 2).map((node) => node.del(key)))
      expect(await one(driver, 'renew', claim), 'a majority had lost it').toEqual({ ok: false })
      expect(await one(driver, 'release', claim)).toEqual({ ok: true })
      await nobodyHolds()
    })

    it('extends', async () => {
      const driver = redlockLock(open(), ample)
      const claim = claimOf()
      await one(driver, 'acquire', claim)
      await Promise.all(admin.slice(0, 3).map((node) => node.pexpire(key, 20_000)))
      await one(driver, 'renew', claim)
      for (const node of admin.slice(0, 3)) {
        await vi.waitFor(async () => expect(await node.pttl(key)).toBeGreaterThan(50_000), 30_000)
      }
    })
  })

  describe('an even number of nodes', () => {
    it.each([
      [4, 2, true],
      [4, 1, false],
      [2, 1, true],
    ])('of %i, with %i taken, refuses: %s', async (count, taken, refuses) => {
      const driver = redlockLock(open(count), ample)
      await Promise.all(admin.slice(0, taken).map((node) => node.set(key, 'foreign', 'PX', 60_000)))
      const claim = claimOf()
      expect((await one(driver, 'acquire', claim)).ok).toBe(!refuses)
      if (!refuses) expect(await one(driver, 'release', claim)).toEqual({ ok: true })
      const left = [0, 1, 2, 3].map((node) => (node < taken ? 'foreign' : null))
      await vi.waitFor(async () => expect(await holders()).toEqual(left), 30_000)
    })
  })

  describe('passing on', () => {
    it('releases and tries the next in one trip', async () => {
      const driver = redlockLock(open(), ample)
      const [first, next] = [claimOf(), claimOf({ waits: true })]
      await one(driver, 'acquire', first)
      expect(await pass(driver, first, next)).toEqual({ ok: true, next: { ok: true, heldMs: 59_398 } })
      await vi.waitFor(async () => expect(await holdersOf(next)).toBe(3), 30_000)
    })

    it('goes on for as long as nobody else wants the key', async () => {
      const driver = redlockLock(open(), ample)
      let claim = claimOf({ waits: true })
      await one(driver, 'acquire', claim)
      for (let turn = 1; turn <= 150; turn++) {
        const next = claimOf({ waits: true })
        expect(await pass(driver, claim, next), `${turn}`).toMatchObject({ ok: true, next: { ok: true } })
        claim = next
      }
    })

    it('stands back after 64 turns in a row if another waits, for longer than that one does', async () => {
      const driver = redlockLock(open(), ample)
      const other = redlockLock(open(), ample)
      const waiting = claimOf({ front: uniqueName('other'), waits: true })
      let claim = claimOf({ waits: true })
      await one(driver, 'acquire', claim)
      let turn = 0
      for (;;) {
        expect((await one(other, 'acquire', waiting)).ok).toBe(false)
        const next = claimOf({ waits: true })
        const reply = await pass(driver, claim, next)
        turn++
        if (!reply.next?.ok) {
          expect(reply.next).toEqual({ ok: false, retryAfterMs: 200 })
          break
        }
        claim = next
      }
      // More only if the machine was so slow that the other's mark was gone.
      expect(turn).toBeGreaterThanOrEqual(65)
      expect(turn).toBeLessThan(200)
      await nobodyHolds()
      expect((await one(other, 'acquire', waiting)).ok).toBe(true)
    })

    it('does not take one for waiting who has only tried', async () => {
      const driver = redlockLock(open(), ample)
      const other = redlockLock(open(), ample)
      await one(driver, 'acquire', claimOf())
      await one(other, 'acquire', claimOf({ front: uniqueName('other'), waits: false }))
      await vi.waitFor(async () => expect(await ownKeys()).toEqual([key, key, key]), 30_000)
    })
  })

  describe('clients', () => {
    type Connect = (options: {
      host: string
      port: number
      lazyConnect?: boolean
    }) => RedisClient & { disconnect(): void }
    const kinds: [string, Connect][] = [
      ['ioredis 6', (options) => new Redis6(options)],
      ['ioredis 5', (options) => new Redis5(options)],
      ['iovalkey', (options) => new Valkey(options)],
    ]

    it.each(kinds)('of %s work, made with lazyConnect, too', async (_, connect) => {
      for (const lazyConnect of [false, true]) {
        const nodes = servers.slice(0, 3).map(({ host, port }) => connect({ host, port, lazyConnect }))
        onTestFinished(() => nodes.forEach((node) => node.disconnect()))
        await using lock = createLock(redlockLock(nodes, ample), { timeoutMs: 30_000 })
        expect(await (await lock.acquire(key)).release()).toBe(true)
        await vi.waitFor(() => expect(nodes.map(({ status }) => status)).toEqual(['ready', 'ready', 'ready']), 30_000)
      }
    })

    it('are asked once more when a server does not know the script', async () => {
      await using lock = createLock(redlockLock(open(), ample), { timeoutMs: 30_000 })
      await (await lock.acquire(key)).release()
      await Promise.all(admin.map((node) => node.script('FLUSH')))
      const lease = await lock.acquire(key)
      await Promise.all(admin.map((node) => node.script('FLUSH')))
      expect(await lease.release()).toBe(true)
      await nobodyHolds()
    })

    it('that reject with what is no Error do no harm', async () => {
      const nodes = open()
      const [odd] = nodes as [Redis6]
      await Promise.all(nodes.map((node) => node.ping()))
      // eslint-disable-next-line @typescript-eslint/prefer-promise-reject-errors
      const evalsha = vi.spyOn(odd, 'evalsha').mockImplementation(() => Promise.reject('a string'))
      await using lock = createLock(redlockLock(nodes, ample), { timeoutMs: 30_000 })
      expect(await (await lock.acquire(key)).release()).toBe(true)
      expect(evalsha).toHaveBeenCalled()
    })

    it('that are not ready get no command, and none is sent later', async () => {
      const nodes = open()
      const [closed, other, third] = nodes as [Redis6, Redis6, Redis6]
      await Promise.all(nodes.map((node) => node.ping()))
      const given = vi.spyOn(closed, 'sendCommand')
      closed.disconnect()
      await vi.waitFor(() => expect(closed.status).toBe('end'), 30_000)
      await using lock = createLock(redlockLock(nodes, ample), { timeoutMs: 30_000 })
      expect(await (await lock.acquire(key)).release()).toBe(true)
      other.disconnect()
      await vi.waitFor(() => expect(other.status).toBe('end'), 30_000)
      const sent = vi.spyOn(third, 'sendCommand')
      await expect(lock.acquire(key)).rejects.toMatchObject({
        applied: 'no',
        message: expect.stringContaining('1 of 3 nodes can be asked, 2 decide') as string,
      })
      expect(sent, 'what cannot be decided is not begun').not.toHaveBeenCalled()
      await Promise.all([closed.connect(), other.connect()])
      expect(await (await lock.acquire(key)).release()).toBe(true)
      const scripts = given.mock.calls.filter(([command]) => command.name.startsWith('eval'))
      expect(scripts.length, 'the last acquire and its release').toBe(2)
    })
  })

  it('refuses a TTL of which nothing is left for clocks', async () => {
    await using lock = createLock(redlockLock(open(), ample), { timeoutMs: 30_000 })
    await expect(lock.acquire(key, { ttlMs: 3 })).rejects.toThrow(RangeError)
    await nobodyHolds()
  })
})
