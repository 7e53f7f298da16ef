import Database from 'libsql'
import { Kysely, SqliteDialect } from 'kysely'
import { constantBackoff, jsonCodec, StoreUnavailableError, type Codec } from 'spillway'
import { memoryQueue, startConsumer, startPublisher, type Message } from 'spillway/queue'
import { sqlInbox } from 'spillway/queue/sql'
import { expect, it, onTestFinished } from 'vitest'

const patient = { timeout: 20_000 }

interface Order {
  readonly buyer: string
  readonly cents: number
}
interface Tables {
  orders: { id: string; buyer: string; cents: number }
}

async function openDatabase(): Promise<Kysely<Tables>> {
  const db = new Kysely<Tables>({ dialect: new SqliteDialect({ database: new Database(':memory:') }) })
  onTestFinished(() => db.destroy())
  await db.schema
    .createTable('orders')
    .addColumn('id', 'text')
    .addColumn('buyer', 'text')
    .addColumn('cents', 'integer')
    .execute()
  return db
}

it('publishes and consumes', async () => {
  const shipped: string[] = []
  const ship = async (order: Order): Promise<void> => void shipped.push(order.buyer)
  // #region start
  const queue = memoryQueue() // or kafkaQueue(new Kafka({ brokers }))

  await using consumer = await startConsumer<Order>(queue, {
    topic: 'orders',
    group: 'shipping',
    handle: async (message) => ship(message.body),
  })
  await using publisher = await startPublisher<Order>(queue, { topic: 'orders' })
  await publisher.publish({ id: 'order-1', key: 'ann', body: { buyer: 'ann', cents: 990 } })
  // #endregion start
  await expect.poll(() => consumer.lag(), patient).toBe(0)
  expect(shipped).toEqual(['ann'])
})

it('has each effect once', async () => {
  const db = await openDatabase()
  const queue = memoryQueue()
  // #region inbox
  const inbox = sqlInbox(db, { consumer: 'bookkeeping' })
  await inbox.migrate()

  await using consumer = await startConsumer(queue, {
    topic: 'orders',
    group: 'bookkeeping',
    fromBeginning: true,
    inbox,
    handleBatch: async (messages: readonly Message<Order>[], { tx }) => {
      const rows = messages.map(({ id, body }) => ({ id, ...body }))
      await tx.insertInto('orders').values(rows).execute()
    },
  })
  // #endregion inbox
  const publisher = await startPublisher<Order>(queue, { topic: 'orders' })
  const order = { id: 'order-1', body: { buyer: 'ann', cents: 990 } }
  await publisher.publish([order, order])
  await publisher.publish(order)
  await expect.poll(() => consumer.lag(), patient).toBe(0)
  expect(await db.selectFrom('orders').selectAll().execute()).toEqual([{ id: 'order-1', buyer: 'ann', cents: 990 }])
})

it('buries what cannot be handled', async () => {
  const queue = memoryQueue()
  const dead: Message<Order>[] = []
  const handle = (): Promise<void> => Promise.reject(new Error('no such buyer'))
  // #region dead
  await using consumer = await startConsumer<Order>(queue, {
    topic: 'orders',
    group: 'shipping',
    handle,
    maxAttempts: 3,
    backoff: constantBackoff(10),
    deadLetterTopic: 'orders.dead',
  })
  // #endregion dead
  await using undertaker = await startConsumer<Order>(queue, {
    topic: 'orders.dead',
    group: 'people',
    handle: async (message) => void dead.push(message),
  })
  await using publisher = await startPublisher<Order>(queue, { topic: 'orders' })
  await publisher.publish({ id: 'order-1', body: { buyer: 'nobody', cents: 1 } })
  await expect.poll(() => dead.length, patient).toBe(1)
  await expect.poll(() => undertaker.lag(), patient).toBe(0)
  await expect.poll(() => consumer.lag(), patient).toBe(0)
  expect(dead[0]).toMatchObject({ id: 'order-1', body: { buyer: 'nobody' } })
  expect(dead[0]?.headers).toMatchObject({
    'spillway-dead-attempts': '3',
    'spillway-dead-error': 'Error: no such buyer',
  })
})

it('publishes again what is unknown', async () => {
  const inner = memoryQueue()
  let attempts = 0
  const queue: typeof inner = {
    ...inner,
    async openProducer(topic) {
      const producer = await inner.openProducer(topic)
      return {
        ...producer,
        async send(records) {
          await producer.send(records)
          // The first answer never comes while the first call waits for it.
          while (attempts < 2) await new Promise((resolve) => setTimeout(resolve, 5))
        },
      }
    },
  }
  await using publisher = await startPublisher<Order>(queue, { topic: 'orders', timeoutMs: 50 })
  const order = { id: 'order-1', body: { buyer: 'ann', cents: 990 } }
  // #region again
  async function publishForSure(message: typeof order): Promise<void> {
    for (;;) {
      attempts++
      try {
        return await publisher.publish(message)
      } catch (error) {
        if (!(error instanceof StoreUnavailableError)) throw error
        // The same id: if the first one did arrive, an inbox lets only one of the two in.
      }
    }
  }
  // #endregion again
  await publishForSure(order)
  expect(attempts).toBeGreaterThan(1)
})

it('reads a message without a value', async () => {
  // #region tombstones
  const codec: Codec<Order | undefined> = {
    ...jsonCodec<Order | undefined>(),
    decode: (bytes) => (bytes.length === 0 ? undefined : (JSON.parse(Buffer.from(bytes).toString()) as Order)),
  }
  // #endregion tombstones
  expect(codec.decode(new Uint8Array())).toBeUndefined()
  expect(codec.decode(Buffer.from('{"buyer":"ann"}'))).toEqual({ buyer: 'ann' })
})
