import { randomBytes } from 'node:crypto'
import kafkajs, { type Consumer, type Kafka } from 'kafkajs'
import { Kysely, MysqlDialect, sql, type Transaction } from 'kysely'
import { createPool } from 'mysql2'
import { startConsumer, startPublisher, type ConsumerHandler, type QueueDriver } from 'spillway/queue'
import { kafkaQueue } from 'spillway/queue/kafka'
import { sqlInbox } from 'spillway/queue/sql'

interface Row {
  readonly name: string
  readonly ours: number
  readonly theirs: number
  readonly peer: string
  readonly unit: string
  readonly note?: string
}
interface Env {
  readonly kafkaBrokers: string | readonly string[]
  readonly mysqlUrl: string
  readonly seconds: number
}
interface Order {
  readonly user: string
  readonly item: string
}
interface Tables {
  bench_effects: { id: string; user: string }
}

const callers = 512
const partitions = 8
const allInSync = -1
const freshName = (): string => `bench-${randomBytes(6).toString('hex')}`
const order = (n: number): { id: string; key: string; body: Order } => ({
  id: `order-${n}`,
  key: `buyer-${n % 5_000}`,
  body: { user: `buyer-${n % 5_000}`, item: 'sku-1' },
})

/** Calls per second of callers that each call again as soon as they are answered. */
async function rate(seconds: number, call: (n: number) => Promise<unknown>): Promise<number> {
  const startedMs = performance.now()
  const untilMs = startedMs + seconds * 1_000
  let calls = 0
  const caller = async (): Promise<void> => {
    while (performance.now() < untilMs) await call(calls++)
  }
  await Promise.all(Array.from({ length: callers }, caller))
  return (calls * 1_000) / (performance.now() - startedMs)
}

/** Counts what is handled, and knows when it was `wanted` messages or `seconds` are over. */
function meter(wanted: number, seconds: number) {
  let handled = 0
  let firstMs = 0
  let finish: () => void
  const over = new Promise<void>((resolve) => (finish = resolve))
  return {
    count(messages: number): void {
      if (firstMs === 0) {
        firstMs = performance.now()
        setTimeout(finish, seconds * 1_000)
        // The first call shows when it began to run, not what it took.
        return
      }
      handled += messages
      if (handled >= wanted) finish()
    },
    async perSecond(): Promise<number> {
      await over
      return (handled * 1_000) / (performance.now() - firstMs)
    },
  }
}

async function makeTopic(kafka: Kafka): Promise<string> {
  const topic = freshName()
  const admin = kafka.admin()
  await admin.connect()
  await admin.createTopics({ topics: [{ topic, numPartitions: partitions }], waitForLeaders: true })
  await admin.disconnect()
  return topic
}

async function fill(kafka: Kafka, count: number): Promise<string> {
  const topic = await makeTopic(kafka)
  const publisher = await startPublisher<Order>(kafkaQueue(kafka), { topic, timeoutMs: 60_000 })
  for (let from = 0; from < count; from += 5_000) {
    await publisher.publish(Array.from({ length: Math.min(5_000, count - from) }, (_, i) => order(from + i)))
  }
  await publisher.close()
  return topic
}

async function publishing(kafka: Kafka, seconds: number): Promise<Row> {
  const topic = await makeTopic(kafka)
  const bare = kafka.producer({ createPartitioner: kafkajs.Partitioners.DefaultPartitioner })
  await bare.connect()
  const theirs = await rate(seconds, (n) => {
    const { id, key, body } = order(n)
    return bare.send({ topic, acks: allInSync, messages: [{ key, value: JSON.stringify(body), headers: { id } }] })
  })
  await bare.disconnect()
  await using publisher = await startPublisher<Order>(kafkaQueue(kafka), { topic, timeoutMs: 30_000 })
  const ours = await rate(seconds, (n) => publisher.publish(order(n)))
  const peer = 'kafkajs, one send per message'
  return { name: `publish one message, ${callers} callers`, ours, theirs, peer, unit: 'messages/s' }
}

async function bareConsumer(kafka: Kafka, topic: string): Promise<Consumer> {
  const consumer = kafka.consumer({ groupId: freshName(), maxWaitTimeInMs: 100 })
  await consumer.connect()
  await consumer.subscribe({ topic, fromBeginning: true })
  return consumer
}

async function ourConsumer(
  driver: QueueDriver,
  topic: string,
  handlers: ConsumerHandler<Order>,
): Promise<AsyncDisposable> {
  return startConsumer<Order>(driver, { topic, group: freshName(), fromBeginning: true, ...handlers })
}

async function consuming(kafka: Kafka, seconds: number): Promise<Row[]> {
  const wanted = 50_000 * seconds
  const limit = seconds * 10
  // A fetched batch holds up to ten thousand, and the first one is not counted.
  const topic = await fill(kafka, wanted + 20_000)
  const decode = (value: Buffer | null): Order => JSON.parse(String(value)) as Order

  const single = meter(wanted, limit)
  const eachMessage = await bareConsumer(kafka, topic)
  await eachMessage.run({
    eachMessage: async ({ message }) => {
      decode(message.value)
      single.count(1)
    },
  })
  const theirSingle = await single.perSecond()
  await eachMessage.disconnect()

  const many = meter(wanted, limit)
  const eachBatch = await bareConsumer(kafka, topic)
  await eachBatch.run({
    eachBatch: async ({ batch }) => {
      for (const { value } of batch.messages) decode(value)
      many.count(batch.messages.length)
    },
  })
  const theirMany = await many.perSecond()
  await eachBatch.disconnect()

  const driver = kafkaQueue(kafka)
  const ourSingle = meter(wanted, limit)
  const handle = await ourConsumer(driver, topic, { handle: async () => ourSingle.count(1) })
  const oursSingle = await ourSingle.perSecond()
  await handle[Symbol.asyncDispose]()

  const ourMany = meter(wanted, limit)
  const handleBatch = await ourConsumer(driver, topic, { handleBatch: async ({ length }) => ourMany.count(length) })
  const oursMany = await ourMany.perSecond()
  await handleBatch[Symbol.asyncDispose]()

  const unit = 'messages/s'
  const note = 'ours also keeps the order of keys, retries and knows each message by its id'
  return [
    { name: 'consume, handle', ours: oursSingle, theirs: theirSingle, peer: 'kafkajs eachMessage', unit, note },
    { name: 'consume, handleBatch', ours: oursMany, theirs: theirMany, peer: 'kafkajs eachBatch', unit, note },
  ]
}

async function withInbox(kafka: Kafka, mysqlUrl: string, seconds: number): Promise<Row> {
  const topic = await fill(kafka, 20_000 * seconds + 5_000)
  const db = new Kysely<Tables>({ dialect: new MysqlDialect({ pool: createPool({ uri: mysqlUrl }) }) })
  await sql`drop table if exists bench_effects`.execute(db)
  await sql`create table bench_effects (id varchar(64) primary key, user varchar(64) not null)`.execute(db)
  const clear = (): Promise<unknown> => sql`truncate table bench_effects`.execute(db)
  const effects = (tx: Transaction<Tables>, orders: readonly { id: string; user: string }[]) =>
    tx.insertInto('bench_effects').values(orders).execute()

  // The peer does the same by hand: id and effect in a transaction, for each message.
  await sql`create table if not exists bench_handled (id varchar(64) primary key)`.execute(db)
  await sql`truncate table bench_handled`.execute(db)
  const single = meter(Infinity, seconds)
  const consumer = await bareConsumer(kafka, topic)
  await consumer.run({
    eachMessage: async ({ message }) => {
      const { user } = JSON.parse(String(message.value)) as Order
      const id = String(message.headers?.['spillway-id'])
      await db.transaction().execute(async (tx) => {
        const { numAffectedRows } = await sql`insert ignore into bench_handled values (${id})`.execute(tx)
        if (numAffectedRows === 1n) await effects(tx, [{ id, user }])
      })
      single.count(1)
    },
  })
  const theirs = await single.perSecond()
  await consumer.disconnect()

  await clear()
  const inbox = sqlInbox(db, { table: `inbox_${randomBytes(4).toString('hex')}` })
  await inbox.migrate()
  const batches = meter(20_000 * seconds - 5_000, seconds * 2)
  const ours = await startConsumer<Order, Transaction<Tables>>(kafkaQueue(kafka), {
    topic,
    group: freshName(),
    fromBeginning: true,
    inbox,
    batch: { maxMessages: 1_000 },
    handleBatch: async (messages, { tx }) => {
      await effects(
        tx,
        messages.map(({ id, body }) => ({ id, user: body.user })),
      )
      batches.count(messages.length)
    },
  })
  const oursPerSecond = await batches.perSecond()
  await ours.close()
  await db.destroy()
  return {
    name: 'consume with sqlInbox, batches of up to 1,000',
    ours: oursPerSecond,
    theirs,
    peer: 'one transaction per message',
    unit: 'messages/s',
    note: 'id and effect commit together in both',
  }
}

/** What publishing and consuming cost beside bare kafkajs, in one run. */
export async function queueRows(env: Env): Promise<Row[]> {
  const brokers = typeof env.kafkaBrokers === 'string' ? env.kafkaBrokers.split(',') : [...env.kafkaBrokers]
  const kafka = new kafkajs.Kafka({ clientId: 'bench', brokers, logLevel: kafkajs.logLevel.NOTHING })
  return [
    await publishing(kafka, env.seconds),
    ...(await consuming(kafka, env.seconds)),
    await withInbox(kafka, env.mysqlUrl, env.seconds),
  ]
}
