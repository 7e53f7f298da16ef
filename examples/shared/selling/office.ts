import { startConsumer, startPublisher, type Consumer } from 'spillway/queue'
import { sqlInbox } from 'spillway/queue/sql'
import { isStoreAway } from '../away.js'
import type { SaleAudit } from '../rush/types.js'
import { forEach } from '../run.js'
import { sharing } from '../sharing.js'
import { audit, type Books } from './audit.js'
import { createCourtesy } from './courtesy.js'
import type { OrderMessage, Tx } from './orders.js'
import { levelOf } from './rebuild.js'
import { reconcile, type Reconciliation } from './reconcile.js'
import { findSale, listSales, saleIdOf, skuOf, type Sale, type SaleBooks } from './sales.js'
import type { Seller } from './seller.js'
import { stateOf, type SaleState } from './states.js'
import type { Stores } from './stores.js'
import { compare, countRows, heal } from './sweep.js'
import type { Database } from './tables.js'

/** A sale as the live page shows it. */
export interface SaleReport {
  readonly id: string
  readonly title: string
  readonly priceCents: number
  readonly quantity: number
  /** Units on sale: after a restock not those it began with. */
  readonly total: number
  readonly available: number
  readonly held: number
  readonly sold: number
  readonly opensAtMs: number
  readonly state: SaleState
}

/** What the office knows: levels, messages without an effect, orders in the database. */
export interface Report {
  readonly sales: readonly SaleReport[]
  readonly lag: number
  readonly rows: number
}

/** The side of the service that faces the database: it writes orders, sweeps, audits and reconciles. */
export interface Office {
  audit(saleId: string): Promise<SaleAudit | undefined>
  reconcile(saleId: string): Promise<Reconciliation | undefined>
  report(): Promise<Report>
  /** Told how many requests per second come, it lets the buyers of a rush go first. */
  doors(requestsPerSecond: number): void
  /** Gives every sale without a stock a new one: at the start, when the old one may have ended with its process. */
  revive(): Promise<void>
  /** Looks for orders that a dead process left half done, and brings back a stock that lost some or is gone. */
  check(): Promise<void>
  /** Writes what still waits if nobody else could, then stops. */
  close(): Promise<void>
}

const log = (line: string): void => void process.stderr.write(`${line}\n`)
const reported = 12
const mostRevived = 1_000
const drainMs = 30_000

/** `record` writes a batch of messages, within the transaction that also remembers them. */
export async function startOffice<Message = OrderMessage>(
  stores: Stores,
  record: (tx: Tx, messages: readonly Message[]) => Promise<void>,
): Promise<Office> {
  const { names } = stores
  const stock = stores.seller({ timeoutMs: 3_000, onFrozen: (sku) => inBackground(() => replaceFrozen(sku)) })
  const inbox = sqlInbox(stores.db, { table: 'inbox', consumer: names.group })
  await inbox.migrate()
  const publisher = await startPublisher<OrderMessage>(stores.queue, { topic: stores.names.topic, timeoutMs: 3_000 })
  const consumer = await startConsumer(stores.queue, {
    topic: names.topic,
    group: names.group,
    inbox,
    fromBeginning: true,
    handleBatch: (messages: readonly { readonly body: Message }[], { tx }) =>
      record(
        tx,
        messages.map(({ body }) => body),
      ),
    batch: { maxMessages: 1_000, maxWaitMs: 50 },
    // A database that is away is no fault of the orders: they wait for it.
    maxAttempts: 1_000,
    deadLetterTopic: names.deadLetterTopic,
    onBackgroundError: (error) => log(`queue: ${String(error)}`),
  })
  const books: Books = { stores, stock, publisher, lag: () => consumer.lag() }
  const once = sharing()
  const courtesy = createCourtesy()
  const lastSeen = new Map<string, string>()
  let closed = false

  /** Orders wait where they are safe: in Kafka. Those in the memory of this process would be lost with it. */
  function giveWay(lag: number): number {
    if (!stores.embedded && courtesy.mayWait(lag, performance.now())) consumer.pause()
    else consumer.resume()
    return lag
  }

  function unknownLag(error: unknown): never {
    consumer.resume()
    throw error
  }

  async function reportOf(sale: Sale): Promise<SaleReport> {
    const level = await levelOf(stock, sale).catch(() => undefined)
    const { id, title, priceCents, quantity, opensAtMs } = sale
    const state = stateOf(sale, level?.available, stores.nowMs())
    const { total = quantity, available = 0, held = 0, sold = 0 } = level ?? {}
    return { id, title, priceCents, quantity, opensAtMs, state, total, available, held, sold }
  }

  const withSale = async <T>(saleId: string, work: (sale: Sale) => Promise<T>): Promise<T | undefined> => {
    const found = await findSale(stores.db, saleId)
    return found && work(found.sale)
  }

  const bringBack = (sale: Sale, frozen = false): Promise<Reconciliation> =>
    once(`reconcile ${sale.id}`, async () => {
      const found = await reconcile(books, sale, frozen)
      if (found.rebuilt) log(`sale ${sale.id}: the stock was built anew; ${found.orders} orders were sold before`)
      return found
    })

  /** While a frozen stock waits for it, its SKU stays frozen. Nobody sells from an earlier life of a sale. */
  const replaceFrozen = (sku: string): Promise<unknown> =>
    withSale(saleIdOf(sku), async (sale) => skuOf(sale) === sku && bringBack(sale, true))

  /** Work that the next look at the sales begins again if a store was away. */
  async function inBackground(work: () => Promise<unknown>): Promise<void> {
    try {
      await work()
    } catch (error) {
      if (!closed && !isStoreAway(error)) log(String(error))
    }
  }

  async function checkSale(sale: Sale, { recordedUnits, rejectedOrders, recordedOrders }: SaleBooks): Promise<void> {
    // Those who took it over with another strategy look after it.
    if (sale.soldBy !== stores.strategy) return
    const level = await levelOf(stock, sale)
    if (!level) {
      // One that has no stock yet is just being opened.
      if (sale.generation > 0) void inBackground(() => bringBack(sale))
      return
    }
    if (recordedUnits > level.sold) {
      if (await hasLostOrders(stores.db, stock, sale)) void inBackground(() => bringBack(sale))
      return
    }
    if (level.sold === recordedUnits) return void lastSeen.delete(sale.id)
    // Only a difference that stays is one that nobody is working on; and one that has been looked at is known.
    const seen = [sale.generation, level.sold, recordedOrders, rejectedOrders].join()
    const before = lastSeen.get(sale.id)
    if (before === `${seen} known`) return
    lastSeen.set(sale.id, seen)
    if (before !== seen || (await consumer.lag()) > 0) return
    const { missing } = await compare(stores.db, stock, sale)
    if (missing.length === 0) return void lastSeen.set(sale.id, `${seen} known`)
    log(`sale ${sale.id}: publishing ${missing.length} orders again`)
    await heal(publisher, sale, missing)
    lastSeen.delete(sale.id)
  }

  return {
    audit: (saleId) => once(`audit ${saleId}`, () => withSale(saleId, (sale) => audit(books, sale))),
    reconcile: (saleId) => withSale(saleId, (sale) => bringBack(sale)),
    doors: (requestsPerSecond) => courtesy.doors(requestsPerSecond),
    async report() {
      const [listed, lag, total] = await Promise.all([
        listSales(stores.db, reported),
        consumer.lag().then(giveWay, unknownLag),
        stores.db
          .selectFrom('sales')
          .select(({ fn }) => fn.sum('recorded_orders').as('rows'))
          .executeTakeFirst(),
      ])
      const sales = await Promise.all(listed.map(({ sale }) => reportOf(sale)))
      return { sales, lag, rows: Number(total?.rows ?? 0) }
    },
    async revive() {
      await forEach(await listSales(stores.db, mostRevived), async ({ sale }) => {
        // Another office may change the sale at that moment: until it has a stock that this strategy sells.
        for (let now: Sale | undefined = sale; now && !(await levelOf(stock, now));) {
          await bringBack(now)
          now = (await findSale(stores.db, now.id))?.sale
        }
      })
    },
    async check() {
      const listed = await listSales(stores.db, reported)
      const ids = new Set(listed.map(({ sale }) => sale.id))
      for (const id of lastSeen.keys()) if (!ids.has(id)) lastSeen.delete(id)
      await forEach(listed, ({ sale, books: counted }) => checkSale(sale, counted))
    },
    async close() {
      closed = true
      if (stores.embedded) await emptied(consumer)
      await consumer.close()
      await publisher.close()
      await stock.close()
    },
  }
}

/** A queue in memory ends with the process: what is in it is written first. */
async function emptied(consumer: Consumer): Promise<void> {
  const deadline = performance.now() + drainMs
  while ((await consumer.lag()) > 0 && performance.now() < deadline) {
    await new Promise((resolve) => setTimeout(resolve, 20))
  }
}

/**
 * Whether the stock has sold less than the database has recorded. A refund in between looks the same, so it counts only
 * when there was none.
 */
async function hasLostOrders(db: Database, stock: Seller, { id }: Sale): Promise<boolean> {
  const { refunds } = await countRows(db, id)
  const found = await findSale(db, id)
  if (!found) return false
  const { sold } = await stock.level(skuOf(found.sale))
  return found.books.recordedUnits > sold && (await countRows(db, id)).refunds === refunds
}
