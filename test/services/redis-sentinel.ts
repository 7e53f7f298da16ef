import { parseAddresses, type Address } from './address.js'
import { fromEnvironment } from './environment.js'
import { freePorts } from './net.js'
import { redisAnswers, redisArguments, type RedisOptions } from './redis.js'
import { eventually, redisCommand, startContainedFleet, startNativeFleet, type Member } from './redis-fleet.js'
import { firstThatStarts, retried } from './resolve.js'
import { asService, notOurs, type Running, type Service } from './service.js'

/** A master with two replicas under three Sentinels; `node(port)` gives the faults of one of them. */
export interface SentinelService extends Service {
  /** What the Sentinels call the master. */
  readonly name: string
  readonly sentinels: readonly Address[]
  /** The servers they watch; the first is the master at the start. Empty when the environment gave the Sentinels. */
  readonly servers: readonly Address[]
}

const NAME = 'mymaster'
const SERVERS = 3
const SENTINELS = 3

/** The configuration of one Sentinel: quick to call a master down, quick to try again. */
export const sentinelConfiguration = (masterPort: number): string =>
  [
    `sentinel monitor ${NAME} 127.0.0.1 ${masterPort} 2`,
    `sentinel down-after-milliseconds ${NAME} 2000`,
    `sentinel failover-timeout ${NAME} 5000`,
    'sentinel announce-ip 127.0.0.1',
    '',
  ].join('\n')

const members = (servers: readonly number[], sentinels: readonly number[], options: RedisOptions): Member[] => {
  const master = servers[0] as number
  return [
    ...servers.map((port) => ({
      port,
      args: [
        ...redisArguments(options),
        ...['--replica-announce-ip', '127.0.0.1', '--repl-diskless-sync-delay', '0'],
        ...(port === master ? [] : ['--replicaof', '127.0.0.1', `${master}`]),
      ],
    })),
    ...sentinels.map((port) => ({
      port,
      args: ['--sentinel'],
      configuration: sentinelConfiguration(master),
    })),
  ]
}

/** The port of the master, as the Sentinel at `port` sees it. */
export const sentinelMaster = async (port: number, name = NAME): Promise<number> => {
  const address = (await redisCommand(port, 'SENTINEL', 'get-master-addr-by-name', name)) as [string, string] | null
  if (!address) throw new Error(`the Sentinel on port ${port} knows no ${name}`)
  return Number(address[1])
}

const acquainted = async (port: number): Promise<boolean> => {
  const fields = (await redisCommand(port, 'SENTINEL', 'MASTER', NAME)) as string[]
  const value = (name: string): string | undefined => fields[fields.indexOf(name) + 1]
  return value('num-slaves') === `${SERVERS - 1}` && value('num-other-sentinels') === `${SENTINELS - 1}`
}

const follows = async (port: number): Promise<boolean> =>
  String(await redisCommand(port, 'INFO', 'replication')).includes('master_link_status:up')

const given = fromEnvironment<SentinelService>('SPILLWAY_REDIS_SENTINELS', async (value) => {
  const sentinels = parseAddresses(value, 26_379)
  const name = process.env['SPILLWAY_REDIS_SENTINEL_NAME'] ?? NAME
  await Promise.any(sentinels.map(({ host, port }) => redisAnswers(host, port)))
  const running = notOurs('SPILLWAY_REDIS_SENTINELS names these Sentinels')
  return asService('redis-sentinel', 'environment', { name, sentinels, servers: [] }, running)
})

const ours = (origin: 'container' | 'native', start: (members: readonly Member[]) => Promise<Running>) => {
  return (options: RedisOptions): Promise<SentinelService> =>
    retried(async () => {
      const ports = await freePorts(SERVERS + SENTINELS)
      const [servers, sentinels] = [ports.slice(0, SERVERS), ports.slice(SERVERS)]
      const running = await start(members(servers, sentinels, options))
      try {
        const settled = async (): Promise<boolean> =>
          (await Promise.all([...sentinels.map(acquainted), ...servers.slice(1).map(follows)])).every(Boolean)
        await eventually(settled, 'that the Sentinels know each other and the replicas follow')
      } catch (error) {
        await running.stop()
        throw error
      }
      const at = (port: number): Address => ({ host: '127.0.0.1', port })
      const addresses = { name: NAME, sentinels: sentinels.map(at), servers: servers.map(at) }
      return asService('redis-sentinel', origin, addresses, running)
    })
}

const contained = ours('container', startContainedFleet)
const native = ours('native', startNativeFleet)

/** Redis under Sentinels: the ones that `SPILLWAY_REDIS_SENTINELS` names, or else a set of our own. */
export const startSentinel = (options: RedisOptions = {}): Promise<SentinelService> => {
  const own = options.private ?? (options.durable === true || options.args !== undefined)
  return firstThatStarts<SentinelService>('redis-sentinel', [
    ...(own ? [] : [given]),
    { name: 'container', start: () => contained(options) },
    { name: 'native', start: () => native(options) },
  ])
}
