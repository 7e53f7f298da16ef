import { createHash, randomBytes } from 'node:crypto'
import { sql, type Kysely, type RawBuilder, type Transaction } from 'kysely'
import { durationMs, keyString } from '../../core/check.js'
import { systemClock, type Clock } from '../../core/clock.js'
import { StoreUnavailableError } from '../../core/errors.js'
import { knownOptions, type Known } from '../../core/options.js'
import type { TransactionalInbox } from '../inbox.js'
import { storedId } from '../stored-id.js'
import { dialectOf, isMissingTable } from './dialect.js'

export interface SqlInboxOptions {
  /** @defaultValue 'spillway_inbox' */
  readonly table?: string | undefined
  /** Whose inbox it is: consumers with different effects may share a table, and each handles a message. @defaultValue 'default' */
  readonly consumer?: string | undefined
  /** How long a handled id is remembered, at least; longer than a message may take to come again. @defaultValue 604_800_000, 7 days */
  readonly retentionMs?: number | undefined
  /** When to clean up goes by this clock; what is old, by the database's. @defaultValue systemClock */
  readonly clock?: Clock | undefined
}

const known: Known<SqlInboxOptions> = { table: true, consumer: true, retentionMs: true, clock: true }

/** An inbox in the tables of the handler's own database. Made by {@link sqlInbox}. */
export interface SqlInbox<DB> extends TransactionalInbox<Transaction<DB>> {
  /** Makes the table if it is not there. To be called before the first consumer starts. */
  migrate(): Promise<void>
  check(): Promise<void>
}

/** Statements have a bounded number of parameters. */
const maxIds = 1_000
const purgeAtOnce = 1_000
const longestPlain = 150
const stored = (name: string, value: unknown): string => storedId(keyString(name, value), longestPlain)

/** PostgreSQL cuts longer names off, and two tables would become one; MySQL refuses them one byte later. */
const longestName = 63
const indexSuffix = '_seen'

function checkedTable(name: unknown): string {
  for (const part of keyString('table', name).split('.')) {
    const bytes = Buffer.byteLength(part)
    if (bytes > longestName)
      throw new RangeError(`table must have names of up to ${longestName} bytes, got ${bytes}: ${part}`)
  }
  return name as string
}

/** A name of its own for each table's index, for an index that is there by that name is not made again. */
function indexOf(table: string): string {
  const plain = table.replace(/\W/g, '_')
  if (plain === table && plain.length + indexSuffix.length <= longestName) return plain + indexSuffix
  const digest = createHash('sha256').update(table).digest('hex').slice(0, 12)
  return `${plain.slice(0, longestName - indexSuffix.length - digest.length - 1)}_${digest}${indexSuffix}`
}

/**
 * Remembers ids in a table beside the effect, so that each message has its effect once: the ids and whatever `work`
 * does with its transaction commit together. It costs a statement per batch, so handle in batches: a transaction of 500
 * messages takes little longer than one of a single message.
 *
 * Call `migrate` once before the first consumer starts: without its table `startConsumer` rejects.
 *
 * For MySQL and MariaDB (InnoDB), PostgreSQL and SQLite, through Kysely. Two transactions with the same id wait for each
 * other, and one of them finds it known; on a deadlock or a busy database it rejects, and the consumer tries again. A
 * handler must let such errors of the database pass: MySQL has undone its transaction then. With
 * SQLite use `tx` alone inside a handler: Kysely has one connection, and `tx` holds it.
 */
export function sqlInbox<DB>(db: Kysely<DB>, options?: SqlInboxOptions): SqlInbox<DB> {
  const { clock = systemClock, ...given } = knownOptions<SqlInboxOptions>('sqlInbox', options, known)
  const { nowSeconds, text, tableOptions, inlineIndex, isMysql } = dialectOf(db)
  const tableName = checkedTable(given.table ?? 'spillway_inbox')
  const table = sql.table(tableName)
  const index = sql.id(indexOf(tableName))
  const consumer = stored('consumer', given.consumer ?? 'default')
  const retentionMs = durationMs('retentionMs', given.retentionMs ?? 604_800_000, 1)
  const purgeEveryMs = Math.min(retentionMs / 10, 600_000)
  let purgeAtMs = clock.nowMs() + purgeEveryMs

  async function migrate(): Promise<void> {
    const seen = sql`index ${index} (consumer, seen_at)`
    await sql`create table if not exists ${table} (
      consumer ${text} not null,
      id ${text} not null,
      claim ${text} not null,
      seen_at bigint not null,
      primary key (consumer, id)${inlineIndex ? sql`, ${seen}` : sql``}
    )${tableOptions}`.execute(db)
    if (!inlineIndex) await sql`create index if not exists ${index} on ${table} (consumer, seen_at)`.execute(db)
  }

  function told(error: unknown): never {
    if (!isMissingTable(error)) throw error
    throw new StoreUnavailableError(
      `queue: there is no table ${tableName} for sqlInbox: call its migrate() before the consumer starts`,
      { applied: 'no', cause: error },
    )
  }

  /** Remembers the ids, and answers with those that were not there. */
  async function remember(tx: Kysely<DB>, ids: readonly string[], claim: string): Promise<readonly string[]> {
    const rows = sql.join(ids.map((id) => sql`(${consumer}, ${id}, ${claim}, ${nowSeconds})`))
    const insert: RawBuilder<unknown> = isMysql
      ? sql`insert ignore into ${table} (consumer, id, claim, seen_at) values ${rows}`
      : sql`insert into ${table} (consumer, id, claim, seen_at) values ${rows} on conflict do nothing`
    const { numAffectedRows } = await insert.execute(tx).catch(told)
    if (numAffectedRows === BigInt(ids.length)) return ids
    const mine = await sql<{ id: string }>`
      select id from ${table} where consumer = ${consumer} and claim = ${claim} and id in (${sql.join(ids)})
    `.execute(tx)
    return mine.rows.map(({ id }) => id)
  }

  async function purge(): Promise<void> {
    if (clock.nowMs() < purgeAtMs || retentionMs === Infinity) return
    purgeAtMs = clock.nowMs() + purgeEveryMs
    const old = sql`consumer = ${consumer} and seen_at < ${nowSeconds} - ${Math.ceil(retentionMs / 1_000)}`
    const some = isMysql
      ? sql`delete from ${table} where ${old} limit ${sql.lit(purgeAtOnce)}`
      : sql`delete from ${table} where consumer = ${consumer} and id in
          (select id from ${table} where ${old} limit ${sql.lit(purgeAtOnce)})`
    const { numAffectedRows } = await some.execute(db.withoutPlugins())
    // There is more: go on soon, but let messages pass in between.
    if (numAffectedRows === BigInt(purgeAtOnce)) purgeAtMs = clock.nowMs()
  }

  return {
    migrate,
    async check() {
      try {
        await sql`select 1 from ${table} where 1 = 0`.execute(db.withoutPlugins())
      } catch (error) {
        if (isMissingTable(error)) told(error)
      }
    },
    async once(ids, work) {
      if (ids.length === 0) return
      // In one order everywhere: two batches that share ids then wait for each other instead of deadlocking.
      const originals = new Map(ids.map((id) => [stored('id', id), id]))
      const sorted = [...originals.keys()].sort()
      await db.transaction().execute(async (tx) => {
        const claim = randomBytes(12).toString('base64url')
        const fresh = new Set<string>()
        for (let from = 0; from < sorted.length; from += maxIds) {
          const remembered = await remember(tx.withoutPlugins(), sorted.slice(from, from + maxIds), claim)
          for (const id of remembered) fresh.add(originals.get(id) as string)
        }
        if (fresh.size > 0) await work(fresh, tx)
      })
      // A failed clean-up is done later, and is no failure of the messages.
      await purge().catch(() => undefined)
    },
  }
}
