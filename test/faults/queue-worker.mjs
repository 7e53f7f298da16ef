// A consumer in a process of its own, to be killed: `node queue-worker.mjs <brokers> <mysql url> <topic> <inbox table>`.
import { setTimeout as sleep } from 'node:timers/promises'
import kafkajs from 'kafkajs'
import { Kysely, MysqlDialect } from 'kysely'
import { createPool } from 'mysql2'
import { startConsumer } from 'spillway/queue'
import { kafkaQueue } from 'spillway/queue/kafka'
import { sqlInbox } from 'spillway/queue/sql'

const [brokers, uri, topic, table] = process.argv.slice(2)
const kafka = new kafkajs.Kafka({ brokers: brokers.split(','), logLevel: kafkajs.logLevel.NOTHING })
const db = new Kysely({ dialect: new MysqlDialect({ pool: createPool({ uri, connectionLimit: 4 }) }) })

const consumer = await startConsumer(kafkaQueue(kafka), {
  topic,
  group: 'workers',
  fromBeginning: true,
  sessionTimeoutMs: 3_000,
  concurrency: 2,
  batch: { maxMessages: 50 },
  inbox: sqlInbox(db, { table }),
  onBackgroundError: (error) => process.send?.({ error: String(error) }),
  handleBatch: async (messages, { tx }) => {
    await tx
      .insertInto('effects')
      .values(messages.map(({ id }) => ({ id })))
      .execute()
    process.send?.({ inside: messages.length })
    await sleep(100)
  },
})
process.send?.({ started: true })
process.on('disconnect', () => process.exit())
process.on('SIGTERM', () => void consumer.close().then(() => process.exit()))
