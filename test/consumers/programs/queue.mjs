import { Kysely, SqliteDialect } from 'kysely'
import Database from 'libsql'
import { memoryQueue, startConsumer, startPublisher } from 'spillway/queue'
import { sqlInbox } from 'spillway/queue/sql'

const db = new Kysely({ dialect: new SqliteDialect({ database: new Database(':memory:') }) })
await db.schema.createTable('orders').addColumn('id', 'text').addColumn('total', 'integer').execute()
const inbox = sqlInbox(db)
await inbox.migrate()

const queue = memoryQueue()
const publisher = await startPublisher(queue, { topic: 'orders' })
const consumer = await startConsumer(queue, {
  topic: 'orders',
  group: 'writer',
  inbox,
  handle: async ({ id, body }, { tx }) => {
    await tx.insertInto('orders').values({ id, total: body.total }).execute()
  },
})
try {
  const order = { id: 'order 7', key: 'buyer 1', body: { total: 30 } }
  await publisher.publish([order, order, { id: 'order 8', key: 'buyer 1', body: { total: 12 } }])
  while ((await consumer.lag()) > 0) await new Promise((resolve) => setTimeout(resolve, 5))
} finally {
  await consumer.close()
  await publisher.close()
}
const rows = await db.selectFrom('orders').selectAll().orderBy('id').execute()
await db.destroy()

console.log(`queue: 3 published, ${rows.map(({ id, total }) => `${id} of ${total}`).join(', ')}`)
