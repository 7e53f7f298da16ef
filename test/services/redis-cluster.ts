import { formatAddress, parseAddresses, type Address } from './address.js'
import { fromEnvironment } from './environment.js'
import { freePorts } from './net.js'
import { redisAnswers, redisArguments, type RedisOptions } from './redis.js'
import { eventually, redisCommand, startContainedFleet, startNativeFleet, type Member } from './redis-fleet.js'
import { firstThatStarts, retried } from './resolve.js'
import { asService, notOurs, type Running, type Service } from './service.js'

/** A Redis Cluster of three masters with a replica each; `node(port)` gives the faults of one of them. */
export interface RedisClusterService extends Service {
  readonly nodes: readonly Address[]
  readonly urls: readonly string[]
}

const MASTERS = 3
const SLOTS = 16_384
const BUS = 10_000

const clusterMember = (port: number, options: RedisOptions): Member => ({
  port,
  args: [
    ...redisArguments(options),
    ...['--cluster-enabled', 'yes', '--cluster-config-file', 'nodes.conf'],
    // Nobody kills a shared one, and a node of it that is held up is to keep its place.
    ...['--cluster-node-timeout', options.private ? '2000' : '15000'],
    ...['--cluster-announce-ip', '127.0.0.1'],
  ],
})

/** The slots of master `index`, in order. */
export const slotsOf = (index: number): number[] => {
  const from = Math.ceil((index * SLOTS) / MASTERS)
  const to = Math.ceil(((index + 1) * SLOTS) / MASTERS)
  return Array.from({ length: to - from }, (_, slot) => from + slot)
}

/** The ports of the masters, read from what `CLUSTER NODES` says. */
export const mastersIn = (clusterNodes: string): number[] =>
  clusterNodes
    .split('\n')
    .map((line) => line.split(' '))
    .filter(([, , flags = '']) => /(^|,)master(,|$)/.test(flags) && !/fail|noaddr|handshake/.test(flags))
    .map(([, address = '']) => Number(/:(\d+)@/.exec(address)?.[1]))

/** The ports of the masters that are alive, as the node at `port` sees it. */
export const clusterMasters = async (port: number): Promise<number[]> =>
  mastersIn(String(await redisCommand(port, 'CLUSTER', 'NODES')))

const everyone = async (ports: readonly number[], holds: (port: number) => Promise<boolean>): Promise<boolean> =>
  (await Promise.all(ports.map(holds))).every(Boolean)

const formCluster = async (ports: readonly number[]): Promise<void> => {
  const masters = ports.slice(0, MASTERS)
  const replicas = ports.slice(MASTERS)
  await Promise.all(
    masters.map(async (port, index) => {
      await redisCommand(port, 'CLUSTER', 'SET-CONFIG-EPOCH', `${index + 1}`)
      await redisCommand(port, 'CLUSTER', 'ADDSLOTS', ...slotsOf(index).map(String))
    }),
  )
  const [first, ...others] = ports as [number, ...number[]]
  const introduce = async (): Promise<void> => {
    // A node that does not answer within the node time-out is forgotten, and must be introduced again.
    const known = String(await redisCommand(first, 'CLUSTER', 'NODES'))
    for (const port of others.filter((port) => !known.includes(`:${port}@`))) {
      await redisCommand(first, 'CLUSTER', 'MEET', '127.0.0.1', `${port}`)
    }
  }
  const acquainted = async (port: number): Promise<boolean> => {
    const nodes = String(await redisCommand(port, 'CLUSTER', 'NODES')).trim()
    return nodes.split('\n').length === ports.length && !nodes.includes('handshake')
  }
  const allAcquainted = async (): Promise<boolean> => {
    await introduce()
    return everyone(ports, acquainted)
  }
  await eventually(allAcquainted, 'that the cluster’s nodes know each other')
  await Promise.all(
    replicas.map(async (port, index) => {
      const id = String(await redisCommand(masters[index] as number, 'CLUSTER', 'MYID'))
      await redisCommand(port, 'CLUSTER', 'REPLICATE', id)
    }),
  )
  const inSync = async (port: number): Promise<boolean> => {
    const cluster = String(await redisCommand(port, 'CLUSTER', 'INFO'))
    const replication = String(await redisCommand(port, 'INFO', 'replication'))
    const expected = masters.includes(port) ? 'connected_slaves:1' : 'master_link_status:up'
    return cluster.includes('cluster_state:ok') && replication.includes(expected)
  }
  await eventually(() => everyone(ports, inSync), 'that the cluster serves and its replicas follow')
}

const addresses = (nodes: readonly Address[]) => ({
  nodes,
  urls: nodes.map((node) => `redis://${formatAddress(node)}`),
})

const given = fromEnvironment<RedisClusterService>('SPILLWAY_REDIS_CLUSTER_URLS', async (value) => {
  const nodes = parseAddresses(value, 6379)
  await Promise.any(nodes.map(({ host, port }) => redisAnswers(host, port)))
  const running = notOurs('SPILLWAY_REDIS_CLUSTER_URLS names this cluster')
  return asService('redis-cluster', 'environment', addresses(nodes), running)
})

const ours = (origin: 'container' | 'native', start: (members: readonly Member[]) => Promise<Running>) => {
  return (options: RedisOptions): Promise<RedisClusterService> =>
    retried(async () => {
      const ports = await freePorts(2 * MASTERS, BUS)
      const running = await start(ports.map((port) => clusterMember(port, options)))
      try {
        await formCluster(ports)
      } catch (error) {
        await running.stop()
        throw error
      }
      const nodes = ports.map((port) => ({ host: '127.0.0.1', port }))
      return asService('redis-cluster', origin, addresses(nodes), running)
    })
}

const contained = ours('container', startContainedFleet)
const native = ours('native', startNativeFleet)

/** A Redis Cluster: the one that `SPILLWAY_REDIS_CLUSTER_URLS` names, or else six servers of our own. */
export const startRedisCluster = (options: RedisOptions = {}): Promise<RedisClusterService> => {
  const own = options.private ?? (options.durable === true || options.args !== undefined)
  return firstThatStarts<RedisClusterService>('redis-cluster', [
    ...(own ? [] : [given]),
    { name: 'container', start: () => contained({ ...options, private: own }) },
    { name: 'native', start: () => native({ ...options, private: own }) },
  ])
}
