import { Cluster, Redis as Redis6 } from 'ioredis'
import { Redis as Redis5 } from 'ioredis5'
import { Redis as Valkey } from 'iovalkey'
import { describe, expect, it, onTestFinished } from 'vitest'
import { keepListening, listenTo, type Listening, type RedisSubscribable } from '../../src/core/redis-subscriber.js'
import { sleep } from '../services/net.js'
import { describeWithServices, uniqueName } from '../services/vitest.js'
import { complaints } from '../support/complaints.js'
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

/** Listens, and notes why it may not. */
function refusable(redis: RedisSubscribable, channel: string) {
  const refusals: string[] = []
  let isHeard = false
  const listening = listenTo(redis, channel, {
    message: () => undefined,
    heard: () => (isHeard = true),
    lost: () => (isHeard = false),
    refused: ({ message }) => refusals.push(message),
  })
  onTestFinished(() => listening.close())
  return { refusals, isHeard: () => isHeard }
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

/** The client that the library would have made of `client`, at the same address. */
const duplicateAt = (client: Client, override: object): Client => {
  client.disconnect()
  return client.duplicate(override) as Client
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
  'a connection that listens',
  ['redis'],
  ({ redis: server }) => {
    const connectionsThatListen = async (redis: Redis6): Promise<number> =>
      ((await redis.call('CLIENT', 'LIST', 'TYPE', 'pubsub')) as string).split('\n').filter(Boolean).length

    it('is one for a client, however many channels it listens to, and gives no warning', async () => {
      const heard = complaints()
      const publisher = connect(server)
      const redis = connect(server)
      const base = uniqueName('channel')
      const before = await connectionsThatListen(publisher)
      const ears = Array.from({ length: 40 }, (_, i) => ear(redis, `${base}:${i % 20}`))
      await until(() => ears.every(({ isHeard }) => isHeard()), 'all hear')
      expect(await connectionsThatListen(publisher)).toBe(before + 1)
      for (let i = 0; i < 20; i++) await publisher.publish(`${base}:${i}`, `${i}`)
      await until(() => ears.every(({ told }) => told.length === 2), 'each is told')
      expect(ears.map(({ told }) => told)).toEqual(ears.map((_, i) => ['heard', i % 20]))
      for (const { listening } of ears.slice(1)) listening.close()
      await publisher.publish(`${base}:0`, '99')
      await until(() => ears[0]?.told.at(-1) === 99, 'who is left still hears')
      expect(await connectionsThatListen(publisher)).toBe(before + 1)
      ears[0]?.listening.close()
      await until(async () => (await connectionsThatListen(publisher)) === before, 'it is closed')
      expect(heard).toEqual([])
    })

    it('is kept open for who listens to one channel after another', async () => {
      const redis = connect(server)
      const proxy = await proxied(server)
      const client = Object.assign(Object.create(redis) as Client, { duplicate: () => quiet(new Redis6(proxy.port)) })
      const release = keepListening(client)
      for (let turn = 0; turn < 20; turn++) {
        const { isHeard, listening } = ear(client, uniqueName('channel'))
        await until(isHeard, 'it hears')
        listening.close()
      }
      expect(proxy.counters).toMatchObject({ connections: 1, open: 1 })
      release()
      release()
      await until(() => proxy.counters.open === 0, 'it is closed')
    })

    it('is opened anew for the next listener where it died without a word while nobody listened', async () => {
      const redis = connect(server)
      const proxy = await proxied(server)
      const client = Object.assign(Object.create(redis) as Client, { duplicate: () => quiet(new Redis6(proxy.port)) })
      onTestFinished(keepListening(client))
      const before = ear(client, uniqueName('channel'))
      await until(before.isHeard, 'it hears')
      before.listening.close()
      proxy.freeze()
      const { isHeard } = ear(client, uniqueName('channel'))
      await until(() => proxy.counters.connections > 1, 'another is opened')
      proxy.thaw()
      await until(isHeard, 'it hears')
    })

    it('misses nothing on a channel that is left and listened to again at once', async () => {
      const redis = connect(server)
      const publisher = connect(server)
      const channel = uniqueName('channel')
      const keeper = ear(redis, uniqueName('other'))
      await until(keeper.isHeard, 'it hears')
      let sent = 0
      let over = false
      const publishing = (async () => {
        while (!over) await publisher.publish(channel, `${++sent}`)
      })()
      for (let turn = 0; turn < 200; turn++) {
        const { told, isHeard, listening } = ear(redis, channel)
        if (turn % 3 > 0) await until(() => isHeard() && told.length > 2, 'messages arrive')
        listening.close()
        for (const period of heardPeriods(told)) expect(period).toEqual(period.map((_, i) => (period[0] ?? 0) + i))
      }
      over = true
      await publishing
      const { told, isHeard } = ear(redis, channel)
      await until(isHeard, 'it hears at last')
      await publisher.publish(channel, '0')
      await until(() => told.at(-1) === 0, 'messages arrive')
    })

    it.each(clients)('that falls silent while it subscribes again ends nothing: %s', async (_, create) => {
      const heard = complaints()
      const proxy = await proxied(server)
      const redis = quiet(create(server))
      const client = Object.assign(Object.create(redis) as Client, {
        duplicate: (override: object) => quiet(duplicateAt(create(proxy), override)),
      })
      const { isHeard, listening, told } = ear(client, uniqueName('channel'))
      await until(isHeard, 'it hears')
      const { connections } = proxy.counters
      proxy.freezeAt('subscribe')
      proxy.cut()
      await until(() => told.at(-1) === 'lost' && proxy.counters.connections > connections, 'it is opened again')
      await sleep(300)
      listening.reopen()
      await sleep(100)
      listening.close()
      proxy.cut()
      await sleep(300)
      expect(heard).toEqual([])
    })

    it('is opened anew when the server accepts it and does not answer, whatever time-outs the client has', async () => {
      const proxy = await proxied(server)
      const redis = quiet(new Redis6({ port: proxy.port, commandTimeout: 50, connectTimeout: 60_000 }))
      const { isHeard, told } = ear(redis, uniqueName('channel'))
      await until(isHeard, 'it hears')
      proxy.freeze()
      proxy.cut()
      await until(() => told.at(-1) === 'lost', 'it notices')
      const { connections } = proxy.counters
      await until(() => proxy.counters.connections >= connections + 3, 'connections are given up')
      // What was frozen stays silent: only a new connection can be heard on.
      proxy.cut()
      proxy.thaw()
      await until(isHeard, 'it hears again')
    })

    it('tells once why it may not listen, and listens as soon as it may', async () => {
      const admin = connect(server)
      const user = uniqueName('user')
      await admin.call('ACL', 'SETUSER', user, 'on', '>pw', '~*', '+@all', 'resetchannels')
      onTestFinished(() => void admin.call('ACL', 'DELUSER', user))
      const redis = quiet(new Redis6({ port: server.port, username: user, password: 'pw' }))
      const channel = uniqueName('channel')
      const { refusals, isHeard } = refusable(redis, channel)
      await until(() => refusals.length > 0, 'it is told')
      await sleep(2_500)
      expect(refusals).toEqual([expect.stringMatching(/^NOPERM/)])
      expect(isHeard()).toBe(false)
      await admin.call('ACL', 'SETUSER', user, 'allchannels')
      await until(isHeard, 'it hears')
    })

    it('tells why the server has no connection for it, and listens as soon as it has', async () => {
      const admin = connect(server)
      const redis = connect(server)
      await redis.ping()
      // Who is connected stays.
      await admin.config('SET', 'maxclients', 1)
      const { refusals, isHeard } = refusable(redis, uniqueName('channel'))
      await until(() => refusals.length > 0, 'it is told')
      expect(refusals[0]).toContain('`maxclients`')
      await admin.config('SET', 'maxclients', 10_000)
      await until(isHeard, 'it hears')
      expect(refusals).toHaveLength(1)
    })
  },
  { private: true },
)

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
          // By now it may listen to the next of them.
          break
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
