import { sql, type Kysely } from 'kysely'
import { inTime, isDuplicate } from '../../shared/database.js'
import type { Order, StockLevel } from 'spillway/stock'
import { ids, texts, type Database, type Tables } from '../../shared/selling/tables.js'
import { levelOf, recordOf } from './counts.js'
import type { Seller, Verdict } from '../../shared/selling/seller.js'
import { maxWaitMs, notOnSale, sellingAgain, verdictOn, type Seen } from './seller.js'

type OptimisticTables = {
  optimistic_stock: {
    sku: string
    total: number
    /** Unsold units. */
    count: number
    /** One more with every order that was sold. */
    version: number
  }
  optimistic_orders: {
    sku: string
    order_id: string
    buyer: string
    quantity: number
  }
}

type Connection = Kysely<Tables & OptimisticTables>

/** How often an order tries to be the first to write the next version. */
const attempts = 3
const page = 1_000

const sold: Verdict = { ok: true, replayed: false }
const clash: Verdict = { ok: false, reason: 'clash' }

/** Somebody else's transaction was first, in words of the server that mean no more than a version that has moved on. */
const lostCodes = new Set(['ER_LOCK_DEADLOCK', 'ER_CHECKREAD'])

/**
 * Select count and version, update where the version is still the same: who comes second has lost, and has made the
 * database work for nothing. As a version that stands says that nothing was sold since it was read, it vouches for the
 * order id and the buyer's units as well, which are read with it.
 */
export function optimisticSeller(database: Database): Seller {
  const db = database.withTables<OptimisticTables>()

  async function read(
    connection: Connection,
    { sku, orderId, buyer }: Order,
  ): Promise<(Seen & { readonly version: number }) | undefined> {
    const row = await connection
      .selectFrom('optimistic_stock as stock')
      .leftJoin('optimistic_orders as known', (join) =>
        join.onRef('known.sku', '=', 'stock.sku').on('known.order_id', '=', orderId),
      )
      .select(['stock.count', 'stock.version', 'known.quantity', 'known.buyer'])
      .select((eb) =>
        eb
          .selectFrom('optimistic_orders as own')
          .select(({ fn }) => fn.sum('own.quantity').as('units'))
          .whereRef('own.sku', '=', 'stock.sku')
          .where('own.buyer', '=', buyer?.id ?? '')
          // MySQL fills up with spaces what it compares: for it "ann" and "ann " are one.
          .where(sql`length(own.buyer)`, '=', sql`length(${buyer?.id ?? ''})`)
          .as('bought'),
      )
      .where('stock.sku', '=', sku)
      .executeTakeFirst()
    if (!row) return undefined
    const known = row.quantity === null ? undefined : { quantity: row.quantity, buyer: row.buyer ?? '' }
    return { left: row.count, version: row.version, known, bought: Number(row.bought ?? 0) }
  }

  /** `false` if the version has moved on. */
  async function write(
    connection: Connection,
    { sku, orderId, quantity = 1, buyer }: Order,
    version: number,
  ): Promise<boolean> {
    const writing = connection.transaction().execute(async (tx) => {
      const { numUpdatedRows } = await tx
        .updateTable('optimistic_stock')
        .set({ count: sql`count - ${quantity}`, version: sql`version + 1` })
        .where('sku', '=', sku)
        .where('version', '=', version)
        .where('count', '>=', quantity)
        .executeTakeFirst()
      if (numUpdatedRows === 0n) return false
      const order = { sku, order_id: orderId, buyer: buyer?.id ?? '', quantity }
      await tx.insertInto('optimistic_orders').values(order).execute()
      return true
    })
    return writing.catch((error: unknown) => {
      if (lostCodes.has(String((error as { code?: unknown }).code))) return false
      throw error
    })
  }

  async function level(sku: string): Promise<StockLevel> {
    const rows = db.selectFrom('optimistic_stock').select(['total', 'count']).where('sku', '=', sku)
    const row = await inTime(rows.executeTakeFirst())
    if (!row) throw notOnSale(sku)
    return levelOf(row.total, row.count)
  }

  function sell(order: Order): Promise<Verdict> {
    // On one connection, or the write would queue for another while the version that was read grows old.
    const selling = db.connection().execute(async (connection) => {
      for (let attempt = 0; attempt < attempts; attempt++) {
        const seen = await read(connection, order)
        const verdict = verdictOn(order, seen)
        if (verdict) return verdict
        if (seen && (await write(connection, order, seen.version))) return sold
      }
      return clash
    })
    return inTime(selling, maxWaitMs)
  }

  return {
    level,
    async open(sku, quantity) {
      const row = { sku, total: quantity, count: quantity, version: 0 }
      try {
        await inTime(db.insertInto('optimistic_stock').values(row).execute())
        return true
      } catch (error) {
        if (isDuplicate(error)) return false
        throw error
      }
    },
    sell,
    reconcile: sellingAgain(sell),
    async *orders(sku) {
      await level(sku)
      for (let after = ''; ;) {
        const next = db
          .selectFrom('optimistic_orders')
          .selectAll()
          .where('sku', '=', sku)
          .where('order_id', '>', after)
          .orderBy('order_id')
          .limit(page)
        const rows = await inTime(next.execute())
        for (const row of rows) yield recordOf(row.order_id, row.quantity, row.buyer)
        const last = rows.at(-1)
        if (!last || rows.length < page) return
        after = last.order_id
      }
    },
    async find(orderId, sku) {
      const rows = db.selectFrom('optimistic_orders').selectAll().where('sku', '=', sku)
      const row = await inTime(rows.where('order_id', '=', orderId).executeTakeFirst())
      return row && recordOf(orderId, row.quantity, row.buyer)
    },
    async remove(sku) {
      const removing = db.transaction().execute(async (tx) => {
        await tx.deleteFrom('optimistic_stock').where('sku', '=', sku).execute()
        await tx.deleteFrom('optimistic_orders').where('sku', '=', sku).execute()
      })
      await inTime(removing)
    },
    // The database is of whoever opened it.
    close: async () => undefined,
  }
}

/** Makes the strategy's own tables where they are missing. */
export async function migrateOptimistic(db: Database, kind: 'mysql' | 'sqlite'): Promise<void> {
  const id = ids[kind]
  const text = texts[kind]
  await db.schema
    .createTable('optimistic_stock')
    .ifNotExists()
    .addColumn('sku', id, (column) => column.primaryKey().notNull())
    .addColumn('total', 'integer', (column) => column.notNull())
    .addColumn('count', 'integer', (column) => column.notNull())
    .addColumn('version', 'integer', (column) => column.notNull())
    .execute()
  await db.schema
    .createTable('optimistic_orders')
    .ifNotExists()
    .addColumn('sku', id, (column) => column.notNull())
    .addColumn('order_id', id, (column) => column.notNull())
    .addColumn('buyer', text, (column) => column.notNull())
    .addColumn('quantity', 'integer', (column) => column.notNull())
    .addPrimaryKeyConstraint('optimistic_orders_id', ['sku', 'order_id'])
    // The index that counts what a buyer has.
    .addUniqueConstraint('optimistic_orders_buyer', ['sku', 'buyer', 'order_id'])
    .execute()
}
