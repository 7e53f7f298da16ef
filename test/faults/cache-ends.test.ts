import { expect, it } from 'vitest'
import { freePort } from '../services/net.js'
import { describeWithServices, uniqueName } from '../services/vitest.js'
import { suiteProgram } from '../support/bundle.js'
import { startLineProcess } from '../support/line-process.js'
import type { EndsSetting } from './cache-ends.js'

describeWithServices('a process that closes nothing', ['redis', 'redis-cluster'], (services) => {
  const program = suiteProgram(new URL('./cache-ends.ts', import.meta.url))
  const { redis, 'redis-cluster': cluster } = services

  it.concurrent.each<[scenario: string, printed: string[]]>([
    ['a cache in memory', ['k', 'done']],
    ['a cache whose client is disconnected', ['v', 'done']],
    ['a cache whose client has quit', ['v', 'done']],
    ['a cache whose Cluster is disconnected', ['v', 'done']],
    ['a cache that goes on without its client', ['v', 'ERR_STORE_UNAVAILABLE', 'other', 'done']],
    ['a cache whose client of ioredis 6 is disconnected in an outage', ['k', 'done']],
    ['a cache whose client of ioredis 5 is disconnected in an outage', ['k', 'done']],
    ['a cache whose client of iovalkey is disconnected in an outage', ['k', 'done']],
    ['a cache whose Cluster is disconnected in an outage', ['k', 'done']],
    ['a cache whose client of Sentinels is disconnected in an outage', ['k', 'done']],
    ['a cache whose client is disconnected while only its other connection stands', ['v', 'done']],
    ['a write-behind of which nothing is touched', ['done']],
    // What was touched and is nowhere else keeps the process alive until it is flushed.
    ['a write-behind in memory', ['done', 'flushed']],
    ['a write-behind in memory whose flush fails at first', ['done', 'flushed 3']],
    ['a write-behind in Redis whose client ends after the flush', ['done', 'flushed']],
    ['a write-behind in Redis whose client ends before the flush', ['done']],
  ])('ends by itself: %s', async (scenario, printed) => {
    const deadPort = await freePort()
    const prefix = `${uniqueName('ends')}:`
    const setting: EndsSetting = { url: redis.url, nodes: cluster.nodes, deadPort, prefix }
    await using child = startLineProcess(process.execPath, [program.path, scenario, JSON.stringify(setting)])
    expect(await child.ended).toBe(0)
    expect(child.lines).toEqual(printed)
  })
})
