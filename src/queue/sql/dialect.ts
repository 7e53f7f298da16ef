import { MysqlAdapter, PostgresAdapter, sql, SqliteAdapter, type Kysely, type RawBuilder } from 'kysely'
import { objectWith } from '../../core/check.js'

/** Where the databases differ. Times are whole seconds by the database's own clock. */
export interface Dialect {
  readonly nowSeconds: RawBuilder<number>
  /** Column types. Ids and consumers hold ASCII, compared byte by byte. */
  readonly text: RawBuilder<unknown>
  /** Behind the columns of the table. */
  readonly tableOptions: RawBuilder<unknown>
  /** Whether an index is part of the table or made afterwards. */
  readonly inlineIndex: boolean
  /** `insert ignore` and a bounded `delete`, or `on conflict do nothing` and a bounded subquery. */
  readonly isMysql: boolean
}

const none = sql``

const mysql: Dialect = {
  nowSeconds: sql`unix_timestamp()`,
  text: sql`varchar(191) character set utf8mb4 collate utf8mb4_bin`,
  tableOptions: sql` engine = InnoDB default character set utf8mb4 collate utf8mb4_bin`,
  inlineIndex: true,
  isMysql: true,
}
const postgres: Dialect = {
  nowSeconds: sql`cast(extract(epoch from now()) as bigint)`,
  text: sql`varchar(191)`,
  tableOptions: none,
  inlineIndex: false,
  isMysql: false,
}
const sqlite: Dialect = {
  nowSeconds: sql`cast(strftime('%s', 'now') as integer)`,
  text: sql`text`,
  tableOptions: sql` without rowid`,
  inlineIndex: false,
  isMysql: false,
}

const known = [
  [MysqlAdapter, /^Mysql/, mysql],
  [PostgresAdapter, /^Postgres/, postgres],
  [SqliteAdapter, /^Sqlite/, sqlite],
] as const

/** By the adapter's class, or its name: a program may hold Kysely twice, as an ES module and in CommonJS. */
export function dialectOf<DB>(db: Kysely<DB>): Dialect {
  objectWith('db', db, ['getExecutor'], 'a Kysely')
  const { adapter } = db.getExecutor()
  for (const [Adapter, name, dialect] of known) {
    if (adapter instanceof Adapter || name.test(adapter.constructor.name)) return dialect
  }
  throw new TypeError(`sqlInbox knows MySQL, MariaDB, PostgreSQL and SQLite, got ${adapter.constructor.name}`)
}

/** `ER_NO_SUCH_TABLE` of MySQL and MariaDB, `undefined_table` of PostgreSQL; SQLite says it in its text alone. */
const missingTable = new Set<unknown>(['ER_NO_SUCH_TABLE', 1146, '42P01'])

/** Whether a statement failed because its table is not there. */
export function isMissingTable(error: unknown): boolean {
  if (typeof error !== 'object' || error === null) return false
  const { code, errno, message } = error as { code?: unknown; errno?: unknown; message?: unknown }
  return missingTable.has(code) || missingTable.has(errno) || /^no such table\b/.test(String(message))
}
