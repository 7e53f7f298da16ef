import { connect } from 'node:net'
import { Kafka, logLevel, type ISocketFactory } from 'kafkajs'
import { Kysely, MysqlDialect, sql } from 'kysely'
import { createPool } from 'mysql2'
import { expect, onTestFinished } from 'vitest'
import { sleep } from '../../src/core/clock.js'
import { StoreUnavailableError } from '../../src/index.js'
import { startPublisher } from '../../src/queue/index.js'
import { kafkaQueue } from '../../src/queue/kafka/index.js'
import { sqlInbox } from '../../src/queue/sql/index.js'
import { createDatabase } from '../services/index.js'
import { uniqueName } from '../services/vitest.js'
import { startProxy } from '../support/proxy.js'
import { until } from '../support/until.js'

export interface Tables {
  effects: { id: string }
}

export const range = (count: number): number[] => Array.from({ length: count }, (_, i) => i)

export const client = (brokers: readonly string[], socketFactory?: ISocketFactory): Kafka =>
  new Kafka({
    brokers: [...brokers],
    logLevel: logLevel.NOTHING,
    connectionTimeout: 2_000,
    ...(socketFactory ? { socketFactory } : {}),
  })

/** Makes a topic, and waits until the brokers serve it: one that has just started may take a moment. */
export async function makeTopic(
  kafka: Kafka,
  topic = uniqueName('queue'),
  { partitions = 4, settings = {} }: { partitions?: number; settings?: Readonly<Record<string, string>> } = {},
): Promise<string> {
  const admin = kafka.admin()
  await admin.connect()
  const configEntries = Object.entries(settings).map(([name, value]) => ({ name, value }))
  await admin.createTopics({ topics: [{ topic, numPartitions: partitions, configEntries }], waitForLeaders: false })
  await until(async () => (await admin.fetchTopicOffsets(topic)).length === partitions, 'the topic')
  await admin.disconnect()
  return topic
}

/** A database with a table of effects that nothing but the inbox keeps free of repetitions. */
export async function openEffects(server: { url: string }) {
  const uri = await createDatabase(server, uniqueName('effects'))
  const db = new Kysely<Tables>({ dialect: new MysqlDialect({ pool: createPool({ uri, connectionLimit: 4 }) }) })
  onTestFinished(() => db.destroy())
  await sql`create table effects (id varchar(100) not null)`.execute(db)
  const table = uniqueName('inbox')
  const inbox = sqlInbox(db, { table })
  await inbox.migrate()
  const count = async (): Promise<{ rows: number; ids: number }> => {
    const { rows } = await sql<{ n: number; d: number }>`
      select count(*) as n, count(distinct id) as d from effects`.execute(db)
    return { rows: Number(rows[0]?.n), ids: Number(rows[0]?.d) }
  }
  return { uri, db, table, inbox, count }
}

/** Publishes until told to stop, each message until the broker has it, as a careful service does. */
export function publishSteadily(kafka: Kafka, topic: string) {
  let stopped = false
  let failures = 0
  const published: string[] = []
  const run = async (): Promise<void> => {
    await using publisher = await startPublisher<number>(kafkaQueue(kafka), { topic, timeoutMs: 2_000 })
    for (let n = 0; !stopped; n++) {
      const id = `message-${n}`
      for (let sent = false; !sent;) {
        try {
          await publisher.publish({ id, key: `key-${n % 20}`, body: n })
          sent = true
        } catch (error) {
          expect(error).toBeInstanceOf(StoreUnavailableError)
          failures++
        }
      }
      published.push(id)
      await sleep(2)
    }
  }
  const running = run()
  return {
    published,
    get failures() {
      return failures
    },
    async stop(): Promise<void> {
      stopped = true
      await running
    },
  }
}

/** A proxy in front of the broker, and a client that knows no other way to it. */
export async function throughProxy(brokers: readonly string[]) {
  const [host = '', port = ''] = (brokers[0] ?? '').split(':')
  const proxy = await startProxy({ host, port: Number(port) })
  onTestFinished(() => proxy.stop())
  return { proxy, kafka: client(brokers, ({ onConnect }) => connect(proxy.port, '127.0.0.1', onConnect)) }
}
