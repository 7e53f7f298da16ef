import { readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, it, onTestFinished } from 'vitest'
import { createLock } from '../../src/lock/index.js'
import { zookeeperLock } from '../../src/lock/zookeeper/index.js'
import { sleep } from '../services/net.js'
import { describeWithServices, uniqueName } from '../services/vitest.js'
import { suiteProgram } from '../support/bundle.js'
import { startLineProcess } from '../support/line-process.js'
import { until } from '../support/until.js'
import { openTree } from '../support/zookeeper-tree.js'

const sessionTimeoutMs = 10_000
const key = 'order-7'
const patient = { timeoutMs: 30_000 }

describeWithServices('several processes that lock over ZooKeeper', ['zookeeper'], ({ zookeeper }) => {
  const server = zookeeper.servers[0] as string
  const program = suiteProgram(new URL('./lock-zookeeper-worker.ts', import.meta.url))

  const start = (what: string, path: string, file = '') => {
    const worker = startLineProcess(process.execPath, [program.path, what, server, path, key, file])
    onTestFinished(() => worker[Symbol.asyncDispose]())
    return worker
  }

  it('let one in at a time, with tokens that grow, and leave nothing', async () => {
    const path = `/${uniqueName('counted')}`
    const file = join(tmpdir(), uniqueName('spillway-counter'))
    await writeFile(file, '0')
    onTestFinished(() => rm(file))
    const workers = Array.from({ length: 4 }, () => start('count', path, file))
    // None begins before the last is ready.
    await Promise.all(workers.map((worker) => worker.hear(/^ready/)))
    for (const worker of workers) worker.say('go')
    expect(await Promise.all(workers.map(({ ended }) => ended))).toEqual(workers.map(() => 0))
    const total = workers.length * 16 * 5
    expect(await readFile(file, 'utf8')).toBe(String(total))
    const tokens = workers.map(({ lines }) => lines.filter((line) => line !== 'ready').map(BigInt))
    expect(new Set(tokens.flat()).size).toBe(total)
    for (const own of tokens) expect(own).toEqual([...own].sort((a, b) => (a < b ? -1 : 1)))
    const owners = tokens.flatMap((own, worker) => own.map((token) => ({ token, worker })))
    owners.sort((a, b) => (a.token < b.token ? -1 : 1))
    const changes = owners.filter(({ worker }, i) => i > 0 && worker !== owners[i - 1]?.worker)
    expect(changes.length, 'they took turns').toBeGreaterThan(total / 4)
    await using tree = await openTree(server)
    expect(await tree.below(path)).toEqual([])
  })

  it('get the key of one that was killed when its session expires, in the order in which they came', async () => {
    const path = `/${uniqueName('killed')}`
    await using tree = await openTree(server)
    await using driver = zookeeperLock({ servers: server, path, sessionTimeoutMs })
    await using locks = createLock(driver, patient)
    await using others = createLock(driver, patient)
    const holder = start('hold', path)
    await holder.hear(/^held/)
    const served: string[] = []
    const line = async (): Promise<number> => (await tree.children(`${path}/${key}`))?.length ?? 0
    const first = locks.run(key, async () => void served.push('first'))
    await until(async () => (await line()) === 2)
    const second = others.run(key, async () => void served.push('second'))
    await until(async () => (await line()) === 3)
    const killedMs = performance.now()
    holder.signal('SIGKILL')
    await holder.ended
    expect(await line(), 'the node outlives the process').toBe(3)
    await Promise.all([first, second])
    const waitedMs = performance.now() - killedMs
    expect(waitedMs, 'the session lasts from the last word of the holder').toBeGreaterThan(sessionTimeoutMs / 2)
    expect(waitedMs, 'woken, and not by the safety net').toBeLessThan(25_000)
    expect(served).toEqual(['first', 'second'])
  })

  it('know on waking that they were stopped for too long, and free nobody', async () => {
    const path = `/${uniqueName('stopped')}`
    await using driver = zookeeperLock({ servers: server, path, sessionTimeoutMs })
    await using lock = createLock(driver, patient)
    const worker = start('hold', path)
    const token = BigInt((await worker.hear(/^held/)).split(' ')[1] as string)
    await sleep(sessionTimeoutMs * 1.2)
    expect(await lock.tryAcquire(key), 'it renews its hold').toBeNull()
    worker.signal('SIGSTOP')
    const lease = await lock.acquire(key)
    expect(lease.fencingToken).toBeGreaterThan(token)
    await sleep(sessionTimeoutMs / 2)
    worker.signal('SIGCONT')
    await worker.hear(/^woke true/)
    await worker.hear(/^released false/)
    expect(await worker.ended).toBe(0)
    expect(await lease.release(), 'its release freed nobody').toBe(true)
  })

  it('end by themselves when their lock is closed', async () => {
    const path = `/${uniqueName('left')}`
    await using driver = zookeeperLock({ servers: server, path, sessionTimeoutMs })
    await using lock = createLock(driver, patient)
    await lock.run(key, async () => {
      const { ended, lines } = start('leave', path)
      expect(await ended).toBe(0)
      expect([...lines].sort()).toEqual(['WaitTimeoutError', 'ran'])
    })
  })
})
