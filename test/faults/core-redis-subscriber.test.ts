import { Cluster, Redis as Redis6 } from 'ioredis'
import { Redis as Redis5 } from 'ioredis5'
import { Redis as Valkey } from 'iovalkey'
import { describe, expect, it, onTestFinished } from 'vitest'
import { listenTo, type Listening, type RedisSubscribable } from '../../src/core/redis-subscriber.js'
import { sleep } from '../services/net.js'
import { describeWithServices, uniqueName } from '../services/vitest.js'
import { startProxy, type FaultProxy, type ProxyTarget } from '../support/proxy.js'
import { until } from '../support/until.js'
import { connect } from './cache-support.js'

type Told = 'heard' | 'lost' | number

/** What a listener was told, in order: messages are numbers. */
interface Ear {
  readonly told: Told[]
  readonly listening: Listening
  readonly isHeard: () => boolean
}

function ear(redis: RedisSubscribable, channel: string): Ear {
  const told: Told[] = []
  let isHeard = false
  const listening = listenTo(redis, channel, {
    message: (text) => told.push(Number(text)),
    heard() {
      isHeard = true
      told.push('heard')
    },
    lost() {
      isHeard = false
      told.push('lost')
    },
  })
  onTestFinished(() => listening.close())
  return { told, listening, isHeard: () => isHeard }
}

/** The messages that were told of from each `heard` to the next `lost`. */
function heardPeriods(told: readonly Told[]): number[][] {
  const periods: number[][] = []
  let current: number[] | undefined
  for (const one of told) {
    if (one === 'heard') periods.push((current = []))
    else if (one === 'lost') current = undefined
    else current?.push(one)
  }
  return periods
}

async function proxied(target: ProxyTarget): Promise<FaultProxy> {
  const proxy = await startProxy(target)
  onTestFinished(() => proxy.stop())
  return proxy
}

type Client = RedisSubscribable & { disconnect(): void; on(event: 'error', listener: () => void): unknown }
const clients: [string, (target: ProxyTarget) => Client][] = [
  ['ioredis 6', ({ host, port }) => new Redis6({ host, port })],
  ['ioredis 5', ({ host, port }) => new Redis5({ host, port })],
  ['iovalkey', ({ host, port }) => new Valkey({ host, port })],
]

/** Its own connection goes through a proxy as well, which is cut with the rest. */
const quiet = <C extends Client>(client: C): C => {
  client.on('error', () => undefined)
  onTestFinished(() => client.disconnect())
  return client
}

describeWithServices('a listener on Redis', ['redis'], ({ redis: server }) => {
  const listenersOf = async (redis: Redis6, channel: string): Promise<number> =>
    Number(((await redis.pubsub('NUMSUB', channel)) as [string, number])[1])

  describe.each(clients)('with %s', (_, create) => {
    it('misses nothing between heard and lost, however often its connection is cut', async () => {
      const proxy = await proxied(server)
      const publisher = connect(server)
      const channel = uniqueName('channel')
      const { told, isHeard } = ear(quiet(create(proxy)), channel)
      await until(isHeard, 'it hears')
      let sent = 0
      let over = false
      const publishing = (async () => {
        while (!over) await publisher.publish(channel, `${++sent}`)
      })()
      for (let turn = 0; turn < 12; turn++) {
        await sleep(5 + 7 * turn)
        const known = told.length
        proxy.cut()
        await until(() => told.slice(known).includes('lost'), 'it notices')
        await until(isHeard, 'it hears again')
      }
      await until(() => heardPeriods(told).flat().length > 200, 'much is heard')
      over = true
      await publishing
      await until(() => told.at(-1) === sent, 'the last message arrives')
      const periods = heardPeriods(told)
      expect(periods.length).toBeGreaterThanOrEqual(13)
      let heard = 0
      for (const period of periods) {
        heard += period.length
        const [first = 0] = period
        expect(period).toEqual(period.map((_, i) => first + i))
      }
      expect(heard).toBeGreaterThan(200)
      const all = told.filter((one): one is number => typeof one === 'number')
      expect(heard, 'some were lost, or this shows nothing').toBeLessThan(sent)
      expect(all, 'in order, none twice').toEqual([...new Set(all)].sort((a, b) => a - b))
    })

    it('has one connection at a time, and none after it was closed', async () => {
      const proxy = await proxied(server)
      const publisher = connect(server)
      const channel = uniqueName('channel')
      const redis = quiet(create(server))
      const { told, listening, isHeard } = ear(
        Object.assign(Object.create(redis) as Client, { duplicate: () => quiet(create(proxy)) }),
        channel,
      )
      await until(isHeard, 'it hears')
      for (let turn = 0; turn < 4; turn++) {
        const known = told.length
        if (turn % 2) proxy.cut()
        else listening.reopen()
        await until(() => told.length > known && isHeard(), 'it hears again')
        await until(async () => (await listenersOf(publisher, channel)) === 1, 'one listens')
      }
      listening.close()
      await until(async () => (await listenersOf(publisher, channel)) === 0, 'none listens')
      await until(() => proxy.counters.open === 0, 'its connection is closed')
      const { connections } = proxy.counters
      await publisher.publish(channel, '1')
      await sleep(300)
      expect(proxy.counters.connections).toBe(connections)
      expect(told.at(-1)).toBe('lost')
    })
  })

  it('checks that all has arrived: what was said before the check is told before it resolves', async () => {
    const publisher = connect(server)
    const channel = uniqueName('channel')
    const { told, listening, isHeard } = ear(connect(server), channel)
    await until(isHeard, 'it hears')
    for (let i = 1; i <= 200; i++) {
      await publisher.publish(channel, `${i}`)
      await listening.check()
      expect(told.at(-1)).toBe(i)
    }
    expect(told[0]).toBe('heard')
  })

  it('does not pass a check on a silent connection, and opens another when told to', async () => {
    const target = { host: server.host, port: server.port }
    const proxy = await proxied(target)
    const publisher = connect(server)
    const channel = uniqueName('channel')
    const { told, listening, isHeard } = ear(connect(proxy), channel)
    await until(isHeard, 'it hears')
    proxy.freeze()
    let checked = 0
    void listening.check().then(
      () => checked++,
      () => undefined,
    )
    await publisher.publish(channel, '1')
    await sleep(300)
    expect([checked, told]).toEqual([0, ['heard']])
    const { connections } = proxy.counters
    listening.reopen()
    expect(told).toEqual(['heard', 'lost'])
    await until(() => proxy.counters.connections > connections, 'another is opened')
    proxy.thaw()
    await until(isHeard, 'it hears again')
    await publisher.publish(channel, '2')
    await until(() => told.includes(2), 'messages arrive')
    // The old connection, which was thawed too, is nobody's any more.
    expect(told).toEqual(['heard', 'lost', 'heard', 2])
  })

  it('rejects a check while it has no connection, and hears again when there is one', async () => {
    const proxy = await proxied(server)
    const publisher = connect(server)
    const channel = uniqueName('channel')
    const { told, listening, isHeard } = ear(connect(proxy), channel)
    await until(isHeard, 'it hears')
    await proxy.refuse()
    expect(proxy.cut()).toBe(2)
    await until(() => told.at(-1) === 'lost', 'it notices')
    await expect(listening.check()).rejects.toThrow('not ready')
    await proxy.accept()
    await until(isHeard, 'it hears again')
    await publisher.publish(channel, '1')
    await until(() => told.at(-1) === 1, 'messages arrive')
  })

  it('ends with its client', async () => {
    const publisher = connect(server)
    const channel = uniqueName('channel')
    const redis = connect(server)
    const { told, isHeard } = ear(redis, channel)
    await until(isHeard, 'it hears')
    redis.disconnect()
    await until(async () => (await listenersOf(publisher, channel)) === 0, 'none listens')
    expect(told).toEqual(['heard', 'lost'])
  })

  it('opens another connection when the client gives one up for good', async () => {
    const proxy = await proxied(server)
    const channel = uniqueName('channel')
    // After one failed try a connection of this client has ended.
    const redis = quiet(new Redis6({ host: proxy.host, port: proxy.port, retryStrategy: () => null }))
    const straight = Object.assign(Object.create(connect(server)) as Redis6, { duplicate: () => redis.duplicate() })
    const { isHeard, told } = ear(straight, channel)
    await until(isHeard, 'it hears')
    for (let turn = 0; turn < 3; turn++) {
      const known = told.length
      proxy.cut()
      await until(() => told.slice(known).includes('lost'), 'it notices')
      await until(isHeard, 'it hears again')
    }
    expect(proxy.counters.connections).toBeGreaterThanOrEqual(4)
  })
})

describeWithServices(
  'a listener on a Redis Cluster',
  ['redis-cluster'],
  (services) => {
    it('listens to one node, and hears again when that connection has been killed', async () => {
      const nodes = [...services['redis-cluster'].nodes]
      const cluster = new Cluster(nodes)
      onTestFinished(() => cluster.disconnect())
      const channel = uniqueName('channel')
      // It is not connected yet, and has no nodes to choose from.
      const { told, isHeard } = ear(cluster, channel)
      await until(isHeard, 'it hears')
      for (let turn = 1; turn <= 3; turn++) {
        await cluster.publish(channel, `${turn}`)
        await until(() => told.includes(turn), 'a message to any node arrives')
        const known = told.length
        let killed = 0
        for (const node of cluster.nodes('master')) {
          const [, count] = (await node.call('PUBSUB', 'NUMSUB', channel)) as [string, number]
          if (Number(count) === 0) continue
          killed += Number(await node.call('CLIENT', 'KILL', 'TYPE', 'pubsub', 'SKIPME', 'yes'))
        }
        expect(killed).toBeGreaterThan(0)
        await until(() => told.slice(known).includes('lost'), 'it notices')
        await until(isHeard, 'it hears again')
      }
      expect(told.filter((one) => one === 'lost')).toHaveLength(3)
    })
  },
  { private: true },
)
