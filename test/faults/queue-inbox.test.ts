import { Kysely, MysqlDialect, sql, type Transaction } from 'kysely'
import { createPool } from 'mysql2'
import { expect, it, onTestFinished } from 'vitest'
import { memoryQueue, startConsumer, startPublisher } from '../../src/queue/index.js'
import { sqlInbox } from '../../src/queue/sql/index.js'
import { createDatabase } from '../services/index.js'
import { describeWithServices, uniqueName } from '../services/vitest.js'
import { startProxy } from '../support/proxy.js'

interface Tables {
  accounts: { id: number; balance: number }
}
const range = (count: number): number[] => Array.from({ length: count }, (_, i) => i)

async function openAccounts(uri: string, connectionLimit: number, more: object = {}) {
  const db = new Kysely<Tables>({ dialect: new MysqlDialect({ pool: createPool({ uri, connectionLimit, ...more }) }) })
  const inbox = sqlInbox(db)
  await inbox.migrate()
  await sql`create table if not exists accounts (id int primary key, balance int not null) engine = InnoDB`.execute(db)
  const total = async (): Promise<number> => {
    const { rows } = await sql<{ n: number }>`select sum(balance) as n from accounts`.execute(db)
    return Number(rows[0]?.n)
  }
  return { db, inbox, total }
}

describeWithServices('a queue over MySQL or MariaDB', ['mysql'], ({ mysql }) => {
  it('buries nothing for deadlocks, and gives each message its effect once', { timeout: 240_000 }, async () => {
    const count = 3_000
    const { db, inbox, total } = await openAccounts(await createDatabase(mysql, uniqueName('deadlocks')), 16)
    onTestFinished(() => db.destroy())
    await db.insertInto('accounts').values(range(6).map((id) => ({ id, balance: 0 }))).execute() // prettier-ignore
    const queue = memoryQueue()
    const faults: unknown[] = []
    const dead: string[] = []
    let conflicts = 0
    await using publisher = await startPublisher<number>(queue, { topic: 'bookings', timeoutMs: 60_000 })
    await publisher.publish(range(count).map((n) => ({ id: `booking-${n}`, body: n })))
    await using buried = await startConsumer<number>(queue, {
      topic: 'dead',
      group: 'g',
      fromBeginning: true,
      handle: async ({ id }) => void dead.push(id),
    })
    await using consumer = await startConsumer<number, Transaction<Tables>>(queue, {
      topic: 'bookings',
      group: 'g',
      fromBeginning: true,
      concurrency: 16,
      maxAttempts: 2,
      backoff: () => 5,
      inbox,
      deadLetterTopic: 'dead',
      onBackgroundError: (error) => void faults.push(error),
      handle: async ({ body }, { tx }) => {
        try {
          // Two rows in any order, which is what deadlocks are made of.
          for (const id of [body % 6, (body * 5 + 1) % 6]) {
            await tx.updateTable('accounts').set({ balance: sql`balance + 1` }).where('id', '=', id).execute() // prettier-ignore
          }
        } catch (error) {
          conflicts++
          throw error
        }
      },
    })
    await expect.poll(() => consumer.lag(), { timeout: 200_000, interval: 200 }).toBe(0)
    expect(conflicts).toBeGreaterThan(10)
    expect(await buried.lag()).toBe(0)
    expect(dead).toEqual([])
    expect(await total()).toBe(2 * count)
    for (const fault of faults) expect(String(fault)).toMatch(/deadlock|lock wait/i)
  })

  it('charges nothing for connections that are cut inside the transaction', { timeout: 240_000 }, async () => {
    const uri = await createDatabase(mysql, uniqueName('cuts'))
    const direct = await openAccounts(uri, 1)
    onTestFinished(() => direct.db.destroy())
    await direct.db.insertInto('accounts').values({ id: 0, balance: 0 }).execute()
    const { hostname, port } = new URL(uri)
    const proxy = await startProxy({ host: hostname, port: Number(port) })
    onTestFinished(() => proxy.stop())
    const through = new URL(uri)
    through.hostname = '127.0.0.1'
    through.port = String(proxy.port)
    const { db, inbox } = await openAccounts(through.href, 4)
    onTestFinished(() => db.destroy())
    const queue = memoryQueue()
    const stalled: unknown[] = []
    let cuts = 0
    await using publisher = await startPublisher<number>(queue, { topic: 'bookings' })
    await publisher.publish(range(60).map((n) => ({ id: `booking-${n}`, body: n })))
    await using consumer = await startConsumer<number, Transaction<Tables>>(queue, {
      topic: 'bookings',
      group: 'g',
      fromBeginning: true,
      maxAttempts: 1,
      backoff: () => 20,
      inbox,
      onStalled: (_, error) => void stalled.push(error),
      onBackgroundError: () => undefined,
      handle: async ({ body }, { tx }) => {
        if (body % 3 === 0 && cuts++ < 15) proxy.cut()
        await tx.updateTable('accounts').set({ balance: sql`balance + 1` }).where('id', '=', 0).execute() // prettier-ignore
      },
    })
    await expect.poll(() => consumer.lag(), { timeout: 200_000, interval: 200 }).toBe(0)
    expect(cuts).toBeGreaterThan(10)
    expect(stalled).toEqual([])
    expect(await direct.total()).toBe(60)
  })
})
