import { randomUUID } from 'node:crypto'
import { isDeepStrictEqual } from 'node:util'
import type { StockLevel } from 'spillway/stock'
import { levelOf, openStock } from './rebuild.js'
import { findSale, insertSale, listSales, skuOf, type Sale } from './sales.js'
import type { Seller } from './seller.js'
import { stateOf, type SaleState } from './states.js'
import type { Stores } from './stores.js'

/** A sale as this process sells it. */
export interface Stall<S extends Seller, Door, Entrance> {
  readonly sale: Sale<Door>
  readonly sku: string
  readonly stock: S
  /** How buyers come in, made of the sale's door. */
  readonly entrance: Entrance
}

export interface SaleView<Door> extends Sale<Door> {
  readonly state: SaleState
  readonly available: number
}
/** What a sale is opened with: under an id of its own, and at once, unless it says otherwise. */
export type SaleDraft<Door> = Omit<Sale<Door>, 'id' | 'opensAtMs' | 'generation' | 'soldBy'> & {
  readonly id?: string | undefined
  readonly opensAtMs?: number | undefined
}

/** The sales of a service, as one process sells them. */
export interface Shelf<S extends Seller, Door, Entrance> {
  /** Without a gate: for questions, not for buyers. */
  readonly books: S
  /** The sale to sell from; `'suspended'` while it is known to have no stock; `undefined`: there is none by that id. */
  stall(saleId: string): Promise<Stall<S, Door, Entrance> | 'suspended' | undefined>
  /** The same after a look at the database: the stock may have been rebuilt under its next name. */
  reload(saleId: string): Promise<Stall<S, Door, Entrance> | undefined>
  /** Goes by it for a moment that the sale has no stock. */
  suspend(stall: Stall<S, Door, Entrance>): void
  /** Writes a sale and puts it on sale; `undefined` if the id is taken. */
  open(draft: SaleDraft<Door>): Promise<SaleView<Door> | undefined>
  list(): Promise<SaleView<Door>[]>
  view(saleId: string): Promise<SaleView<Door> | undefined>
  /** `'suspended'` while the sale has no stock. */
  level(saleId: string): Promise<StockLevel | 'suspended' | undefined>
  close(): Promise<void>
}

/** How long a process goes by what it knows about a sale without stock, or about an id that is no sale. */
const recheckMs = 250
const mostUnknownIds = 10_000
/** How far apart the clocks of two servers may be: a sale that opens now is open on all of them. */
const clockErrorMs = 1_000
const mostListed = 100

export function createShelf<S extends Seller, Door, Entrance>(
  stores: Stores<S>,
  options: { readonly gate: number | undefined; readonly workers: number },
  entranceOf: (sale: Sale<Door>) => Entrance,
): Shelf<S, Door, Entrance> {
  /** `suspendedUntilMs` is 0 while the sale is not known to have no stock. */
  type OwnStall = Stall<S, Door, Entrance> & { suspendedUntilMs: number }
  const books = stores.seller()
  const stocks = new Map<number, S>()
  const stalls = new Map<string, OwnStall>()
  const loading = new Map<string, Promise<OwnStall | undefined>>()
  const unknownUntilMs = new Map<string, number>()

  const soonMs = (): number => performance.now() + recheckMs
  const isSuspended = (stall: OwnStall): boolean => stall.suspendedUntilMs > performance.now()

  /** Sales of one size share a gate of that size: each worker's part and a fifth more. */
  function stockFor({ quantity }: Sale): S {
    const units = options.gate ?? Math.ceil((quantity / options.workers) * 1.2)
    const known = stocks.get(units)
    if (known) return known
    const stock = stores.seller({ gate: units })
    stocks.set(units, stock)
    return stock
  }

  async function load(saleId: string): Promise<OwnStall | undefined> {
    const found = await findSale<Door>(stores.db, saleId)
    if (!found) {
      if (unknownUntilMs.size >= mostUnknownIds) unknownUntilMs.clear()
      unknownUntilMs.set(saleId, soonMs())
      return undefined
    }
    const { sale } = found
    const known = stalls.get(saleId)
    if (known?.sku === skuOf(sale)) return known
    const suspendedUntilMs = sale.generation === 0 ? soonMs() : 0
    const stall = { sale, sku: skuOf(sale), stock: stockFor(sale), entrance: entranceOf(sale), suspendedUntilMs }
    stalls.set(saleId, stall)
    return stall
  }

  /** Callers that ask at once share one look at the database. */
  function reload(saleId: string): Promise<OwnStall | undefined> {
    const under = loading.get(saleId)
    if (under) return under
    const look = load(saleId).finally(() => loading.delete(saleId))
    loading.set(saleId, look)
    return look
  }

  async function viewOf(sale: Sale<Door>): Promise<SaleView<Door>> {
    const available = (await levelOf(books, sale))?.available
    return { ...sale, state: stateOf(sale, available, stores.nowMs()), available: available ?? 0 }
  }

  return {
    books,
    reload,
    async stall(saleId) {
      const known = stalls.get(saleId)
      if (known?.suspendedUntilMs === 0) return known
      if (known && isSuspended(known)) return 'suspended'
      if (!known && (unknownUntilMs.get(saleId) ?? 0) > performance.now()) return undefined
      const stall = await reload(saleId)
      if (!stall) return undefined
      if (isSuspended(stall)) return 'suspended'
      stall.suspendedUntilMs = 0
      return stall
    },
    suspend(stall) {
      const known = stalls.get(stall.sale.id)
      if (known === stall) known.suspendedUntilMs = soonMs()
    },
    async open(draft) {
      const { id = randomUUID(), opensAtMs = Math.floor(stores.nowMs() - clockErrorMs), ...rest } = draft
      const sale: Sale<Door> = { ...rest, id, opensAtMs, generation: 0, soldBy: stores.strategy }
      const written = (await insertSale(stores.db, sale)) ? sale : (await findSale<Door>(stores.db, id))?.sale
      // One whose stock could not be opened when it was written is finished by asking again. It opens when it was said first.
      if (!written || !isDeepStrictEqual(written, { ...sale, opensAtMs: written.opensAtMs })) return undefined
      unknownUntilMs.delete(id)
      await openStock(stores, books, written)
      return viewOf({ ...written, generation: 1 })
    },
    async list() {
      return Promise.all((await listSales<Door>(stores.db, mostListed)).map(({ sale }) => viewOf(sale)))
    },
    async view(saleId) {
      const found = await findSale<Door>(stores.db, saleId)
      return found && viewOf(found.sale)
    },
    async level(saleId) {
      const found = await findSale(stores.db, saleId)
      return found && ((await levelOf(books, found.sale)) ?? 'suspended')
    },
    async close() {
      await Promise.all([books, ...stocks.values()].map((one) => one.close()))
    },
  }
}
