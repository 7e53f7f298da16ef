import { parseArgs } from 'node:util'
import {
  startKafka,
  startMysql,
  startRedis,
  startRedisCluster,
  startZooKeeper,
  ServiceUnavailable,
  type Service,
} from './index.js'

const HELP = `Starts the servers of the examples' full stack and keeps them running until Ctrl-C.

  npm run stack                         Redis, Kafka and MariaDB
  npm run stack -- --redis --mysql      only these

  --redis          Redis
  --redis-cluster  Redis Cluster, three masters with a replica each
  --kafka          Kafka, one node
  --mysql          MariaDB or MySQL
  --zookeeper      ZooKeeper, one node
  --durable        Redis writes every command to disk before it answers
  --help           this text

A server comes from its variable in the environment (SPILLWAY_REDIS_URL, SPILLWAY_REDIS_CLUSTER_URLS,
SPILLWAY_KAFKA_BROKERS, SPILLWAY_MYSQL_URL, SPILLWAY_ZOOKEEPER_SERVERS), else from Docker, else from a program of this machine. What it wrote is gone when it stops.
`

/** What runs: a flag of the example and its value, and the server behind it. */
interface Part {
  readonly flag: string
  readonly value: string
  readonly service: Service
}

const parts = {
  redis: async (durable: boolean): Promise<Part> => {
    const service = await startRedis({ durable })
    return { flag: '--redis', value: service.url, service }
  },
  'redis-cluster': async (durable: boolean): Promise<Part> => {
    const service = await startRedisCluster({ durable })
    return { flag: '--redis', value: service.urls.join(), service }
  },
  kafka: async (): Promise<Part> => {
    const service = await startKafka()
    return { flag: '--kafka', value: service.brokers.join(','), service }
  },
  mysql: async (): Promise<Part> => {
    const service = await startMysql()
    return { flag: '--mysql', value: service.url, service }
  },
  zookeeper: async (): Promise<Part> => {
    const service = await startZooKeeper()
    return { flag: '--strategy zookeeper-lock --zookeeper', value: service.servers.join(','), service }
  },
}
type Name = keyof typeof parts

const chosen = (flags: Partial<Record<Name, boolean>>): Name[] => {
  const names = (Object.keys(parts) as Name[]).filter((name) => flags[name])
  return names.length > 0 ? names : ['redis', 'kafka', 'mysql']
}

const untilInterrupted = (): Promise<void> =>
  new Promise((resolve) => {
    const alive = setInterval(() => undefined, 60_000)
    for (const signal of ['SIGINT', 'SIGTERM'] as const) {
      process.once(signal, () => {
        clearInterval(alive)
        resolve()
      })
    }
  })

const main = async (): Promise<number> => {
  const flag = { type: 'boolean' } as const
  const { values } = parseArgs({
    options: {
      ...{ redis: flag, 'redis-cluster': flag, kafka: flag, mysql: flag, zookeeper: flag },
      ...{ durable: flag, help: flag },
    },
  })
  if (values.help) {
    process.stdout.write(HELP)
    return 0
  }
  const outcomes = await Promise.allSettled(chosen(values).map((name) => parts[name](values.durable ?? false)))
  const running = outcomes.flatMap((outcome) => (outcome.status === 'fulfilled' ? [outcome.value] : []))
  const failures = outcomes.flatMap((outcome) => (outcome.status === 'rejected' ? [outcome.reason as unknown] : []))
  for (const failure of failures) {
    process.stderr.write(`${failure instanceof ServiceUnavailable ? failure.message : String(failure)}\n`)
  }
  if (failures.length === 0) {
    // Before anything is printed: whoever reads it may interrupt at once.
    const interrupted = untilInterrupted()
    for (const { value, service } of running) {
      process.stdout.write(`${service.service.padEnd(10)} ${value}  (${service.origin})\n`)
    }
    const flags = running.map(({ flag, value }) => `${flag} ${value}`)
    // The flash sale takes a Cluster as well, and Kafka and MySQL besides.
    const example = values['redis-cluster'] && !values.kafka && !values.zookeeper ? 'npm run pos' : 'npm start'
    if (running.some(({ service }) => service.service !== 'zookeeper'))
      process.stdout.write(`\nIn another terminal:\n\n  ${example} -- ${flags.join(' ')}\n`)
    process.stdout.write('\nCtrl-C stops the servers.\n')
    await interrupted
  }
  await Promise.all(running.map(({ service }) => service.stop()))
  return failures.length === 0 ? 0 : 1
}

main().then(
  (code) => process.exit(code),
  (error: unknown) => {
    process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n`)
    process.exit(2)
  },
)
