import { createHash } from 'node:crypto'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Kysely, MysqlDialect, sql, SqliteDialect } from 'kysely'
import Database from 'libsql'
import { createPool } from 'mysql2'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { memoryQueue, startConsumer, startPublisher, type Message } from '../../src/queue/index.js'
import { sqlInbox } from '../../src/queue/sql/index.js'
import { createDatabase } from '../services/index.js'
import { describeWithServices, uniqueName } from '../services/vitest.js'
import { virtualClock } from '../support/virtual-clock.js'

interface Tables {
  effects: { id: string }
}
type Db = Kysely<Tables>

const range = (count: number): number[] => Array.from({ length: count }, (_, i) => i)

function inboxContract(isMysql: boolean, open: () => Promise<{ db: Db; close: () => Promise<void> }>): void {
  let db: Db
  let close: () => Promise<void>
  beforeAll(async () => {
    ;({ db, close } = await open())
    await sql`create table effects (id varchar(255) not null)`.execute(db)
  })
  afterAll(() => close())

  const fresh = async (options: Parameters<typeof sqlInbox>[1] = {}) => {
    const table = uniqueName('inbox')
    const inbox = sqlInbox(db, { table, ...options })
    await inbox.migrate()
    await inbox.migrate()
    const seen = async (ids: readonly string[]): Promise<string[]> => {
      let news: string[] = []
      await inbox.once(ids, async (found) => void (news = [...found]))
      return news.sort()
    }
    return { inbox, table, seen }
  }

  it('shows each id once', async () => {
    const { seen } = await fresh()
    expect(await seen(['a', 'b'])).toEqual(['a', 'b'])
    expect(await seen(['b', 'c', 'c'])).toEqual(['c'])
    expect(await seen(['a', 'b', 'c'])).toEqual([])
    expect(await seen([])).toEqual([])
  })

  it('tells ids apart to the last character, whatever the server takes for equal', async () => {
    const { seen } = await fresh()
    const alike = [
      'a',
      'A',
      'á',
      'ä',
      'a ',
      ' a',
      'a\u0000',
      'ａ',
      '😀',
      '😁',
      'é',
      'e\u0301',
      'ﬁ',
      'ß',
      'ss',
      'sha256:a',
      'x'.repeat(150),
      'x'.repeat(151),
      'X'.repeat(151),
      '1',
      '01',
      'x'.repeat(8_191),
      'x'.repeat(8_192),
      `${'x'.repeat(8_191)}X`,
      '😀'.repeat(2_048),
      `${'😀'.repeat(2_047)}😁`,
    ]
    expect(await seen(alike)).toEqual([...alike].sort())
    expect(await seen(alike)).toEqual([])
    expect(await seen(['x'.repeat(8_190)])).toHaveLength(1)
  })

  it('remembers nothing of what fails', async () => {
    const { inbox, seen } = await fresh()
    const id = uniqueName('failed')
    const failing = inbox.once([id], async (_, tx) => {
      await tx.insertInto('effects').values({ id }).execute()
      throw new Error('no luck')
    })
    await expect(failing).rejects.toThrow('no luck')
    expect(await db.selectFrom('effects').selectAll().where('id', '=', id).execute()).toEqual([])
    expect(await seen([id])).toEqual([id])
  })

  it('keeps consumers of one table apart', async () => {
    const { table, seen } = await fresh({ consumer: 'a' })
    expect(await seen(['1'])).toEqual(['1'])
    let other = 0
    await sqlInbox(db, { table, consumer: 'b' }).once(['1'], async (ids) => void (other = ids.size))
    expect(other).toBe(1)
  })

  it('takes thousands of ids in one call', async () => {
    const { seen } = await fresh()
    const ids = range(2_500).map((n) => `order-${n}`)
    expect(await seen(ids.slice(0, 1_700))).toHaveLength(1_700)
    expect(await seen(ids)).toEqual(ids.slice(1_700).sort())
  })

  it('gives each id one effect when many batches with common ids race', async () => {
    const { inbox } = await fresh()
    const prefix = uniqueName('race')
    const ids = range(60).map((n) => `${prefix}-${n}`)
    let overlaps = 0
    const batch = async (from: number): Promise<void> => {
      const mine = [...ids.slice(from), ...ids.slice(0, from)].slice(0, 40)
      for (let attempt = 1; ; attempt++) {
        try {
          return await inbox.once(mine, async (news, tx) => {
            if (news.size < mine.length) overlaps++
            await tx
              .insertInto('effects')
              .values([...news].map((id) => ({ id })))
              .execute()
          })
        } catch (error) {
          // A database may pick a victim; the consumer tries again, and so do we.
          if (attempt === 50 || !/deadlock|lock wait/i.test(String(error))) throw error
        }
      }
    }
    await Promise.all(range(12).map((i) => batch(i * 5)))
    expect(overlaps).toBeGreaterThan(0)
    const effects = await db.selectFrom('effects').select('id').where('id', 'like', `${prefix}-%`).execute()
    expect(effects.map(({ id }) => id).sort()).toEqual([...ids].sort())
  })

  it('forgets ids after the retention, in bounded steps, and no sooner', async () => {
    const clock = virtualClock()
    const { table, seen } = await fresh({ retentionMs: 3_600_000, clock })
    const rows = async (): Promise<number> => {
      const { rows: counted } = await sql<{ n: number }>`select count(*) as n from ${sql.table(table)}`.execute(db)
      return Number(counted[0]?.n)
    }
    const old = range(1_500).map((n) => `old-${n}`)
    await seen(old)
    await seen(['young'])
    await sql`update ${sql.table(table)} set seen_at = seen_at - 3500 where id = 'young'`.execute(db)
    await sql`update ${sql.table(table)} set seen_at = seen_at - 3700 where id like 'old-%'`.execute(db)
    await seen(['x'])
    expect(await rows()).toBe(1_502)
    await clock.advance(600_000)
    await seen(['y'])
    expect(await rows()).toBe(503)
    await seen(['z'])
    expect(await rows()).toBe(4)
    expect(await seen(['young', 'old-3'])).toEqual(['old-3'])
  })

  it('refuses ids that are none', async () => {
    const { inbox } = await fresh()
    const once = (id: unknown) => inbox.once([id as string], async () => undefined)
    await expect(once('')).rejects.toThrow(RangeError)
    await expect(once('x'.repeat(8_193))).rejects.toThrow('id must be at most 8192 bytes')
    await expect(once('\ud800')).rejects.toThrow('id must be well-formed')
    await expect(once(7)).rejects.toThrow('id must be a string, got 7')
  })

  it('tells consumers apart to the last character, of any length', async () => {
    const table = uniqueName('inbox')
    const consumers = ['a', 'A', 'á', 'a ', 'x'.repeat(8_192), `${'x'.repeat(8_191)}y`]
    for (const consumer of consumers) {
      const inbox = sqlInbox(db, { table, consumer })
      await inbox.migrate()
      let found = 0
      await inbox.once(['1'], async (ids) => void (found = ids.size))
      expect(found, consumer.slice(0, 10)).toBe(1)
    }
  })

  it('remembers, in a table that an older version made and still writes to, what that has handled', async () => {
    const table = uniqueName('inbox')
    const textType = isMysql ? 'varchar(191) character set utf8mb4 collate utf8mb4_bin' : 'text'
    await sql`create table ${sql.table(table)} (consumer ${sql.raw(textType)} not null, id ${sql.raw(textType)} not null,
      claim ${sql.raw(textType)} not null, seen_at bigint not null, primary key (consumer, id))`.execute(db)
    // As version 1 writes it: printable ASCII of up to 150 characters as it is, the rest by the digest of its UTF-16.
    const known = ['order-1', 'x'.repeat(150), 'x'.repeat(151), 'é', 'a b', 'sha256:x']
    const digest = (id: string) => `sha256:${createHash('sha256').update(id, 'utf16le').digest('base64url')}`
    const written = [
      'order-1',
      'x'.repeat(150),
      digest('x'.repeat(151)),
      digest('é'),
      digest('a b'),
      digest('sha256:x'),
    ]
    const nowSeconds = Math.floor(Date.now() / 1_000)
    const rows = sql.join(written.map((id) => sql`('default', ${id}, 'claim', ${nowSeconds})`))
    await sql`insert into ${sql.table(table)} (consumer, id, claim, seen_at) values ${rows}`.execute(db)
    const inbox = sqlInbox(db, { table })
    await inbox.migrate()
    let fresh: string[] = []
    await inbox.once([...known, 'new'], async (ids) => void (fresh = [...ids]))
    expect(fresh).toEqual(['new'])
  })

  it('says that migrate() is missing, to who starts a consumer and to who asks', async () => {
    const table = uniqueName('inbox')
    const inbox = sqlInbox(db, { table })
    const missing = { code: 'ERR_STORE_UNAVAILABLE', applied: 'no' }
    const told = `queue: there is no table ${table} for sqlInbox: call its migrate() before the consumer starts`
    await expect(inbox.check()).rejects.toMatchObject({ ...missing, message: told })
    await expect(inbox.once(['1'], () => Promise.resolve())).rejects.toMatchObject({ ...missing, message: told })
    const options = { topic: 't', group: 'g', inbox, handle: () => undefined }
    await expect(startConsumer(memoryQueue(), options)).rejects.toMatchObject({ ...missing, message: told })
    await inbox.migrate()
    await inbox.check()
  })

  it('lets a consumer go on once a table is there again that was dropped meanwhile', async () => {
    const { inbox, table } = await fresh()
    const queue = memoryQueue()
    const handled: string[] = []
    const faults: unknown[] = []
    await using publisher = await startPublisher<number>(queue, { topic: 't' })
    await using consumer = await startConsumer(queue, {
      topic: 't',
      group: 'g',
      inbox,
      backoff: () => 20,
      onBackgroundError: (error) => void faults.push(error),
      handle: ({ id }: Message<number>) => void handled.push(id),
    })
    await sql`drop table ${sql.table(table)}`.execute(db)
    await publisher.publish({ id: 'a', body: 1 })
    await expect.poll(() => String(faults[0]), { timeout: 60_000 }).toContain('call its migrate()')
    await inbox.migrate()
    await expect.poll(() => handled, { timeout: 60_000 }).toEqual(['a'])
    await expect.poll(() => consumer.lag(), { timeout: 60_000 }).toBe(0)
  })

  it('takes a herd of calls, of which none is rejected', { timeout: 240_000 }, async () => {
    const { inbox } = await fresh()
    let effects = 0
    const calls = range(2_000).map((n) => inbox.once([`herd-${n % 1_500}`], async (ids) => void (effects += ids.size)))
    await Promise.all(calls)
    expect(effects).toBe(1_500)
  })
}

describe('sqlInbox on SQLite', () => {
  inboxContract(false, async () => {
    const folder = await mkdtemp(join(tmpdir(), 'spillway-inbox-'))
    const db = new Kysely<Tables>({ dialect: new SqliteDialect({ database: new Database(join(folder, 'db')) }) })
    return {
      db,
      close: async () => {
        await db.destroy()
        await rm(folder, { recursive: true })
      },
    }
  })
})

describeWithServices('sqlInbox on MySQL or MariaDB', ['mysql'], ({ mysql }) => {
  inboxContract(true, async () => {
    const name = uniqueName('inbox')
    const uri = await createDatabase(mysql, name)
    const db = new Kysely<Tables>({ dialect: new MysqlDialect({ pool: createPool({ uri, connectionLimit: 12 }) }) })
    // A server's own default may be one that takes á for a and has no room for 😀.
    await sql`alter database ${sql.id(name)} character set latin1 collate latin1_swedish_ci`.execute(db)
    return { db, close: () => db.destroy() }
  })

  it('makes its table in utf8mb4 with a binary collation', async () => {
    const name = uniqueName('charset')
    const pool = createPool({ uri: await createDatabase(mysql, name), connectionLimit: 1 })
    const db = new Kysely<Tables>({ dialect: new MysqlDialect({ pool }) })
    await sqlInbox(db).migrate()
    const { rows } = await sql<{ name: string; charset: string; collation: string }>`
      select column_name as name, character_set_name as charset, collation_name as collation
      from information_schema.columns where table_schema = ${name} and column_name in ('id', 'consumer')
    `.execute(db)
    expect(rows).toHaveLength(2)
    for (const row of rows) expect(row).toMatchObject({ charset: 'utf8mb4', collation: 'utf8mb4_bin' })
    await db.destroy()
  })
})

describe('sqlInbox', () => {
  it('refuses wrong options, and a database it does not know', () => {
    const db = new Kysely<Tables>({ dialect: new SqliteDialect({ database: new Database(':memory:') }) })
    expect(() => sqlInbox(db, { table: '' })).toThrow(RangeError)
    expect(() => sqlInbox(db, { retentionMs: 0 })).toThrow('retentionMs')
    class MssqlAdapter {}
    expect(() => sqlInbox(db, { table: 'x'.repeat(64) })).toThrow('up to 63 bytes')
    expect(() => sqlInbox(db, 7 as never)).toThrow('sqlInbox: options must be an object with table')
    expect(() => sqlInbox(db, { tableName: 'x' } as never)).toThrow('sqlInbox: there is no option "tableName"')
    for (const [wrong, came] of [
      [undefined, 'got undefined'],
      [new Database(':memory:'), 'got a Database'],
      ['mysql://', 'got "mysql://"'],
    ] as const) {
      expect(() => sqlInbox(wrong as never)).toThrow(came)
    }
    const other = { getExecutor: () => ({ adapter: new MssqlAdapter() }) } as unknown as Kysely<Tables>
    expect(() => sqlInbox(other)).toThrow('MssqlAdapter')
  })
})
