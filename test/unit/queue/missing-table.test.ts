import { expect, it } from 'vitest'
import { isMissingTable } from '../../../src/queue/sql/dialect.js'

const coded = (fields: object, message = 'no') => Object.assign(new Error(message), fields)

it.each<[string, unknown, boolean]>([
  ['MySQL and MariaDB', coded({ code: 'ER_NO_SUCH_TABLE', errno: 1146, sqlState: '42S02' }), true],
  ['MariaDB, by number', coded({ errno: 1146 }), true],
  ['PostgreSQL', coded({ code: '42P01' }, 'relation "spillway_inbox" does not exist'), true],
  ['better-sqlite3 and libsql', coded({ code: 'SQLITE_ERROR' }, 'no such table: spillway_inbox'), true],
  ['node:sqlite', coded({ code: 'ERR_SQLITE_ERROR', errcode: 1 }, 'no such table: main.spillway_inbox'), true],
  ['another fault of SQLite', coded({ code: 'SQLITE_ERROR' }, 'no such column: id'), false],
  ['a lost connection', coded({ code: 'ECONNREFUSED' }), false],
  ['no error', undefined, false],
])('whether the table is missing: %s', (_, error, missing) => expect(isMissingTable(error)).toBe(missing))
