import { describe, expect, it } from 'vitest'
import { transactionFault } from '../../../src/queue/transaction-fault.js'

const coded = (fields: object, message = 'no') => Object.assign(new Error(message), fields)
const throwing = (): never => {
  throw new Error('not to be looked at')
}

describe('transactionFault', () => {
  it.each<[string, unknown]>([
    ['MySQL: deadlock', coded({ code: 'ER_LOCK_DEADLOCK', errno: 1213, sqlState: '40001' })],
    ['MySQL: deadlock by number', coded({ errno: 1213 })],
    ['MySQL: lock wait', coded({ code: 'ER_LOCK_WAIT_TIMEOUT', errno: 1205, sqlState: 'HY000' })],
    ['MySQL: no wait', coded({ errno: 3572 })],
    ['MariaDB: record changed since last read', coded({ errno: 1020, sqlState: 'HY000' })],
    ['PostgreSQL: serialization failure', coded({ code: '40001' })],
    ['PostgreSQL: deadlock', coded({ code: '40P01' })],
    ['PostgreSQL: lock not available', coded({ code: '55P03' })],
    ['SQLite: busy', coded({ code: 'SQLITE_BUSY' })],
    ['SQLite: busy snapshot', coded({ code: 'SQLITE_BUSY_SNAPSHOT' })],
    ['SQLite: locked', coded({ code: 'SQLITE_LOCKED_SHAREDCACHE' })],
    ['node:sqlite: busy', coded({ code: 'ERR_SQLITE_ERROR', errcode: 5 })],
    ['node:sqlite: busy snapshot', coded({ code: 'ERR_SQLITE_ERROR', errcode: 517 })],
    ['SQLite, by text alone', new Error('database is locked')],
    ['a cause', new Error('cannot book', { cause: new Error('query', { cause: coded({ errno: 1213 }) }) })],
    ['no Error', { code: '40001' }],
  ])('%s is a conflict', (_, error) => expect(transactionFault(error)).toBe('conflict'))

  it.each<[string, unknown]>([
    ['MySQL: connection lost', coded({ code: 'PROTOCOL_CONNECTION_LOST', fatal: true })],
    ['MySQL: shutdown', coded({ errno: 1053 })],
    ['MySQL: gone away', coded({ errno: 2006 })],
    ['MySQL: too many connections', coded({ code: 'ER_CON_COUNT_ERROR', errno: 1040 })],
    ['MySQL: read-only after a fail-over', coded({ errno: 1290 }, 'running with the --read-only option')],
    ['MariaDB: connection killed', coded({ errno: 1927 })],
    ['MySQL: closed connection', new Error("Can't add new command when connection is in closed state")],
    ['MySQL: pool', new Error('No connections available.')],
    ['PostgreSQL: connection failure', coded({ code: '08006' })],
    ['PostgreSQL: admin shutdown', coded({ code: '57P01' })],
    ['PostgreSQL: starting up', coded({ code: '57P03' })],
    ['PostgreSQL: too many connections', coded({ code: '53300' })],
    ['PostgreSQL: read-only', coded({ code: '25006' })],
    ['PostgreSQL: terminated', new Error('Connection terminated unexpectedly')],
    ['PostgreSQL: pool', new Error('timeout exceeded when trying to connect')],
    ['SQLite: disk full', coded({ code: 'SQLITE_FULL' })],
  ])('%s is a loss', (_, error) => expect(transactionFault(error)).toBe('lost'))

  it.each(['ECONNRESET', 'EPIPE', 'ETIMEDOUT', 'ECONNREFUSED', 'EAI_AGAIN', 'EHOSTUNREACH'])(
    '%s is the network',
    (code) => {
      expect(transactionFault(coded({ code }))).toBe('network')
      expect(transactionFault(new TypeError('fetch failed', { cause: coded({ code }) }))).toBe('network')
    },
  )

  it.each<[string, unknown]>([
    ['MySQL: duplicate entry', coded({ code: 'ER_DUP_ENTRY', errno: 1062, sqlState: '23000' })],
    ['MySQL: no such table', coded({ code: 'ER_NO_SUCH_TABLE', errno: 1146 })],
    ['PostgreSQL: unique violation', coded({ code: '23505' })],
    ['PostgreSQL: statement time-out, which the statement may deserve', coded({ code: '57014' })],
    ['PostgreSQL: idle in transaction, which the handler may deserve', coded({ code: '25P03' })],
    ['SQLite: constraint', coded({ code: 'SQLITE_CONSTRAINT' })],
    ['node:sqlite: constraint', coded({ errcode: 19 })],
    ['a program’s error', new TypeError('cannot read properties of undefined')],
    ['undefined', undefined],
    ['null', null],
    ['a string', '40001'],
    ['a function', () => undefined],
    ['an empty object', Object.create(null)],
    ['a proxy that lets nothing be read', new Proxy({}, { get: throwing, has: throwing, getPrototypeOf: throwing })],
    ['a revoked proxy', revoked()],
    ['an error whose message throws', Object.defineProperty(new Error(), 'message', { get: throwing })],
  ])('%s is the message’s own', (_, error) => expect(transactionFault(error)).toBeUndefined())

  it('ends on a cause that is its own', () => {
    const error: Error & { cause?: unknown } = new Error('round')
    error.cause = error
    expect(transactionFault(error)).toBeUndefined()
  })
})

function revoked(): unknown {
  const { proxy, revoke } = Proxy.revocable({}, {})
  revoke()
  return proxy
}
