import { sql, type Kysely, type KyselyPlugin, type Transaction } from 'kysely'
import { inTime, openDatabase } from '../shared/database.js'
import { every } from '../shared/run.js'
import { afterSale, applyChange, emptyRecord, lifetimes, type CartRecord, type Carts } from './carts.js'
import type { Sessions, SessionStores } from './stores.js'

interface Tables {
  pos_sessions: { id: string; body: string; expires_at_ms: number }
  pos_carts: { session_id: string; body: string; expires_at_ms: number }
  pos_receipts: { session_id: string; sale_key: string; body: string; created_at_ms: number }
  pos_settings: { name: string; value: string }
}
type Database = Kysely<Tables>

const sweepEveryMs = 60_000
const sweptAtOnce = 1_000

/** Sessions and carts in MySQL or MariaDB: a row each, and a lock on the cart's row while it changes. */
export async function openMysql(url: string): Promise<SessionStores> {
  const counter = createCounter()
  const opened = openDatabase<Tables>({ url }, { connections: 16 })
  const db = opened.withPlugin(counter.plugin)
  await inTime(migrate(db), 30_000)
  const stopSweeping = every(sweepEveryMs, () => sweep(db))
  return {
    kind: 'mysql',
    sessions: sessionRows(db),
    carts: cartRows(db),
    async secret(wish) {
      await inTime(db.insertInto('pos_settings').ignore().values({ name: 'secret', value: wish }).execute())
      const row = db.selectFrom('pos_settings').select('value').where('name', '=', 'secret')
      return (await inTime(row.executeTakeFirstOrThrow())).value
    },
    statements: () => counter.count,
    answers: () =>
      inTime(sql`select 1`.execute(opened), 1_000).then(
        () => true,
        () => false,
      ),
    async close() {
      await stopSweeping()
      await opened.destroy()
    },
  }
}

function createCounter() {
  const counter = {
    count: 0,
    plugin: {
      transformQuery({ node }) {
        counter.count++
        return node
      },
      transformResult: async ({ result }) => result,
    } satisfies KyselyPlugin,
  }
  return counter
}

async function migrate(db: Database): Promise<void> {
  const key = sql`varchar(128) character set ascii collate ascii_bin not null`
  const body = sql`mediumtext character set utf8mb4 collate utf8mb4_bin not null`
  const expiring = sql`body ${body}, expires_at_ms bigint not null, index expiry (expires_at_ms)`
  await sql`create table if not exists pos_sessions (id ${key} primary key, ${expiring})`.execute(db)
  await sql`create table if not exists pos_carts (session_id ${key} primary key, ${expiring})`.execute(db)
  await sql`create table if not exists pos_receipts (
    session_id ${key}, sale_key ${key}, body ${body}, created_at_ms bigint not null, primary key (session_id, sale_key)
  )`.execute(db)
  await sql`create table if not exists pos_settings (name ${key} primary key, value ${body})`.execute(db)
}

async function sweep(db: Database): Promise<void> {
  for (const table of ['pos_sessions', 'pos_carts'] as const) {
    await inTime(db.deleteFrom(table).where('expires_at_ms', '<', Date.now()).limit(sweptAtOnce).execute(), 10_000)
  }
}

function sessionRows(db: Database): Sessions {
  return {
    async get(id) {
      const nowMs = Date.now()
      const row = await inTime(
        db
          .selectFrom('pos_sessions')
          .select(['body', 'expires_at_ms'])
          .where('id', '=', id)
          .where('expires_at_ms', '>', nowMs)
          .executeTakeFirst(),
      )
      // A write for every read would cost more than a session that ends up to an hour early.
      if (row && row.expires_at_ms < nowMs + lifetimes.sessionMs - 3_600_000) {
        const renewed = { expires_at_ms: nowMs + lifetimes.sessionMs }
        await inTime(db.updateTable('pos_sessions').set(renewed).where('id', '=', id).execute())
      }
      return row?.body
    },
    async set(id, body) {
      await inTime(
        db
          .replaceInto('pos_sessions')
          .values({ id, body, expires_at_ms: Date.now() + lifetimes.sessionMs })
          .execute(),
      )
    },
    async destroy(id) {
      await inTime(db.deleteFrom('pos_sessions').where('id', '=', id).execute())
    },
  }
}

function cartRows(db: Database): Carts {
  const read = async (on: Database | Transaction<Tables>, sessionId: string, lock: boolean): Promise<CartRecord> => {
    const query = on.selectFrom('pos_carts').select('body').where('session_id', '=', sessionId)
    const row = await (lock ? query.forUpdate() : query).executeTakeFirst()
    return row === undefined ? emptyRecord : (JSON.parse(row.body) as CartRecord)
  }
  /**
   * Locks the cart's row, which is made if there is none. `ignore` would take a shared lock on a row that is there, and two
   * tabs that both want to raise theirs to an exclusive one would be a deadlock.
   */
  const locked = async (on: Transaction<Tables>, sessionId: string): Promise<CartRecord> => {
    const row = { session_id: sessionId, body: JSON.stringify(emptyRecord), expires_at_ms: 0 }
    await on.insertInto('pos_carts').values(row).onDuplicateKeyUpdate({ session_id: sessionId }).execute()
    return read(on, sessionId, true)
  }
  const write = async (on: Transaction<Tables>, sessionId: string, record: CartRecord): Promise<void> => {
    await on
      .updateTable('pos_carts')
      .set({ body: JSON.stringify(record), expires_at_ms: Date.now() + lifetimes.cartMs })
      .where('session_id', '=', sessionId)
      .execute()
  }
  const receiptOf = async (on: Database | Transaction<Tables>, sessionId: string, key: string) => {
    const query = on.selectFrom('pos_receipts').select('body')
    return (await query.where('session_id', '=', sessionId).where('sale_key', '=', key).executeTakeFirst())?.body
  }
  const transaction = <T>(work: (on: Transaction<Tables>) => Promise<T>): Promise<T> =>
    inTime(db.transaction().execute(work))

  return {
    change: (sessionId, change) =>
      transaction(async (on) => {
        const [outcome, cart] = applyChange(await locked(on, sessionId), change, Date.now())
        if (outcome === 'changed') await write(on, sessionId, cart)
        return { outcome, cart: { version: cart.version, lines: cart.lines } }
      }),
    async read(sessionId) {
      const { version, lines } = await inTime(read(db, sessionId, false))
      return { version, lines }
    },
    sell: (sessionId, { key, version, receipt }) =>
      transaction(async (on) => {
        const record = await locked(on, sessionId)
        const known = await receiptOf(on, sessionId, key)
        if (known !== undefined) return { outcome: 'replayed', receipt: known }
        if (record.version !== version) return { outcome: 'changed' }
        const row = { session_id: sessionId, sale_key: key, body: receipt, created_at_ms: Date.now() }
        await on.insertInto('pos_receipts').values(row).execute()
        await write(on, sessionId, afterSale(record, Date.now()))
        return { outcome: 'sold', receipt }
      }),
    receipt: (sessionId, key) => inTime(receiptOf(db, sessionId, key)),
    async forget(sessionId) {
      await inTime(db.deleteFrom('pos_carts').where('session_id', '=', sessionId).execute())
    },
  }
}
