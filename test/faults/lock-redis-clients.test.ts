import { Cluster as Cluster6, Redis as Redis6 } from 'ioredis'
import { Cluster as Cluster5, Redis as Redis5 } from 'ioredis5'
import { Cluster as ValkeyCluster, Redis as Valkey } from 'iovalkey'
import { describe, expect, it, onTestFinished } from 'vitest'
import { createLock, createReadWriteLock } from '../../src/lock/index.js'
import { redisLock, type RedisLockClient } from '../../src/lock/redis/index.js'
import { redisCommand } from '../services/redis-fleet.js'
import { describeWithServices, uniqueName } from '../services/vitest.js'
import { until } from '../support/until.js'
import { closing } from './lock-support.js'

const patient = { timeoutMs: 30_000 }
type Client = RedisLockClient & { disconnect(): void; on(event: 'error', listener: () => void): unknown }
interface Address {
  readonly host: string
  readonly port: number
}

/** Each by how it is connected to one server and to a Cluster; the name is that of its connections. */
const libraries: [
  name: string,
  toOne: (options: Address & { connectionName: string; lazyConnect?: boolean }) => Client,
  toMany: (nodes: Address[], options: { redisOptions: { connectionName: string } }) => Client,
][] = [
  ['ioredis 6', (options) => new Redis6(options), (nodes, options) => new Cluster6(nodes, options)],
  ['ioredis 5', (options) => new Redis5(options), (nodes, options) => new Cluster5(nodes, options)],
  ['iovalkey', (options) => new Valkey(options), (nodes, options) => new ValkeyCluster(nodes, options)],
]

const idsIn = (list: string): string[] => [...list.matchAll(/^id=(\d+) /gm)].map(([, id = '']) => id)

/** Waiters are woken by a message, before and after the connection that hears it was killed; `close` leaves none open. */
function wakes(connect: (connectionName: string) => Client, ports: readonly number[], lazy: boolean): void {
  const used = (name: string): Client => {
    const client = connect(name)
    client.on('error', () => undefined)
    onTestFinished(() => client.disconnect())
    return client
  }
  const everywhere = async <T>(ask: (port: number) => Promise<T>): Promise<T[]> => Promise.all(ports.map(ask))
  const subscribersOf = async (channel: string): Promise<number> => {
    const counts = await everywhere(async (port) =>
      Number(((await redisCommand(port, 'PUBSUB', 'NUMSUB', channel)) as [string, number])[1]),
    )
    return counts.reduce((sum, count) => sum + count)
  }
  const kinds = [
    [
      'a mutex',
      (client: Client) => createLock(redisLock(client), patient),
      (key: string) => `redisson_lock__channel:{${key}}`,
    ],
    [
      'a writer',
      (client: Client) => createReadWriteLock(redisLock(client), patient).write,
      (key: string) => `spillway:read-write:{${key}}:channel`,
    ],
  ] as const

  it.each(kinds)(
    '%s, by a message, also on a new connection after the old one was killed',
    async (_, make, channelOf) => {
      const name = uniqueName('client')
      const client = used(name)
      expect(client.status === 'wait').toBe(lazy)
      const holder = closing(make(used(uniqueName('holder'))))
      const lock = make(client)
      const key = uniqueName('key').replaceAll('_', '')
      const connections = async (): Promise<number> => {
        const lists = await everywhere(async (port) => String(await redisCommand(port, 'CLIENT', 'LIST')))
        return lists.flatMap((list) => list.match(new RegExp(`name=\\S*${name}`, 'g')) ?? []).length
      }
      await (await lock.acquire(`${key}too`)).release()
      for (const kill of [false, true]) {
        const lease = await holder.acquire(key)
        const waiting = lock.acquire(key)
        await until(async () => (await subscribersOf(channelOf(key))) === 1)
        if (kill) {
          // Killed, it is at another node at once: all are listed before.
          const found = await everywhere(async (port) => {
            const list = String(await redisCommand(port, 'CLIENT', 'LIST', 'TYPE', 'pubsub'))
            const own = list.split('\n').filter((line) => line.includes(name))
            return idsIn(own.join('\n')).map((id) => ({ port, id }))
          })
          expect(found.flat()).toHaveLength(1)
          for (const { port, id } of found.flat()) await redisCommand(port, 'CLIENT', 'KILL', 'ID', id)
          await until(async () => (await subscribersOf(channelOf(key))) === 1)
        }
        const startedMs = performance.now()
        expect(await lease.release()).toBe(true)
        const theirs = await waiting
        expect(performance.now() - startedMs, 'far less than the TTL of 30 s').toBeLessThan(10_000)
        expect(await theirs.release()).toBe(true)
      }
      const withSubscriber = await connections()
      await lock.close()
      await until(async () => (await subscribersOf(channelOf(key))) === 0)
      await until(async () => (await connections()) < withSubscriber)
      client.disconnect()
      await until(async () => (await connections()) === 0)
    },
  )
}

describeWithServices('on one server', ['redis'], ({ redis: { host, port } }) => {
  describe.each(libraries)('%s wakes', (_, toOne) => {
    wakes((connectionName) => toOne({ host, port, connectionName }), [port], false)
  })
  describe('ioredis 6 with lazyConnect wakes', () => {
    wakes((connectionName) => new Redis6({ host, port, connectionName, lazyConnect: true }), [port], true)
  })
})

describeWithServices('on a Cluster', ['redis-cluster'], ({ 'redis-cluster': cluster }) => {
  const nodes = cluster.nodes.map(({ host, port }) => ({ host, port }))
  const ports = nodes.map(({ port }) => port)
  describe.each(libraries)('%s wakes', (_, _toOne, toMany) => {
    wakes((connectionName) => toMany(nodes, { redisOptions: { connectionName } }), ports, false)
  })
})
