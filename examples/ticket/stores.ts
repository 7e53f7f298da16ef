import { memoryStock, type Stock } from 'spillway/stock'
import { stockSeller } from '../shared/selling/seller.js'
import { embeddedStores, openFile, type Stores } from '../shared/selling/stores.js'
import { restoreTickets } from './holds.js'
import type { Options } from './options.js'
import { migrateTickets, ticketTables } from './tables.js'

export interface TicketStores extends Stores<Stock> {
  /** The time that all servers go by, in milliseconds since 1970. */
  nowMs(): number
}

/** Opens them; the clients of the full stack are loaded only for the full stack. */
export async function openStores(options: Options): Promise<TicketStores> {
  return options.stack ? (await import('./stack.js')).openTicketStack(options.stack, options.name) : embedded(options)
}

function embedded({ data, name }: Options): TicketStores {
  const db = openFile(data)
  const seller = stockSeller(memoryStock())
  const stores = embeddedStores(db, name)
  const nowMs = (): number => Date.now()
  const books = seller()
  return {
    ...stores,
    strategy: 'stock',
    seller,
    nowMs,
    retire: async () => undefined,
    restore: restoreTickets(ticketTables(db), books, nowMs),
    async prepare() {
      await stores.prepare()
      await migrateTickets(db, 'sqlite')
    },
    async close() {
      await books.close()
      await stores.close()
    },
  }
}
