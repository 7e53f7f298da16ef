// A process that uses a limiter and closes nothing of it: `node ratelimit-ends.mjs <scenario> <Redis URL> <name>`.
// It ends by itself when nothing keeps it alive, and prints what it has done before that.
import { Redis } from 'ioredis'
import { createRateLimiter, memoryTokenBucket } from '../../src/ratelimit/index.js'
import { redisTokenBucket } from '../../src/ratelimit/redis/index.js'

const [scenario = '', url = '', name = ''] = process.argv.slice(2)
const print = (text: string): void => void process.stdout.write(`${text}\n`)
const anHourMs = 3_600_000
const settings = { name, quotas: [{ capacity: 10, refill: 10, perMs: anHourMs }], timeoutMs: 30_000 }

async function takeLeased(): Promise<Redis> {
  const redis = new Redis(url)
  const lease = { tokens: 5, leaseMs: anHourMs }
  const limiter = createRateLimiter(redisTokenBucket(redis), { ...settings, lease })
  print(`${(await limiter.take('k')).granted}`)
  return redis
}

const scenarios: Readonly<Record<string, () => Promise<unknown>>> = {
  async 'a bucket in memory'() {
    const limiter = createRateLimiter(memoryTokenBucket(), settings)
    print(`${(await limiter.take('k')).granted}`)
  },
  async 'a reserved place in the line'() {
    const limiter = createRateLimiter(memoryTokenBucket(), settings)
    await limiter.take('k', { cost: 10 })
    const place = await limiter.reserve('k', { maxWaitMs: anHourMs })
    print(place && place.dueInMs > 0 ? 'due later' : 'due now')
  },
  async 'a wait'() {
    const limiter = createRateLimiter(memoryTokenBucket(), {
      ...settings,
      quotas: [{ capacity: 1, refill: 1, perMs: 1_500 }],
    })
    await limiter.take('k')
    void limiter.wait('k').then(() => print('waited'))
  },
  async 'a leased block whose client is disconnected'() {
    const redis = await takeLeased()
    redis.disconnect()
  },
  async 'a leased block whose client has quit'() {
    const redis = await takeLeased()
    await redis.quit()
  },
}

await scenarios[scenario]?.()
print('done')
