// A process that uses a lock over ZooKeeper; tests start several and kill some. It ends by itself, or not at all.
import { once } from 'node:events'
import { readFile, writeFile } from 'node:fs/promises'
import { createLock } from '../../src/lock/index.js'
import { zookeeperLock } from '../../src/lock/zookeeper/index.js'

const [what, servers = '', path = '', key = '', file = ''] = process.argv.slice(2)
const driver = zookeeperLock({ servers, path, sessionTimeoutMs: 10_000 })
const lock = createLock(driver, { timeoutMs: 30_000 })
const say = (word: string): void => void process.stdout.write(`${word}\n`)

/** Reads, lets others run, writes: exact only if nobody else does so at the same time. */
async function add(): Promise<void> {
  const seen = Number(await readFile(file, 'utf8'))
  await writeFile(file, String(seen + 1))
}

if (what === 'count') {
  const caller = async (): Promise<void> => {
    for (let turn = 0; turn < 5; turn++) {
      await lock.run(key, async ({ fencingToken }) => {
        await add()
        say(String(fencingToken))
      })
    }
  }
  await lock.run('connects', async () => undefined)
  say('ready')
  await once(process.stdin, 'data')
  process.stdin.unref()
  await Promise.all(Array.from({ length: 16 }, caller))
  await lock.close()
} else if (what === 'hold') {
  const lease = await lock.acquire(key)
  say(`held ${lease.fencingToken}`)
  let seenMs = performance.now()
  for (let stopped = false; !stopped;) {
    await new Promise((resolve) => setImmediate(resolve))
    // One reading for both: a stop between two readings would never be noticed.
    const nowMs = performance.now()
    stopped = nowMs - seenMs > 8_000
    seenMs = nowMs
  }
  say(`woke ${lease.signal.aborted}`)
  say(`released ${await lease.release()}`)
  await lock.close()
} else if (what === 'leave') {
  // Nothing is disposed but the lock: that is to be enough for the process to end.
  const waiting = lock.acquire(key, { maxWaitMs: 300 }).catch((error: Error) => say(error.name))
  await Promise.all([waiting, lock.run('another', async () => say('ran'))])
  await lock.close()
}
