import { sql, type Generated, type Kysely } from 'kysely'

/**
 * `'recorded'`: sold. `'rejected'`: the database had no units for it. `'refunding'`: its units are going back to the stock;
 * it counts as sold no more. `'refunded'`: they have.
 */
export type OrderState = 'recorded' | 'rejected' | 'refunding' | 'refunded'

export interface Tables {
  sales: {
    id: string
    title: string
    price_cents: number
    /** Units on sale from the beginning. */
    quantity: number
    /** Units that no recorded order took: the last guard against overselling. */
    remaining: number
    opens_at_ms: number
    limit_per_buyer: number
    /** As JSON. */
    door: string
    /** Which life of its stock the sale is in; 0 before the first. */
    generation: Generated<number>
    /** The strategy that sells it. */
    sold_by: string
    recorded_orders: Generated<number>
    rejected_orders: Generated<number>
    created_at_ms: number
  }
  orders: {
    sale_id: string
    order_id: string
    buyer: string
    quantity: number
    state: OrderState
    created_at_ms: number
  }
}

export type Database = Kysely<Tables>

/** Ids are compared byte by byte, as Redis does, whatever the database's own collation is. */
export const ids = { mysql: sql`varchar(128) character set ascii collate ascii_bin`, sqlite: sql`text` }
export const texts = { mysql: sql`varchar(512) character set utf8mb4 collate utf8mb4_bin`, sqlite: sql`text` }

/** Makes the tables where they are missing. */
export async function migrate(db: Database, kind: 'mysql' | 'sqlite'): Promise<void> {
  const id = ids[kind]
  const text = texts[kind]
  await db.schema
    .createTable('sales')
    .ifNotExists()
    .addColumn('id', id, (column) => column.primaryKey().notNull())
    .addColumn('title', text, (column) => column.notNull())
    .addColumn('price_cents', 'integer', (column) => column.notNull())
    .addColumn('quantity', 'integer', (column) => column.notNull())
    .addColumn('remaining', 'integer', (column) => column.notNull())
    .addColumn('opens_at_ms', 'bigint', (column) => column.notNull())
    .addColumn('limit_per_buyer', 'integer', (column) => column.notNull())
    .addColumn('door', text, (column) => column.notNull())
    .addColumn('generation', 'integer', (column) => column.notNull().defaultTo(0))
    .addColumn('sold_by', id, (column) => column.notNull())
    .addColumn('recorded_orders', 'integer', (column) => column.notNull().defaultTo(0))
    .addColumn('rejected_orders', 'integer', (column) => column.notNull().defaultTo(0))
    .addColumn('created_at_ms', 'bigint', (column) => column.notNull())
    .execute()
  await db.schema
    .createTable('orders')
    .ifNotExists()
    .addColumn('sale_id', id, (column) => column.notNull())
    .addColumn('order_id', id, (column) => column.notNull())
    .addColumn('buyer', text, (column) => column.notNull())
    .addColumn('quantity', 'integer', (column) => column.notNull())
    .addColumn('state', id, (column) => column.notNull())
    .addColumn('created_at_ms', 'bigint', (column) => column.notNull())
    .addPrimaryKeyConstraint('orders_id', ['sale_id', 'order_id'])
    .execute()
}
