import { expect, it, onTestFinished } from 'vitest'
import { parseAddress } from '../services/address.js'
import { describeWithServices } from '../services/vitest.js'
import { suiteProgram } from '../support/bundle.js'
import { startLineProcess, type LineProcess } from '../support/line-process.js'
import { startProxy } from '../support/proxy.js'

describeWithServices('a program that has nothing left to do', ['redis', 'zookeeper'], ({ redis, zookeeper }) => {
  const program = suiteProgram(new URL('lock-ends-worker.ts', import.meta.url))
  const start = (what: string, address = ''): LineProcess => {
    const started = startLineProcess(process.execPath, [program.path, what, address])
    onTestFinished(() => started[Symbol.asyncDispose]())
    return started
  }

  it('ends although it holds locks in memory', async () => {
    const running = start('held in memory')
    expect(await running.ended).toBe(0)
    expect(running.lines).toEqual(['done'])
  })

  it('does not end while it waits for a lock in memory', async () => {
    const running = start('waits in memory')
    expect(await running.ended).toBe(0)
    expect(running.lines).toEqual(['ERR_WAIT_TIMEOUT ERR_WAIT_TIMEOUT', 'done'])
  })

  it.each(['disconnected', 'quit'])('ends although it holds a lock in Redis, once its client has %s', async (how) => {
    const running = start(`held in Redis, ${how}`, redis.url)
    expect(await running.ended).toBe(0)
    expect(running.lines).toEqual(['ERR_WAIT_TIMEOUT', 'done'])
  })

  it('waits on when its client is disconnected in an outage of Redis, and ends after that', async () => {
    const proxy = await startProxy(redis)
    onTestFinished(() => proxy.stop())
    const running = start('left in an outage', `redis://${proxy.address}`)
    await running.hear(/waits/)
    await proxy.refuse()
    proxy.cut()
    running.say('go on')
    expect(await running.ended).toBe(0)
    expect(running.lines).toEqual(['waits', 'disconnected', 'ERR_WAIT_TIMEOUT', 'done'])
  })

  it('ends although it holds a lock in ZooKeeper, once its servers are gone', async () => {
    const proxy = await startProxy(parseAddress(zookeeper.servers[0] as string))
    onTestFinished(() => proxy.stop())
    const running = start('held in ZooKeeper', proxy.address)
    await running.hear(/held/)
    await proxy.refuse()
    proxy.cut()
    running.say('go on')
    expect(await running.ended).toBe(0)
  })
})
