import { readFile, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, it, onTestFinished, vi } from 'vitest'
import { createLock, createReadWriteLock, type Lease } from '../../src/lock/index.js'
import { zookeeperLock } from '../../src/lock/zookeeper/index.js'
import { describeWithServices, uniqueName } from '../services/vitest.js'
import { openTree } from '../support/zookeeper-tree.js'
import { describeWithJava, type StartJava } from './java.js'

const patient = { timeoutMs: 30_000 }
const curator = { group: 'org.apache.curator', name: 'curator-recipes', version: '5.9.0' }

const program = { source: new URL('./curator/CuratorLock.java', import.meta.url), artifact: curator }

describeWithJava('zookeeperLock beside Curator', program, (startJava) =>
  describeWithServices('on one server', ['zookeeper'], ({ zookeeper }) =>
    besideCurator(zookeeper.servers[0] as string, startJava),
  ),
)

function besideCurator(server: string, startJava: StartJava): void {
  /** A JVM and a lock on the same key. */
  const setUp = async (key: string) => {
    const path = `/${uniqueName('interop')}`
    const tree = await openTree(server)
    const driver = zookeeperLock({ servers: server, path })
    const jvm = startJava(server, `${path}/${key}`, `${path}/.read-write/${key}`)
    onTestFinished(async () => {
      jvm.say('end')
      expect(await jvm.ended).toBe(0)
      await driver[Symbol.asyncDispose]()
      await tree[Symbol.asyncDispose]()
    })
    await jvm.hear(/^ready/)
    const line = async (of = `${path}/${key}`): Promise<string[]> => (await tree.children(of)) ?? []
    const inLine = (count: number, of?: string): Promise<void> =>
      vi.waitFor(async () => expect(await line(of)).toHaveLength(count), { timeout: 30_000, interval: 5 })
    return { path, tree, driver, jvm, line, inLine }
  }

  it.each(['order-7', 'orders/2026/7'])('excludes a JVM from %s, and is excluded by it', async (key) => {
    const { driver, jvm } = await setUp(key)
    await using lock = createLock(driver, patient)
    const lease = (await lock.tryAcquire(key)) as Lease
    expect(lease).not.toBeNull()
    jvm.say('a mutex try 300')
    await jvm.hear(/^a refused/)
    jvm.say('a mutex acquire')
    expect(await lease.release()).toBe(true)
    await jvm.hear(/^a acquired/)
    expect(await lock.tryAcquire(key)).toBeNull()
    const waiting = lock.acquire(key)
    jvm.say('a mutex release')
    await jvm.hear(/^a released/)
    const next = await waiting
    expect(next.fencingToken).toBeGreaterThan(lease.fencingToken as bigint)
    expect(await next.release()).toBe(true)
  })

  it('serves both in the order in which they came, and both wait for one node only', async () => {
    const key = 'order-7'
    const { path, driver, jvm, line, inLine, tree } = await setUp(key)
    const fronts = [createLock(driver, patient), createLock(driver, patient), createLock(driver, patient)]
    const served: string[] = []
    const lease = (await fronts[0]?.tryAcquire(key)) as Lease
    jvm.say('a mutex acquire')
    await inLine(2)
    const ours = fronts.slice(1).map(async (front, i) => {
      if (i === 1) await inLine(4)
      const got = await front.acquire(key)
      served.push(`ours ${i}`)
      return got
    })
    await inLine(3)
    jvm.say('b mutex acquire')
    await inLine(5)
    const names = await line()
    const watches = () => Promise.all(names.map((name) => tree.watches(`${path}/${key}/${name}`)))
    // Our front watches the node that it holds as well, once it has renewed it.
    const oneOrTwo = expect.toSatisfy((count: number) => count === 1 || count === 2) as number
    await vi.waitFor(async () => expect(await watches()).toEqual([oneOrTwo, 1, 1, 1, 0]), { timeout: 30_000 })
    for (const name of names) expect(name).toMatch(/^_c_[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}-lock-\d{10}$/)
    expect(served).toEqual([])
    await lease.release()
    for (const name of ['a', 'ours 0', 'b', 'ours 1']) {
      if (name.startsWith('ours')) {
        const got = (await ours[Number(name.at(-1))]) as Lease
        expect(served.at(-1)).toBe(name)
        expect(await got.release()).toBe(true)
      } else {
        await jvm.hear(new RegExp(`^${name} acquired`))
        jvm.say(`${name} mutex release`)
        await jvm.hear(new RegExp(`^${name} released`))
      }
    }
    expect(served).toEqual(['ours 0', 'ours 1'])
    await Promise.all(fronts.map((front) => front.close()))
    expect((await tree.below(path)).filter((name) => /\d{10}$/.test(name))).toEqual([])
  })

  it('counts exactly together with it', async () => {
    // A JVM that the machine holds up has no turns in between: then all begin again.
    for (let round = 0; round < 5; round++) if ((await countTogether()) > 10) return
    expect.fail('the JVM never had its turns in between')
  })

  /** Returns how often the JVM had a turn between two of ours. */
  async function countTogether(): Promise<number> {
    const key = 'order-7'
    const { driver, jvm, inLine } = await setUp(key)
    const file = join(tmpdir(), uniqueName('spillway-counter'))
    await writeFile(file, '0')
    await using lock = createLock(driver, { timeoutMs: 30_000 })
    const threads = ['a', 'b', 'c', 'd']
    // All of its threads are in line before anybody begins.
    const lease = (await lock.tryAcquire(key)) as Lease
    for (const thread of threads) jvm.say(`${thread} mutex count 30 ${file}`)
    await inLine(1 + threads.length)
    let last = 0
    let changes = 0
    const caller = async (): Promise<void> => {
      for (let turn = 0; turn < 15; turn++) {
        await lock.run(key, async ({ signal }) => {
          const seen = Number(await readFile(file, 'utf8'))
          if (seen !== last) changes++
          last = seen + 1
          await writeFile(file, String(last))
          expect(signal.aborted).toBe(false)
        })
      }
    }
    const callers = Promise.all(Array.from({ length: 8 }, caller))
    expect(await lease.release()).toBe(true)
    await callers
    const heard = new Set<string>()
    while (heard.size < threads.length) heard.add(await jvm.hear(/counted|failed/))
    expect([...heard].sort()).toEqual(threads.map((thread) => `${thread} counted`))
    expect(await readFile(file, 'utf8')).toBe(String(threads.length * 30 + 8 * 15))
    return changes
  }

  it('shares read-write locks with it, below .read-write', async () => {
    const key = 'price list'
    const { path, driver, jvm, inLine } = await setUp('price list')
    const folder = `${path}/.read-write/${key}`
    await using lock = createReadWriteLock(driver, patient)
    const reader = await lock.read.acquire(key)
    jvm.say('a read acquire')
    await jvm.hear(/^a acquired/)
    expect(await lock.write.tryAcquire(key)).toBeNull()
    jvm.say('b write acquire')
    await inLine(3, folder)
    const late = lock.read.acquire(key)
    await inLine(4, folder)
    expect(await reader.release()).toBe(true)
    jvm.say('a read release')
    await jvm.hear(/^b acquired/)
    await inLine(2, folder)
    expect(await lock.read.tryAcquire(key)).toBeNull()
    jvm.say('b write release')
    expect(await (await late).release()).toBe(true)
  })
}
