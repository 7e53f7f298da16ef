import { Redis } from 'ioredis'
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest'
import { createLock, type Lease, type Lock } from '../../src/lock/index.js'
import { redisLock } from '../../src/lock/redis/index.js'
import type { Task } from '../faults/lock-worker.js'
import { closing, connect, taken } from '../faults/lock-support.js'
import { sleep } from '../services/net.js'
import { describeWithServices, uniqueName } from '../services/vitest.js'
import { suiteProgram } from '../support/bundle.js'
import { startLineProcess, type LineProcess } from '../support/line-process.js'
import { until } from '../support/until.js'
import { describeWithJava, type StartJava } from './java.js'

const redisson = {
  source: new URL('./redisson/RedissonLocks.java', import.meta.url),
  artifact: { group: 'org.redisson', name: 'redisson', version: '3.52.0' },
}

/** Far less than the TTL of 30 s after which everybody would try again, and more than a busy machine takes. */
const promptMs = 10_000
const patient = { timeoutMs: 30_000 }

describeWithServices('a JVM with Redisson', ['redis'], ({ redis: server }) =>
  describeWithJava('and this library', redisson, (start) => sharedLocks(server, start)),
)

function sharedLocks(server: { host: string; port: number; url: string }, start: StartJava): void {
  let jvm: LineProcess
  let redis: Redis
  const worker = suiteProgram(new URL('../faults/lock-worker.ts', import.meta.url))
  beforeAll(async () => {
    redis = new Redis(server.url)
    jvm = start(server.url)
    await jvm.hear(/^ready/)
  })
  afterAll(async () => {
    redis.disconnect()
    await jvm[Symbol.asyncDispose]()
  })

  const ours = (): Lock => closing(createLock(redisLock(connect(server)), patient))
  const startWorker = (task: Task): LineProcess => {
    const started = startLineProcess(process.execPath, [worker.path, JSON.stringify(task)])
    onTestFinished(() => started[Symbol.asyncDispose]())
    return started
  }

  /** Has a thread of the JVM do something; resolves with the result. Threads and verbs of a test are its own. */
  const ask = async (thread: string, verb: string, key: string, ...more: (string | number)[]): Promise<string> => {
    jvm.say([thread, verb, key, ...more].join(' '))
    return (await jvm.hear(new RegExp(`^${thread} ${verb} `))).split(' ').slice(2).join(' ')
  }
  const threadName = (): string => uniqueName('t')

  /** How long it takes until `work`, which had to wait, is done after `free`. */
  const promptly = async <T>(work: Promise<T>, free: () => Promise<unknown>): Promise<T> => {
    let early = true
    const watched = work.then((value) => {
      expect(early, 'it had to wait').toBe(false)
      return value
    })
    watched.catch(() => undefined)
    await sleep(300)
    early = false
    const freedMs = performance.now()
    await free()
    const value = await watched
    expect(performance.now() - freedMs).toBeLessThan(promptMs)
    return value
  }

  // As Redisson derives its names, and with braces, where it derives others.
  describe.each(['plain', 'a{b}c', 'x{y', '{}', 'with:colon'])('with a key like %j', (like) => {
    it.each(['lock', 'fenced'])('is refused, and woken at the unlock, while the JVM holds it by %s', async (verb) => {
      const key = `${uniqueName('key')}${like}`
      const [lock, thread] = [ours(), threadName()]
      const told = await ask(thread, verb, key)
      expect(told).toBe(verb === 'lock' ? 'done' : '1')
      expect(await lock.tryAcquire(key)).toBeNull()
      const lease = await promptly(lock.acquire(key), () => ask(thread, 'unlock', key))
      expect(lease.fencingToken).toBe(verb === 'lock' ? 1n : 2n)
      expect(await lease.release()).toBe(true)
    })

    it.each(['lock', 'fenced'])('refuses the JVM, and wakes its %s at the release', async (verb) => {
      const key = `${uniqueName('key')}${like}`
      const [lock, thread] = [ours(), threadName()]
      const lease = await lock.acquire(key)
      expect(await ask(thread, 'try', key)).toBe('false')
      expect(await ask(thread, 'try-fenced', key)).toBe('null')
      const told = await promptly(ask(thread, verb, key), () => lease.release())
      expect(told).toBe(verb === 'lock' ? 'done' : '2')
      expect(await lock.tryAcquire(key)).toBeNull()
      await ask(thread, 'unlock', key)
      await (await taken(lock.tryAcquire(key))).release()
    })
  })

  it('counts exactly with it: a read and a write that only the lock protects, by 24 callers', async () => {
    const total = 1_500
    let shares: number[] = []
    // A process that the machine holds up for a while has no share, whatever the locks do: it may try again.
    for (let round = 0; round < 5 && !(shares.length > 0 && Math.min(...shares) > total / 50); round++) {
      const key = uniqueName('hot')
      const counter = `${key}:counter`
      const task: Task = { do: 'count', url: server.url, key, counter, callers: 8, total, localHandovers: 2 }
      const workers = [startWorker(task), startWorker(task)]
      await Promise.all(workers.map((each) => each.hear(/^ready/)))
      for (const each of workers) each.say('go')
      const threads = Array.from({ length: 8 }, () => threadName())
      // Plain locks and fenced ones: they exclude each other, and the tokens that are checked grow over both.
      const theirs = threads.map((thread, i) => ask(thread, i % 2 ? 'count' : 'count-fenced', key, counter, total))
      const counted = await Promise.all([
        ...workers.map(async (each) => (await each.hear(/^counted/)).split(' ')[1]),
        ...theirs,
      ])
      for (const each of workers) {
        expect(await each.ended).toBe(0)
        expect(each.lines.filter((line) => line.startsWith('wrong'))).toEqual([])
      }
      expect(counted.join(' '), 'numbers, no failures').toMatch(/^[\d ]+$/)
      const [one, two, ...jvms] = counted.map(Number) as [number, number, ...number[]]
      shares = [one, two, jvms.reduce((sum, mine) => sum + mine)]
      expect(shares.reduce((sum, share) => sum + share)).toBe(total)
      expect(await redis.hget(counter, 'value')).toBe(String(total))
    }
    for (const share of shares) expect(share, `of ${shares.join()}`).toBeGreaterThan(total / 50)
  })

  it('takes its fencing tokens from the counter of Redisson’s, each greater than all before', async () => {
    const key = uniqueName('fenced')
    const [lock, thread] = [ours(), threadName()]
    const ownToken = async (): Promise<number> => {
      const lease = await lock.acquire(key)
      await lease.release()
      return Number(lease.fencingToken)
    }
    const theirToken = async (): Promise<number> => {
      const token = Number(await ask(thread, 'fenced', key))
      await ask(thread, 'unlock', key)
      return token
    }
    const tokens = [await ownToken(), await theirToken(), await theirToken(), await ownToken()]
    await ask(thread, 'lock', key)
    await ask(thread, 'unlock', key)
    tokens.push(await ownToken(), await theirToken())
    expect(tokens, 'a plain lock takes none').toEqual([1, 2, 3, 4, 5, 6])
    const passing = closing(createLock(redisLock(connect(server)), { localHandovers: 9, ...patient }))
    await (await passing.acquire(key)).release()
    expect(await theirToken(), 'a grant that may be handed over nine times takes ten').toBe(17)
    expect(await redis.get(`redisson_lock_token:{${key}}`)).toBe('17')
  })

  it('has the layout of Redisson', async () => {
    const key = uniqueName('layout')
    const [lock, thread] = [ours(), threadName()]
    const messages: string[] = []
    const hearing = connect(server)
    hearing.on('message', (_channel, message) => messages.push(message))
    await hearing.subscribe(`redisson_lock__channel:{${key}}`)
    const uuid = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}:\d+$/
    const look = async () => {
      const [[holder, count] = [], ...others] = Object.entries(await redis.hgetall(key))
      return { holder, count, others: others.length, leftMs: await redis.pttl(key) }
    }
    const namesBesideTheLock = async (): Promise<string[]> =>
      (await redis.keys(`*${key}*`)).map((name) => name.replace(/:([0-9a-f]{8}|[0-9a-f-]{32,})$/, ':id')).sort()
    const one = {
      holder: expect.stringMatching(uuid) as string,
      count: '1',
      others: 0,
      leftMs: expect.toSatisfy((ms: number) => ms > 15_000 && ms <= 30_000) as number,
    }

    await ask(thread, 'fenced', key)
    expect(await look()).toEqual(one)
    const theirNames = await namesBesideTheLock()
    await ask(thread, 'unlock', key)
    const theirNamesAfter = await namesBesideTheLock()
    await redis.del(await redis.keys(`*${key}*`))
    const lease = await lock.acquire(key)
    expect(await look()).toEqual(one)
    expect(await namesBesideTheLock()).toEqual(theirNames)
    expect(theirNames).toEqual([key, `redisson_lock_token:{${key}}`])
    const waiting = ours().acquire(key)
    await until(async () => Number((await redis.pubsub('NUMSUB', `redisson_lock__channel:{${key}}`))[1]) === 2)
    await lease.release()
    await (await waiting).release()
    const [latch, ...latches] = await redis.keys(`redisson_unlock_latch:{${key}}:*`)
    expect(latches, 'one for each lock object').toHaveLength(1)
    const latchMs = await redis.pttl(latch as string)
    expect(latchMs).toBeGreaterThan(0)
    expect(latchMs).toBeLessThanOrEqual(20_000)
    expect(new Set(await namesBesideTheLock())).toEqual(new Set(theirNamesAfter))
    expect(await redis.pttl(`redisson_lock_token:{${key}}`)).toBe(-1)
    await until(() => messages.length === 3)
    expect(messages, 'one of theirs, two of ours').toEqual(['0', '0', '0'])
  })

  it('is waited out by the JVM when it crashes, and waits out a lease of the JVM', async () => {
    const key = uniqueName('crash')
    const thread = threadName()
    const holder = startWorker({ do: 'hold', url: server.url, key, ttlMs: 12_000, resource: `${key}:resource` })
    await holder.hear(/^held/)
    const locked = ask(thread, 'lock', key)
    await until(async () => Number((await redis.pubsub('NUMSUB', `redisson_lock__channel:{${key}}`))[1]) === 1)
    holder.signal('SIGKILL')
    await holder.ended
    const killedMs = performance.now()
    const leftMs = await redis.pttl(key)
    expect(leftMs).toBeGreaterThan(0)
    expect(await locked).toBe('done')
    expect(performance.now() - killedMs).toBeGreaterThan(leftMs - 100)
    expect(performance.now() - killedMs).toBeLessThan(leftMs + promptMs)
    await ask(thread, 'unlock', key)

    // A lease that is not renewed and never unlocked is what a JVM leaves when it crashes.
    // By a thread of its own: a renewal of the first one's lock may still be on its way, and would make it last longer.
    const crashed = threadName()
    const leasedMs = performance.now()
    await ask(crashed, 'lease', key, 2_000)
    const lease: Lease = await ours().acquire(key)
    expect(performance.now() - leasedMs).toBeGreaterThan(1_900)
    expect(performance.now() - leasedMs).toBeLessThan(2_000 + promptMs)
    expect(await ask(crashed, 'unlock', key), 'its late unlock frees nobody').toContain('IllegalMonitorState')
    expect(await lease.release()).toBe(true)
  })

  it('learns by its next renewal that the JVM has freed its key by force', async () => {
    const key = uniqueName('forced')
    const lease = await ours().acquire(key, { ttlMs: 12_000 })
    expect(await ask(threadName(), 'force', key)).toBe('true')
    await until(() => lease.signal.aborted)
    expect((lease.signal.reason as Error).message).toMatch(/no longer knows it/)
    expect(await lease.release()).toBe(false)
  })
}
