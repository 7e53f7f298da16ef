import { createLock, memoryLock } from 'spillway/lock'

await using lock = createLock(memoryLock())

let balance = 0
async function deposit(): Promise<void> {
  const before = balance
  await new Promise((resolve) => setTimeout(resolve, 1))
  balance = before + 1
}
await Promise.all(Array.from({ length: 20 }, () => lock.run('account 7', deposit)))

const lease = await lock.acquire('account 7', { ttlMs: 5_000 })
const second = await lock.tryAcquire('account 7')
const released = await lease.release()

console.log(`lock: ${balance} of 20 deposits, second holder ${second ? 'let in' : 'refused'}, released ${released}`)
