import { randomBytes } from 'node:crypto'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { Kafka, logLevel } from 'kafkajs'
import { formatAddress, parseAddresses } from './address.js'
import { requireProgram, run } from './apt.js'
import { startContainer } from './container.js'
import { startDaemon, temporaryFolder } from './daemon.js'
import { fromEnvironment } from './environment.js'
import { mavenJars } from './maven.js'
import { freePort, freePorts } from './net.js'
import { firstThatStarts, retried } from './resolve.js'
import { asService, notOurs, type Service } from './service.js'

export interface KafkaOptions {
  /** Never the brokers that the environment names, so that the faults are there. @defaultValue false */
  readonly private?: boolean
}

export interface KafkaService extends Service {
  /** `host:port` of each broker. */
  readonly brokers: readonly string[]
}

const KAFKA = { group: 'org.apache.kafka', name: 'kafka_2.13', version: '4.3.1' }
/** Without it Kafka says nothing, not even why it ends. */
const LOG = { group: 'org.slf4j', name: 'slf4j-simple', version: '1.7.36' }
const IMAGE = 'apache/kafka:4.1.0'
const HEAP = ['-Xms256m', '-Xmx512m']
const QUIET = ['-Dorg.slf4j.simpleLogger.defaultLogLevel=warn', '-Dorg.slf4j.simpleLogger.showDateTime=true']
/** It does not live long enough to earn back what the optimising compiler and a concurrent collector cost. */
const SHORT_LIVED = ['-XX:TieredStopAtLevel=1', '-XX:+UseSerialGC']

/** The settings of a single node that is broker and controller, small and quick to answer. */
export const kafkaSettings = (where: {
  readonly listen: string
  readonly advertised: string
  readonly controllerPort: number
  readonly dataFolder: string
  /** A killed broker is replaced at once; one that stands still for two seconds is shut out for a moment, too. */
  readonly quick: boolean
}): Record<string, string> => ({
  'node.id': '1',
  'process.roles': 'broker,controller',
  'controller.quorum.voters': `1@127.0.0.1:${where.controllerPort}`,
  listeners: `PLAINTEXT://${where.listen},CONTROLLER://127.0.0.1:${where.controllerPort}`,
  'advertised.listeners': `PLAINTEXT://${where.advertised}`,
  'controller.listener.names': 'CONTROLLER',
  'listener.security.protocol.map': 'PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT',
  'inter.broker.listener.name': 'PLAINTEXT',
  'log.dirs': where.dataFolder,
  'auto.create.topics.enable': 'false',
  'num.partitions': '4',
  'offsets.topic.num.partitions': '4',
  'offsets.topic.replication.factor': '1',
  'transaction.state.log.num.partitions': '4',
  'transaction.state.log.replication.factor': '1',
  'transaction.state.log.min.isr': '1',
  'share.coordinator.state.topic.replication.factor': '1',
  'share.coordinator.state.topic.min.isr': '1',
  'group.initial.rebalance.delay.ms': '0',
  // how long a killed broker keeps its own successor out
  'broker.session.timeout.ms': where.quick ? '2000' : '9000',
  'broker.heartbeat.interval.ms': '500',
  // the shortest session a test may ask for
  'group.min.session.timeout.ms': '1000',
  // the default takes a quarter of a small heap
  'log.cleaner.dedupe.buffer.size': '8388608',
  'num.network.threads': '2',
  'num.io.threads': '4',
})

/** The settings as the text of a properties file. */
export const asProperties = (settings: Readonly<Record<string, string>>): string =>
  Object.entries(settings)
    .map(([name, value]) => `${name}=${value}\n`)
    .join('')

/** The settings as the variables that Kafka's image reads. */
export const asVariables = (settings: Readonly<Record<string, string>>): Record<string, string> =>
  Object.fromEntries(
    Object.entries(settings).map(([name, value]) => [`KAFKA_${name.toUpperCase().replaceAll('.', '_')}`, value]),
  )

/** Throws unless the brokers serve clients. */
const kafkaAnswers = async (brokers: readonly string[]): Promise<void> => {
  const kafka = new Kafka({
    brokers: [...brokers],
    logLevel: logLevel.NOTHING,
    connectionTimeout: 2_000,
    requestTimeout: 5_000,
    retry: { retries: 0 },
  })
  const admin = kafka.admin()
  try {
    await admin.connect()
    const cluster = await admin.describeCluster()
    if (cluster.brokers.length === 0) throw new Error('Kafka has no broker yet')
  } finally {
    await admin.disconnect()
  }
}

const given = fromEnvironment<KafkaService>('SPILLWAY_KAFKA_BROKERS', async (value) => {
  const brokers = parseAddresses(value, 9092).map(formatAddress)
  await kafkaAnswers(brokers)
  return asService('kafka', 'environment', { brokers }, notOurs('SPILLWAY_KAFKA_BROKERS names this Kafka'))
})

const contained = async (quick: boolean): Promise<KafkaService> => {
  const port = await freePort()
  const brokers = [`127.0.0.1:${port}`]
  const settings = kafkaSettings({
    listen: '0.0.0.0:9092',
    advertised: brokers[0] as string,
    controllerPort: 9093,
    dataFolder: '/tmp/kafka-logs',
    quick,
  })
  const { running } = await startContainer({
    image: IMAGE,
    ports: [9092],
    hostPorts: [port],
    environment: {
      ...asVariables(settings),
      KAFKA_HEAP_OPTS: HEAP.join(' '),
      KAFKA_JVM_PERFORMANCE_OPTS: SHORT_LIVED.join(' '),
    },
    ready: () => kafkaAnswers(brokers),
  })
  return asService('kafka', 'container', { brokers }, running)
}

const native = async (quick: boolean): Promise<KafkaService> => {
  const java = await requireProgram('default-jre-headless', 'java')
  const classPath = join(await mavenJars(KAFKA, [LOG]), '*')
  return retried(async () => {
    const [port, controllerPort] = (await freePorts(2)) as [number, number]
    const brokers = [`127.0.0.1:${port}`]
    const folder = await temporaryFolder('kafka')
    const properties = join(folder, 'server.properties')
    const settings = kafkaSettings({
      listen: brokers[0] as string,
      advertised: brokers[0] as string,
      controllerPort,
      dataFolder: join(folder, 'data'),
      quick,
    })
    const running = await startDaemon({
      name: 'Kafka',
      folder,
      command: java,
      args: [...HEAP, ...SHORT_LIVED, ...QUIET, '-cp', classPath, 'kafka.Kafka', properties],
      prepare: async () => {
        await writeFile(properties, asProperties(settings))
        // An id may begin with a dash.
        const format = ['format', `--cluster-id=${randomBytes(16).toString('base64url')}`, '--config', properties]
        await run(java, ['-Xmx256m', ...SHORT_LIVED, '-cp', classPath, 'kafka.tools.StorageTool', ...format])
      },
      ready: () => kafkaAnswers(brokers),
      startMs: 120_000,
    })
    return asService('kafka', 'native', { brokers }, running)
  })
}

/** A Kafka: the one that `SPILLWAY_KAFKA_BROKERS` names, or else a single node of our own. It creates no topic by itself. */
export const startKafka = ({ private: own = false }: KafkaOptions = {}): Promise<KafkaService> =>
  firstThatStarts<KafkaService>('kafka', [
    ...(own ? [] : [given]),
    { name: 'container', start: () => contained(own) },
    { name: 'native', start: () => native(own) },
  ])
