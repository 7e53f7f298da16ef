// A process whose callers take turns with an unprotected counter under a lock. The test starts several.
import { Redis } from 'ioredis'
import { createLock } from '../../src/lock/index.js'
import { redlockLock } from '../../src/lock/redlock/index.js'

const [key = '', callers = '0', turns = '0', counterUrl = '', ...urls] = process.argv.slice(2)
const nodes = urls.map((url) => new Redis(url))
const counter = new Redis(counterUrl)
const lock = createLock(redlockLock(nodes, { nodeTimeoutMs: 10_000 }), { timeoutMs: 60_000 })

async function caller(): Promise<void> {
  for (let turn = 0; turn < Number(turns); turn++) {
    await lock.run(key, async () => {
      const seen = Number(await counter.get(`${key}:counter`))
      await counter.rpush(`${key}:who`, process.pid)
      await counter.set(`${key}:counter`, seen + 1)
    })
  }
}

// All begin together.
await counter.rpush(`${key}:ready`, process.pid)
await counter.blpop(`${key}:go`, 0)
await Promise.all(Array.from({ length: Number(callers) }, () => caller()))
await lock.close()
for (const redis of [counter, ...nodes]) redis.disconnect()
