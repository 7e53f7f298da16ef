import { access, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { formatAddress, parseAddresses } from './address.js'
import { requireProgram } from './apt.js'
import { startContainer } from './container.js'
import { startDaemon, temporaryFolder } from './daemon.js'
import { fromEnvironment } from './environment.js'
import { mavenJars } from './maven.js'
import { ask, freePort } from './net.js'
import { firstThatStarts, retried } from './resolve.js'
import { asService, notOurs, type Service } from './service.js'

export interface ZooKeeperOptions {
  /** Never the servers that the environment names, so that the faults are there. @defaultValue false */
  readonly private?: boolean
}

export interface ZooKeeperService extends Service {
  /** `host:port` of each server. */
  readonly servers: readonly string[]
}

const ZOOKEEPER = { group: 'org.apache.zookeeper', name: 'zookeeper', version: '3.8.4' }
const PROVIDED = [
  { group: 'io.dropwizard.metrics', name: 'metrics-core', version: '4.1.12.1' },
  { group: 'org.xerial.snappy', name: 'snappy-java', version: '1.1.10.5' },
]
const DEBIAN_JARS = '/usr/share/java'

/** The configuration of a single server whose sessions may be as short as a second, and as long as a minute. */
export const zooKeeperConfiguration = (port: number, dataFolder: string): string =>
  [
    'tickTime=500',
    // Otherwise a session lasts for 20 ticks at most.
    'maxSessionTimeout=60000',
    `dataDir=${dataFolder}`,
    `clientPort=${port}`,
    'clientPortAddress=127.0.0.1',
    'maxClientCnxns=0',
    'admin.enableServer=false',
    '4lw.commands.whitelist=*',
    '',
  ].join('\n')

/** Throws unless a ZooKeeper serves there. */
const zooKeeperAnswers = async (host: string, port: number): Promise<void> => {
  const answer = await ask(host, port, 'srvr', 2_000)
  if (!answer.startsWith('Zookeeper version')) throw new Error(`ZooKeeper at ${host}:${port} answered ${answer.trim()}`)
}

const given = fromEnvironment<ZooKeeperService>('SPILLWAY_ZOOKEEPER_SERVERS', async (value) => {
  const servers = parseAddresses(value, 2181)
  await Promise.any(servers.map(({ host, port }) => zooKeeperAnswers(host, port)))
  const running = notOurs('SPILLWAY_ZOOKEEPER_SERVERS names this ZooKeeper')
  return asService('zookeeper', 'environment', { servers: servers.map(formatAddress) }, running)
})

const contained = async (): Promise<ZooKeeperService> => {
  const { host, ports, running } = await startContainer({
    image: 'zookeeper:3.8',
    ports: [2181],
    environment: {
      ZOO_TICK_TIME: '500',
      ZOO_CFG_EXTRA: 'maxSessionTimeout=60000',
      ZOO_MAX_CLIENT_CNXNS: '0',
      ZOO_ADMINSERVER_ENABLED: 'false',
      ZOO_4LW_COMMANDS_WHITELIST: '*',
    },
    ready: (host, [port]) => zooKeeperAnswers(host, port as number),
  })
  return asService('zookeeper', 'container', { servers: [`${host}:${ports[0]}`] }, running)
}

const classPath = async (): Promise<string> => {
  const debian = join(DEBIAN_JARS, 'zookeeper.jar')
  return access(debian).then(
    () => `${debian}:${join(DEBIAN_JARS, '*')}`,
    async () => join(await mavenJars(ZOOKEEPER, PROVIDED), '*'),
  )
}

const native = async (): Promise<ZooKeeperService> => {
  const java = await requireProgram('default-jre-headless', 'java')
  const jars = await classPath()
  return retried(async () => {
    const port = await freePort()
    const folder = await temporaryFolder('zookeeper')
    const configuration = join(folder, 'zoo.cfg')
    const running = await startDaemon({
      name: 'ZooKeeper',
      folder,
      command: java,
      args: ['-Xmx256m', '-cp', jars, 'org.apache.zookeeper.server.quorum.QuorumPeerMain', configuration],
      prepare: () => writeFile(configuration, zooKeeperConfiguration(port, join(folder, 'data'))),
      ready: () => zooKeeperAnswers('127.0.0.1', port),
    })
    return asService('zookeeper', 'native', { servers: [`127.0.0.1:${port}`] }, running)
  })
}

/** A ZooKeeper: the one that `SPILLWAY_ZOOKEEPER_SERVERS` names, or else a single server of our own. */
export const startZooKeeper = (options: ZooKeeperOptions = {}): Promise<ZooKeeperService> =>
  firstThatStarts<ZooKeeperService>('zookeeper', [
    ...(options.private ? [] : [given]),
    { name: 'container', start: contained },
    { name: 'native', start: native },
  ])
