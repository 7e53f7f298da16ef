import type { Kysely, Transaction } from 'kysely'
import { ids, texts, type Database, type Tables } from '../shared/selling/tables.js'

/** The tables that this service has beside those of every service that sells. */
export type TicketTables = {
  /** Tickets that are set aside, for lookups and to restore a stock that was lost. The stock decides. */
  holds: {
    sale_id: string
    order_id: string
    buyer: string
    quantity: number
    /** A hold whose time has ended stays `'held'`. */
    state: 'held' | 'cancelled'
    ends_at_ms: number
  }
  payments: {
    sale_id: string
    order_id: string
    buyer: string
    quantity: number
    amount_cents: number
    state: PaymentState
    authorised_at_ms: number
  }
  /** Refunds that have begun and not ended. */
  refunds: { sale_id: string; order_id: string; begun_at_ms: number }
  secrets: { name: string; value: string }
}

/** `'authorised'`: set aside on the card. `'captured'`: taken. `'released'`: set aside no more. `'refunded'`: given back. */
export type PaymentState = 'authorised' | 'captured' | 'released' | 'refunded'

export type TicketDatabase = Kysely<Tables & TicketTables>
export type TicketTx = Transaction<Tables & TicketTables>

/** The same connections, with the service's own tables. */
export const ticketTables = (db: Database): TicketDatabase => db.withTables<TicketTables>()

/** Makes the tables where they are missing. */
export async function migrateTickets(db: Database, kind: 'mysql' | 'sqlite'): Promise<void> {
  const id = ids[kind]
  const text = texts[kind]
  const ofOrder = (table: string) =>
    db.schema
      .createTable(table)
      .ifNotExists()
      .addColumn('sale_id', id, (column) => column.notNull())
      .addColumn('order_id', id, (column) => column.notNull())
      .addPrimaryKeyConstraint(`${table}_id`, ['sale_id', 'order_id'])
  await ofOrder('holds')
    .addColumn('buyer', text, (column) => column.notNull())
    .addColumn('quantity', 'integer', (column) => column.notNull())
    .addColumn('state', id, (column) => column.notNull())
    .addColumn('ends_at_ms', 'bigint', (column) => column.notNull())
    .execute()
  await ofOrder('payments')
    .addColumn('buyer', text, (column) => column.notNull())
    .addColumn('quantity', 'integer', (column) => column.notNull())
    .addColumn('amount_cents', 'bigint', (column) => column.notNull())
    .addColumn('state', id, (column) => column.notNull())
    .addColumn('authorised_at_ms', 'bigint', (column) => column.notNull())
    // The index that finds payments which nobody has finished.
    .addUniqueConstraint('payments_state', ['state', 'sale_id', 'order_id'])
    .execute()
  await ofOrder('refunds')
    .addColumn('begun_at_ms', 'bigint', (column) => column.notNull())
    .execute()
  await db.schema
    .createTable('secrets')
    .ifNotExists()
    .addColumn('name', id, (column) => column.primaryKey().notNull())
    .addColumn('value', text, (column) => column.notNull())
    .execute()
}
