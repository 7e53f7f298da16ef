import { once } from 'node:events'
import { Redis } from 'ioredis'
import { createLock } from 'spillway/lock'
import { redisLock } from 'spillway/lock/redis'
import { contend } from './contend.js'

// One process of those that contend for a key: `node lock-worker.js URL KEY CALLERS SECONDS HANDOVERS`. It says "ready",
// begins when a line comes in, and prints what came of it as JSON.

const [url = '', key = '', callers = '', seconds = '', handovers = ''] = process.argv.slice(2)
const redis = new Redis(url)
const lock = createLock(redisLock(redis), { localHandovers: Number(handovers) })
await (await lock.acquire(`warm-up-${process.pid}`)).release()
process.stdout.write('ready\n')
await once(process.stdin, 'data')
const outcome = await contend(
  async () => {
    const lease = await lock.acquire(key)
    return () => lease.release()
  },
  Number(callers),
  Number(seconds),
)
process.stdout.write(`${JSON.stringify(outcome)}\n`)
await lock.close()
redis.disconnect()
process.stdin.destroy()
