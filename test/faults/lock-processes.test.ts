import { Kysely, sql, SqliteDialect } from 'kysely'
import { Redis } from 'ioredis'
import Database from 'libsql'
import { afterAll, expect, it, onTestFinished } from 'vitest'
import { createLock, createReadWriteLock, createSemaphore, type LockOptions } from '../../src/lock/index.js'
import { redisLock } from '../../src/lock/redis/index.js'
import { sleep } from '../services/net.js'
import { describeWithServices, uniqueName } from '../services/vitest.js'
import { suiteProgram } from '../support/bundle.js'
import { startLineProcess, type LineProcess } from '../support/line-process.js'
import { setFenced, setPrice, type Shop } from '../unit/lock/fencing.js'
import type { Task } from './lock-worker.js'

const patient: LockOptions = { timeoutMs: 30_000 }

/** A task without what every task of a test has. */
type Chore<T = Task> = T extends Task ? Omit<T, 'url' | 'key'> : never

describeWithServices('several processes that share keys', ['redis'], ({ redis: server }) => {
  const redis = new Redis(server.url)
  const program = suiteProgram(new URL('./lock-worker.ts', import.meta.url))

  afterAll(async () => {
    redis.disconnect()
  })

  const start = (key: string, chore: Chore): LineProcess => {
    const worker = startLineProcess(process.execPath, [
      program.path,
      JSON.stringify({ url: server.url, key, ...chore }),
    ])
    onTestFinished(() => worker[Symbol.asyncDispose]())
    return worker
  }

  /** Starts workers, and lets all of them begin when the last is ready. */
  const startTogether = async (key: string, chores: readonly Chore[]): Promise<LineProcess[]> => {
    const workers = chores.map((chore) => start(key, chore))
    await Promise.all(workers.map((worker) => worker.hear(/^ready/)))
    for (const worker of workers) worker.say('go')
    return workers
  }

  const numberIn = (line: string): number => Number(line.split(' ')[1])

  /** It ended well, and saw nothing that must not be. */
  const endedWell = async (workers: readonly LineProcess[]): Promise<void> => {
    for (const worker of workers) {
      expect(await worker.ended).toBe(0)
      expect(worker.lines.filter((line) => line.startsWith('wrong'))).toEqual([])
    }
  }

  it.each([0, 16])('count exactly, four of 16 callers each, with %d hand-overs; each gets its share', async (turns) => {
    const total = turns ? 8_000 : 3_000
    const share = total / 4 / 4
    let counted: number[] = []
    // A process that the machine holds up for a while has no share, whatever the lock does: it may try again.
    for (let round = 0; round < 5 && !(Math.min(...counted, total) > share && counted.length > 0); round++) {
      const key = uniqueName('hot')
      const chore = { do: 'count', counter: `${key} counter`, callers: 16, total, localHandovers: turns } as const
      const workers = await startTogether(key, [chore, chore, chore, chore])
      counted = await Promise.all(workers.map(async (worker) => numberIn(await worker.hear(/^counted/))))
      await endedWell(workers)
      expect(Number(await redis.hget(chore.counter, 'value'))).toBe(total)
      expect(counted.reduce((sum, mine) => sum + mine)).toBe(total)
      expect(await redis.exists(key)).toBe(0)
    }
    for (const mine of counted) expect(mine, `of ${counted.join()}`).toBeGreaterThan(share)
  })

  it('do not write any more when one was stopped past its TTL, and what it writes late is refused', async () => {
    const key = uniqueName('stopped')
    const resource = `${key} resource`
    const db = new Kysely<Shop>({ dialect: new SqliteDialect({ database: new Database(':memory:') }) })
    onTestFinished(() => db.destroy())
    await sql`create table prices (sku text primary key, cents integer not null, token integer not null)`.execute(db)
    await db.insertInto('prices').values({ sku: 'shoe', cents: 100, token: 0n }).execute()
    const lock = createLock(redisLock(redis), patient)
    onTestFinished(() => lock.close())

    const ttlMs = 12_000
    const worker = start(key, { do: 'hold', ttlMs, resource })
    const token = BigInt((await worker.hear(/^held/)).split(' ')[1] as string)
    await sleep(1.2 * ttlMs)
    expect(await lock.tryAcquire(key), 'it renews its hold').toBeNull()
    worker.signal('SIGSTOP')
    const stoppedMs = performance.now()
    const leftMs = await redis.pttl(key)
    const lease = await lock.acquire(key)
    expect(performance.now() - stoppedMs, 'not before its time is over').toBeGreaterThan(leftMs - 100)
    expect(lease.fencingToken).toBeGreaterThan(token)
    expect(await setPrice(db, 'shoe', 120, lease.fencingToken as bigint)).toBe(true)
    expect(await setFenced(redis, resource, 'by the next', lease.fencingToken as bigint)).toBe(true)
    worker.signal('SIGCONT')
    await endedWell([worker])

    const told = worker.lines.slice(worker.lines.findIndex((line) => line.startsWith('held')) + 1)
    if (told[0] === 'refused') told.shift()
    if (told[0] === 'woke true') told.shift()
    expect(told, 'it knew as soon as it was awake').toEqual([
      'lost ERR_LOCK_LOST',
      'late false',
      'released false',
      'done',
    ])
    expect(await setPrice(db, 'shoe', 90, token), 'as it would have been in a database').toBe(false)
    expect(await redis.hget(resource, 'value')).toBe('by the next')
    expect(await lease.release(), 'its late release freed nobody').toBe(true)
  })

  it('wait out one that is killed, for its TTL and not for longer', async () => {
    const key = uniqueName('killed')
    const lock = createLock(redisLock(redis), patient)
    onTestFinished(() => lock.close())
    const worker = start(key, { do: 'hold', ttlMs: 12_000, resource: `${key} resource` })
    await worker.hear(/^held/)
    const waiting = lock.acquire(key)
    await sleep(13_500)
    worker.signal('SIGKILL')
    expect(await worker.ended).toBe('SIGKILL')
    const killedMs = performance.now()
    const leftMs = await redis.pttl(key)
    expect(leftMs).toBeGreaterThan(0)
    const lease = await waiting
    // A waiter that was told of an older TTL has tried since, and was told of this one.
    expect(performance.now() - killedMs).toBeGreaterThan(leftMs - 100)
    expect(performance.now() - killedMs).toBeLessThan(leftMs + 10_000)
    expect(await lease.release()).toBe(true)
  })

  it('get the permits of one that is killed back after its TTL', async () => {
    const key = uniqueName('permits')
    const untils = `spillway:semaphore:{${key}}:until`
    const semaphore = createSemaphore(redisLock(redis), { permits: 4, ...patient })
    onTestFinished(() => semaphore.close())
    const chore = { do: 'permits', of: 4, callers: 1, rounds: 1_000_000, used: `${key} used` } as const
    const isConnected = async (): Promise<boolean> =>
      String(await redis.call('CLIENT', 'LIST')).includes(` name=${key} `)
    let holders: string[] = []
    while (holders.length === 0) {
      const [worker] = (await startTogether(key, [chore])) as [LineProcess]
      await sleep(10)
      worker.signal('SIGKILL')
      expect(await worker.ended).toBe('SIGKILL')
      // What it has sent may still be on its way, and be a release.
      while (await isConnected()) await sleep(5)
      holders = await redis.zrange(untils, '0', '-1')
    }
    expect(await semaphore.tryAcquire(key, { permits: 4 })).toBeNull()
    // The rest of its 30 seconds, but for the last.
    const leftMs = Number(await redis.zscore(untils, holders[0] as string)) - Date.now()
    expect(leftMs).toBeGreaterThan(15_000)
    const untilMs = Number(await redis.zincrby(untils, 1_000 - leftMs, holders[0] as string))
    const startedMs = performance.now()
    const lease = await semaphore.acquire(key, { permits: 4 })
    expect(Date.now()).toBeGreaterThan(untilMs - 100)
    expect(performance.now() - startedMs).toBeLessThan(15_000)
    expect(await lease.release()).toBe(true)
  })

  it('never take more permits than there are', async () => {
    const key = uniqueName('semaphore')
    const used = `${key} used`
    const chore = { do: 'permits', of: 5, callers: 8, rounds: 15, used } as const
    const workers = await startTogether(key, [chore, chore, chore])
    const most = await Promise.all(workers.map(async (worker) => numberIn(await worker.hear(/^most/))))
    await endedWell(workers)
    expect(Math.max(...most)).toBeLessThanOrEqual(5)
    expect(Math.max(...most), 'they did share').toBeGreaterThan(2)
    expect(await redis.get(used)).toBe('0')
  })

  it('read together and write alone, and readers do not starve a writer of another process', async () => {
    const key = uniqueName('read-write')
    const pair = `${key} pair`
    const readers = { do: 'read', callers: 6, pair } as const
    const workers = await startTogether(key, [readers, readers])
    const permits = `spillway:read-write:{${key}}:permits`
    // The readers overlap all the time: a writer that only tried would hardly ever find the key free.
    const looks = 200
    for (let free = looks; free >= looks / 2;) {
      while (Number(await redis.hget(permits, 'used')) < 2) await sleep(1)
      free = 0
      for (let look = 0; look < looks; look++) if (!Number(await redis.hget(permits, 'used'))) free++
    }

    const lock = createReadWriteLock(redisLock(redis), patient)
    onTestFinished(() => lock.close())
    for (let turn = 0; turn < 5; turn++) {
      const lease = await lock.write.acquire(key, { maxWaitMs: 30_000 })
      expect(await redis.hget(permits, 'used')).toBe(String(2 ** 31))
      await lease.release()
    }
    const [writer] = (await startTogether(key, [{ do: 'write', callers: 2, pair }])) as [LineProcess]
    for (let turn = 0; turn < 20; turn++) await writer.hear(/^written/)
    // Nor does the writer starve them.
    for (const worker of workers) await worker.hear(/^read 20$/)
    for (const worker of [...workers, writer]) worker.say('end')
    await endedWell([...workers, writer])
    const written = writer.lines.filter((line) => line.startsWith('written')).length
    expect(await redis.hgetall(pair)).toEqual({ one: String(written), two: String(written) })
  })

  it.each([true, false])('end by themselves once all is released, the lock closed: %s', async (close) => {
    const worker = start(uniqueName('exit'), { do: 'come and go', close })
    expect(await worker.ended).toBe(0)
    expect(worker.lines).toEqual(['outcomes rejected rejected rejected', 'done'])
  })
})
