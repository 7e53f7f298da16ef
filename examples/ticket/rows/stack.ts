import { createDatabase, startKafka, startMysql, startRedis } from '../../../test/services/index.js'
import { freePort } from '../../../test/services/net.js'
import { projectPath } from '../../shared/files.js'
import { startProgram, type Program } from '../../shared/measure/programs.js'
import { describeMachine } from '../../shared/measure/versions.js'

/** The ticket service as it runs. */
export interface Stack {
  readonly url: string
  readonly service: Program
  /** The machine and the versions of what runs on it, a line each. */
  readonly machine: readonly string[]
}

/** Starts Redis, Kafka, MariaDB (each new unless the environment names it) and the service, and ends them after `work`. */
export async function withStack<T>(servers: number, work: (stack: Stack) => Promise<T>): Promise<T> {
  await using redis = await startRedis()
  await using kafka = await startKafka()
  await using mysql = await startMysql()
  const name = `rows_${process.pid}_${Date.now().toString(36)}`
  const database = await createDatabase(mysql, name)
  const brokers = kafka.brokers.join()
  const machine = await describeMachine({ redis: redis.url, kafka: brokers, mysql: mysql.url, zookeeper: undefined })
  // A port of its own: one that the system gives would change when all servers have been killed.
  const service = startProgram(process.execPath, [
    ...[projectPath('build', 'examples', 'ticket', 'main.js'), '--stack', '--port', `${await freePort()}`],
    ...['--redis', redis.url, '--kafka', brokers, '--mysql', database, '--name', name, '--servers', `${servers}`],
  ])
  try {
    return await work({ url: await service.printed(/listening on (http:\S+)/), service, machine })
  } finally {
    await service.stop()
  }
}
