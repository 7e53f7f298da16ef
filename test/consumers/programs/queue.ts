import { Kysely, SqliteDialect } from 'kysely'
import Database from 'libsql'
import { memoryQueue, startConsumer, startPublisher, type Message } from 'spillway/queue'
import { sqlInbox } from 'spillway/queue/sql'

interface Order {
  readonly total: number
}
interface Tables {
  orders: { id: string; total: number }
}

const db = new Kysely<Tables>({ dialect: new SqliteDialect({ database: new Database(':memory:') }) })
await db.schema.createTable('orders').addColumn('id', 'text').addColumn('total', 'integer').execute()
const inbox = sqlInbox(db)
await inbox.migrate()

const queue = memoryQueue()
{
  await using publisher = await startPublisher<Order>(queue, { topic: 'orders' })
  const order = { id: 'order 7', key: 'buyer 1', body: { total: 30 } }
  await publisher.publish([order, order, { id: 'order 8', key: 'buyer 1', body: { total: 12 } }])

  await using consumer = await startConsumer(queue, {
    topic: 'orders',
    group: 'writer',
    fromBeginning: true,
    inbox,
    handle: async ({ id, body }: Message<Order>, { tx }) => {
      await tx.insertInto('orders').values({ id, total: body.total }).execute()
    },
  })
  while ((await consumer.lag()) > 0) await new Promise((resolve) => setTimeout(resolve, 5))
}
const rows = await db.selectFrom('orders').selectAll().orderBy('id').execute()
await db.destroy()

console.log(`queue: 3 published, ${rows.map(({ id, total }) => `${id} of ${total}`).join(', ')}`)
