import { mkdirSync } from 'node:fs'
import { dirname } from 'node:path'
import { Kysely, MysqlDialect, SqliteDialect } from 'kysely'
import Libsql from 'libsql'
import { createPool, type Connection, type QueryError } from 'mysql2'

/** Where the rows are: a SQLite file, or a MySQL or MariaDB by its URL. */
export type DatabaseAddress = { readonly file: string } | { readonly url: string }

/** Opens the database. Closing it (`destroy`) closes its connections. */
export function openDatabase<Tables>(
  address: DatabaseAddress,
  options: { readonly connections?: number } = {},
): Kysely<Tables> {
  if ('url' in address) {
    const pool = createPool({
      uri: address.url,
      connectionLimit: options.connections ?? 4,
      connectTimeout: 5_000,
      charset: 'utf8mb4_bin',
      supportBigNumbers: true,
    })
    pool.on('connection', (connection) => giveUpSilent(connection))
    return new Kysely<Tables>({ dialect: new MysqlDialect({ pool }) })
  }
  return new Kysely<Tables>({ dialect: new SqliteDialect({ database: openFile(address.file) }) })
}

/** No statement of ours takes this long. */
const longestStatementMs = 10_000

/**
 * A connection whose server does not answer may have died without a word. Whoever asked is told in time (`inTime`), but
 * the statement would keep its place in the pool for as long as the system takes to notice, which is many minutes; and
 * after some statements no place would be left. So it is closed, and the pool makes a new one.
 */
function giveUpSilent(connection: Connection): void {
  type Callback = (error: QueryError | null, ...results: unknown[]) => void
  const query = connection.query.bind(connection) as unknown as (options: object, callback: Callback) => unknown
  // This is the form in which Kysely calls it.
  const queryInTime = (sql: string, values: unknown, callback: Callback): unknown =>
    query({ sql, values, timeout: longestStatementMs }, (error, ...results) => {
      if (error?.code === 'PROTOCOL_SEQUENCE_TIMEOUT') connection.destroy()
      callback(error, ...results)
    })
  Object.assign(connection, { query: queryInTime })
}

/** Opens a SQLite file for this process alone. */
function openFile(file: string): Libsql.Database {
  const database = createFile(file)
  try {
    // The write-ahead log with FULL keeps what was committed over a power cut, and costs one sync per transaction.
    for (const pragma of ['locking_mode = EXCLUSIVE', 'journal_mode = WAL', 'synchronous = FULL']) {
      database.pragma(pragma)
    }
    database.exec('begin immediate; commit')
    return database
  } catch (error) {
    database.close()
    throw cannotOpen(file, error)
  }
}

function createFile(file: string): Libsql.Database {
  try {
    if (file !== ':memory:') mkdirSync(dirname(file), { recursive: true })
    return new Libsql(file)
  } catch (error) {
    throw cannotOpen(file, error)
  }
}

function cannotOpen(file: string, cause: unknown): Error {
  const why = cause instanceof Error ? cause.message : String(cause)
  if (why.includes('locked')) return new DatabaseInUse(`${file} is in use by another process`, { cause })
  return new Error(`${file} cannot be opened for writing: ${why}`, { cause })
}

/** Another process has the file open. */
export class DatabaseInUse extends Error {
  override readonly name = 'DatabaseInUse'
}

const awayCodes = new Set([
  'ECONNREFUSED',
  'ECONNRESET',
  'EPIPE',
  'ETIMEDOUT',
  'EHOSTUNREACH',
  'ENOTFOUND',
  'EAI_AGAIN',
  'PROTOCOL_CONNECTION_LOST',
  'PROTOCOL_SEQUENCE_TIMEOUT',
  'POOL_CLOSED',
  'ER_CON_COUNT_ERROR',
  'ER_SERVER_SHUTDOWN',
  'ER_LOCK_WAIT_TIMEOUT',
  'ER_LOCK_DEADLOCK',
  'ER_QUERY_INTERRUPTED',
  'ER_CONNECTION_KILLED',
  'SQLITE_BUSY',
  'SQLITE_LOCKED',
])

/** The database did not answer within its time. */
class DatabaseTimeout extends Error {
  override readonly name = 'DatabaseTimeout'
}

/** Whether the database is away (or too busy), as opposed to a statement of ours that is wrong. */
export function isDatabaseAway(error: unknown): boolean {
  if (error instanceof DatabaseTimeout) return true
  if (!(error instanceof Error)) return false
  const { code, fatal } = error as { code?: unknown; fatal?: unknown }
  if (typeof code === 'string' && awayCodes.has(code)) return true
  // mysql2 has no code for a statement on a connection that closed before it.
  return fatal === true || /closed state|Pool is closed|Connection lost/.test(error.message)
}

/** Whether a row with that key was there already. */
export const isDuplicate = (error: unknown): boolean =>
  /ER_DUP_ENTRY|SQLITE_CONSTRAINT/.test(String((error as { code?: unknown }).code))

/** The statement's answer, or DatabaseTimeout: a silent server must not keep a request waiting. */
export async function inTime<T>(statement: Promise<T>, timeoutMs = 3_000): Promise<T> {
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new DatabaseTimeout(`the database did not answer in ${timeoutMs} ms`)), timeoutMs)
  })
  try {
    return await Promise.race([statement, late])
  } finally {
    clearTimeout(timer)
  }
}
