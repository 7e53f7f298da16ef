import { Redis } from 'ioredis'
import { afterAll, afterEach, beforeAll, beforeEach, expect, it } from 'vitest'
import { ask, sleep } from '../services/net.js'
import type { Services } from '../services/starters.js'
import { describeWithServices } from '../services/vitest.js'
import { startProxy, type FaultProxy } from './proxy.js'

const inFrontOfRedis = ({ redis: server }: Pick<Services, 'redis'>): void => {
  let proxy: FaultProxy
  let direct: Redis
  let client: Redis

  beforeAll(() => {
    direct = new Redis(server.url)
  })
  beforeEach(async () => {
    proxy = await startProxy(server)
    client = new Redis({ port: proxy.port, maxRetriesPerRequest: 100, retryStrategy: () => 20 })
    client.on('error', () => undefined)
    await client.ping()
  })
  afterEach(async () => {
    client.disconnect()
    await proxy.stop()
    await direct.flushall()
  })
  afterAll(() => direct.disconnect())

  it('forwards both ways and counts', async () => {
    const value = 'x'.repeat(3_000_000)
    await client.set('large', value)
    expect(await client.get('large')).toBe(value)
    expect(proxy.counters).toMatchObject({ connections: 1, open: 1, cuts: 0, droppedReplies: 0 })
    expect(proxy.counters.bytesUp).toBeGreaterThan(3_000_000)
    expect(proxy.counters.bytesDown).toBeGreaterThan(3_000_000)
  })

  it('cuts the open connections and accepts new ones', async () => {
    expect(proxy.cut()).toBe(1)
    expect(await client.ping()).toBe('PONG')
    expect(proxy.counters).toMatchObject({ connections: 2, open: 1, cuts: 1 })
  })

  it('refuses new connections, keeps the open one, and accepts again', async () => {
    await proxy.refuse()
    expect(await client.ping()).toBe('PONG')
    await expect(ask('127.0.0.1', proxy.port, 'PING\r\n')).rejects.toThrow('ECONNREFUSED')
    await proxy.accept()
    expect(await ask('127.0.0.1', proxy.port, 'PING\r\n')).toBe('+PONG\r\n')
  })

  it('leaves stranded connections open and silent for good, and forwards new ones', async () => {
    expect(proxy.strand()).toBe(1)
    const { bytesUp } = proxy.counters
    const lost = client.incr('n')
    lost.catch(() => undefined)
    expect(await ask('127.0.0.1', proxy.port, 'PING\r\n')).toBe('+PONG\r\n')
    proxy.thaw()
    expect(await direct.get('n')).toBeNull()
    expect(proxy.counters.bytesUp).toBe(bytesUp + 'PING\r\n'.length)
    expect(proxy.cut()).toBeGreaterThan(0)
    expect(await client.incr('m'), 'over another connection').toBe(1)
  })

  it('falls silent when frozen, and delivers what it held in order when thawed', async () => {
    proxy.freeze()
    const before = proxy.counters
    const replies = Promise.all([client.incr('n'), client.incr('n'), client.incr('n')])
    await expect(ask('127.0.0.1', proxy.port, 'PING\r\n', 200)).rejects.toThrow('did not answer')
    expect(await direct.get('n')).toBeNull()
    expect(proxy.counters).toMatchObject({ connections: 2, bytesUp: before.bytesUp, bytesDown: before.bytesDown })
    proxy.thaw()
    expect(await replies).toEqual([1, 2, 3])
  })

  it('drops one reply: the server did it, the client learns of it only by asking again', async () => {
    proxy.dropReplies(1)
    // ioredis sends again what it got no reply for
    expect(await client.incr('twice')).toBe(2)
    expect(proxy.counters).toMatchObject({ droppedReplies: 1, connections: 2, cuts: 1 })
  })

  it('drops all replies until told otherwise, and then cuts the connections that missed some', async () => {
    proxy.dropReplies(true)
    let answered = false
    const reply = client.incr('silent').finally(() => (answered = true))
    while ((await direct.get('silent')) === null) await sleep(5)
    while (proxy.counters.droppedReplies === 0) await sleep(5)
    expect(answered).toBe(false)
    expect(proxy.counters.cuts).toBe(0)
    proxy.dropReplies(false)
    expect(await reply).toBe(2)
    expect(proxy.counters.cuts).toBe(1)
  })

  it('delays each direction', async () => {
    proxy.latency(60)
    const before = performance.now()
    const replies = await Promise.all([client.incr('late'), client.incr('late')])
    expect(performance.now() - before).toBeGreaterThanOrEqual(119)
    expect(replies).toEqual([1, 2])
    proxy.latency(0)
    expect(await client.ping()).toBe('PONG')
  })

  it('passes the end of a stream on', async () => {
    await client.quit()
    while (proxy.counters.open > 0) await sleep(5)
    expect(proxy.counters.cuts).toBe(0)
  })

  it('closes the connection when the server is away', async () => {
    const nobody = await startProxy({ host: '127.0.0.1', port: 1 })
    await expect(ask('127.0.0.1', nobody.port, 'PING\r\n')).rejects.toThrow(/closed|ECONNRESET/)
    await nobody.stop()
  })

  it('refuses numbers that mean nothing', () => {
    expect(() => proxy.dropReplies(0)).toThrow('got 0')
    expect(() => proxy.latency(-1)).toThrow('got -1')
    expect(() => proxy.latency(Number.NaN)).toThrow(RangeError)
  })
}

describeWithServices('a proxy in front of Redis', ['redis'], inFrontOfRedis, { private: true })
