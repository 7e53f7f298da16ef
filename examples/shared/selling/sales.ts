import type { Selectable } from 'kysely'
import { inTime, isDuplicate } from '../database.js'
import type { Database, Tables } from './tables.js'

/** A sale. `Door` is how a service lets its buyers in, in its own terms. */
export interface Sale<Door = unknown> {
  readonly id: string
  readonly title: string
  readonly priceCents: number
  readonly quantity: number
  readonly opensAtMs: number
  readonly limitPerBuyer: number
  readonly door: Door
  /** Which life of its stock the sale is in: 0 before the first, one more each time the stock was rebuilt. */
  readonly generation: number
  /** The strategy that sells it. Processes with another one leave it alone until they take it over. */
  readonly soldBy: string
}

/** What the database knows of a sale's orders. */
export interface SaleBooks {
  readonly recordedOrders: number
  readonly rejectedOrders: number
  /** Units of recorded orders. */
  readonly recordedUnits: number
}

/** What the id of a sale looks like; it is a part of Redis keys and of addresses. */
export const saleIdPattern = '^[A-Za-z0-9_-]{1,64}$'
const isSaleId = new RegExp(saleIdPattern)

type Row = Selectable<Tables['sales']>

/**
 * The name under which the stock knows a sale. A rebuilt stock gets a name of its own, so that an order on its way to the
 * old one cannot slip into the new one before the recorded orders are back in it. No other strategy has a stock of that name.
 */
export const skuOf = ({ id, generation, soldBy }: Pick<Sale, 'id' | 'generation' | 'soldBy'>): string =>
  `${id}.${generation}.${soldBy}`

/** The sale that a name of {@link skuOf} is of. */
export const saleIdOf = (sku: string): string => sku.slice(0, sku.indexOf('.'))

const saleOf = <Door>(row: Row): Sale<Door> => ({
  id: row.id,
  title: row.title,
  priceCents: row.price_cents,
  quantity: row.quantity,
  opensAtMs: Number(row.opens_at_ms),
  limitPerBuyer: row.limit_per_buyer,
  door: JSON.parse(row.door) as Door,
  generation: row.generation,
  soldBy: row.sold_by,
})

const booksOf = (row: Row): SaleBooks => ({
  recordedOrders: row.recorded_orders,
  rejectedOrders: row.rejected_orders,
  recordedUnits: row.quantity - row.remaining,
})

/** Writes a new sale, not on sale yet; `false` if the id is taken. */
export async function insertSale(db: Database, sale: Sale): Promise<boolean> {
  const row = {
    id: sale.id,
    title: sale.title,
    price_cents: sale.priceCents,
    quantity: sale.quantity,
    remaining: sale.quantity,
    opens_at_ms: sale.opensAtMs,
    limit_per_buyer: sale.limitPerBuyer,
    door: JSON.stringify(sale.door),
    generation: sale.generation,
    sold_by: sale.soldBy,
    created_at_ms: Date.now(),
  }
  try {
    await inTime(db.insertInto('sales').values(row).execute())
    return true
  } catch (error) {
    if (isDuplicate(error)) return false
    throw error
  }
}

/** A sale and its books, or `undefined`. */
export async function findSale<Door = unknown>(
  db: Database,
  id: string,
): Promise<{ sale: Sale<Door>; books: SaleBooks } | undefined> {
  if (!isSaleId.test(id)) return undefined
  const row = await inTime(db.selectFrom('sales').selectAll().where('id', '=', id).executeTakeFirst())
  return row && { sale: saleOf<Door>(row), books: booksOf(row) }
}

/** The newest sales first. */
export async function listSales<Door = unknown>(
  db: Database,
  most: number,
): Promise<{ sale: Sale<Door>; books: SaleBooks }[]> {
  const newest = db.selectFrom('sales').selectAll().orderBy('created_at_ms', 'desc').orderBy('id').limit(most)
  return (await inTime(newest.execute())).map((row) => ({ sale: saleOf<Door>(row), books: booksOf(row) }))
}

/** Changes a sale that is still the one that was read; `false` if somebody else was faster. */
async function changeSale(
  db: Database,
  { id, generation, soldBy }: Sale,
  changes: { readonly generation: number } | { readonly sold_by: string },
): Promise<boolean> {
  const same = db.updateTable('sales').set(changes).where('id', '=', id).where('generation', '=', generation)
  const result = await inTime(same.where('sold_by', '=', soldBy).executeTakeFirst())
  return result.numUpdatedRows > 0n
}

/** Moves a sale on to the next life of its stock. */
export const advanceGeneration = (db: Database, sale: Sale): Promise<boolean> =>
  changeSale(db, sale, { generation: sale.generation + 1 })

/** Takes a sale over: who sold it by another strategy leaves it alone from now on. */
export const takeOver = (db: Database, sale: Sale, strategy: string): Promise<boolean> =>
  changeSale(db, sale, { sold_by: strategy })
