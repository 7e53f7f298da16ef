/**
 * Faults that say nothing about the message whose transaction met them. `'conflict'`: the database chose this transaction
 * to give way to others (deadlock, lock wait, serialization, busy). `'lost'`: the database or the way to it is away (lost
 * connection, shutdown, fail-over, nothing left in the pool). `'network'`: a socket failed, and it need not be the
 * database's.
 */
export type TransactionFault = 'conflict' | 'lost' | 'network'

/** By `code`, `errno` and `sqlState`, as clients of MySQL, MariaDB, PostgreSQL and SQLite set them. */
const conflicts = new Set<unknown>([
  'ER_LOCK_DEADLOCK',
  'ER_LOCK_WAIT_TIMEOUT',
  'ER_LOCK_NOWAIT',
  'ER_CHECKREAD',
  'ER_TRANSACTION_ROLLBACK_DURING_COMMIT',
  1213,
  1205,
  3572,
  1020,
  3101,
  '40001',
  '40P01',
  '55P03',
])
const losses = new Set<unknown>([
  'PROTOCOL_CONNECTION_LOST',
  'PROTOCOL_SEQUENCE_TIMEOUT',
  'ER_SERVER_SHUTDOWN',
  'ER_NORMAL_SHUTDOWN',
  'ER_CONNECTION_KILLED',
  'ER_CON_COUNT_ERROR',
  'ER_TOO_MANY_USER_CONNECTIONS',
  'ER_READ_ONLY_MODE',
  'ER_DISK_FULL',
  'ER_RECORD_FILE_FULL',
  'ER_GET_CONNECTION_TIMEOUT',
  'ER_SOCKET_UNEXPECTED_CLOSE',
  1053,
  1077,
  1927,
  1040,
  1203,
  1836,
  1021,
  1114,
  2006,
  2013,
  '40003',
  '25006',
])
const network = new Set<unknown>([
  'ECONNRESET',
  'ECONNREFUSED',
  'ECONNABORTED',
  'EPIPE',
  'ETIMEDOUT',
  'EHOSTUNREACH',
  'EHOSTDOWN',
  'ENETUNREACH',
  'ENETDOWN',
  'ENETRESET',
  'EADDRNOTAVAIL',
  'EAI_AGAIN',
  'ENOTFOUND',
])
/** Whole families: PostgreSQL's connection exceptions, lack of resources and operator's interventions; SQLite's locks. */
const conflictFamily = /^SQLITE_(BUSY|LOCKED)/
const lossFamily = /^(08\w{3}|53\w{3}|57P\w\w|SQLITE_FULL)$/
/** SQLite's result codes in their low byte, as `node:sqlite` has them in `errcode`. */
const sqliteConflicts = new Set([5, 6])
/** What clients and pools say without a code. */
const conflictText = /database (table )?is locked/i
const lossText =
  /connection (is )?(in )?(closed state|terminated|ended)|can't add new command|no connections available|timeout exceeded when trying to connect|--read-only/i

interface Described {
  readonly code?: unknown
  readonly errno?: unknown
  readonly errcode?: unknown
  readonly sqlState?: unknown
  readonly message?: unknown
  readonly cause?: unknown
}

const deepest = 8

/** What kind of fault an error of a transaction is, also one that is the cause of another; `undefined`: none of these. */
export function transactionFault(error: unknown): TransactionFault | undefined {
  try {
    let one = error
    for (let depth = 0; depth < deepest && typeof one === 'object' && one !== null; depth++) {
      const fault = faultOf(one)
      if (fault) return fault
      one = (one as Described).cause
    }
  } catch {
    // A handler may throw anything, also what cannot be looked at.
  }
  return undefined
}

function faultOf({ code, errno, errcode, sqlState, message }: Described): TransactionFault | undefined {
  const names = [code, errno, sqlState]
  const isIn = (known: ReadonlySet<unknown>): boolean => names.some((name) => known.has(name))
  const isLike = (family: RegExp): boolean => names.some((name) => typeof name === 'string' && family.test(name))
  if (isIn(conflicts) || isLike(conflictFamily)) return 'conflict'
  if (typeof errcode === 'number' && sqliteConflicts.has(errcode & 0xff)) return 'conflict'
  if (isIn(losses) || isLike(lossFamily)) return 'lost'
  if (isIn(network)) return 'network'
  if (typeof message !== 'string') return undefined
  if (conflictText.test(message)) return 'conflict'
  return lossText.test(message) ? 'lost' : undefined
}
