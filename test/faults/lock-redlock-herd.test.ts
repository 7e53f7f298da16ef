import { expect, it, onTestFinished } from 'vitest'
import { createLock, type LockOptions } from '../../src/lock/index.js'
import { redlockLock } from '../../src/lock/redlock/index.js'
import { uniqueName } from '../services/vitest.js'
import { describeWithNodes } from '../support/redis-nodes.js'
import { open } from './lock-redlock-support.js'

const calls = 20_000
const each = <T>(make: (number: number) => T): T[] => Array.from({ length: calls }, (_, number) => make(number))

describeWithNodes('a herd of 20,000 calls', 3, (servers) => {
  const setUp = (options: LockOptions = {}) => {
    const nodes = servers.map(({ port }) => open(port))
    const lock = createLock(redlockLock(nodes, { nodeTimeoutMs: 10_000 }), { timeoutMs: 120_000, ...options })
    onTestFinished(() => lock.close())
    const admin = open(servers[0]?.port as number)
    const scripts = async (): Promise<number> => {
      const stats = await admin.info('commandstats')
      return ['evalsha', 'eval'].reduce(
        (sum, name) => sum + Number(new RegExp(`cmdstat_${name}:calls=(\\d+)`).exec(stats)?.[1] ?? 0),
        0,
      )
    }
    return { lock, scripts }
  }

  it('on one key grants one, refuses the others together, and asks each node little', async () => {
    const { lock, scripts } = setUp()
    const key = uniqueName('key')
    const before = await scripts()
    const leases = await Promise.all(each(() => lock.tryAcquire(key)))
    expect(leases.filter((lease) => lease !== null)).toHaveLength(1)
    expect((await scripts()) - before, 'a script for each batch of a thousand').toBeLessThan(200)
    expect(await leases.find((lease) => lease !== null)?.release()).toBe(true)
  })

  it('on one key serves all who wait, in their order', async () => {
    const { lock, scripts } = setUp({ localHandovers: 999 })
    const key = uniqueName('key')
    const order: number[] = []
    const before = await scripts()
    await Promise.all(each((number) => lock.run(key, async () => void order.push(number))))
    expect(order).toEqual(each((number) => number))
    expect((await scripts()) - before).toBeLessThan(200)
  })

  it('on as many keys serves all of them', { timeout: 900_000 }, async () => {
    const { lock, scripts } = setUp({ timeoutMs: 900_000 })
    const prefix = uniqueName('key')
    const before = await scripts()
    let served = 0
    await Promise.all(each((number) => lock.run(`${prefix}-${number}`, async () => void served++)))
    expect(served).toBe(calls)
    expect((await scripts()) - before, 'a script for each try and each release').toBeLessThan(3 * calls)
  })
})
