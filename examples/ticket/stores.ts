import { memoryStock, type Stock, type StockDriver } from 'spillway/stock'
import { redisStock } from 'spillway/stock/redis'
import { stockSeller } from '../shared/selling/seller.js'
import { embeddedStores, openFile, type CommonStores, type Stores } from '../shared/selling/stores.js'
import { restoreTickets } from './holds.js'
import type { Options } from './options.js'
import { migrateTickets, ticketTables } from './tables.js'

export type TicketStores = Stores<Stock>

/** Opens them; the clients of the full stack are loaded only for the full stack. */
export async function openStores({ stack, data, name }: Options): Promise<TicketStores> {
  if (!stack) return ticketStores(embeddedStores(openFile(data), name), memoryStock(), 'sqlite')
  const { openStack } = await import('../shared/selling/stack.js')
  const stores = openStack(stack, name)
  return ticketStores(stores, redisStock(stores.redis, { prefix: stores.names.redisPrefix }), 'mysql')
}

function ticketStores(stores: CommonStores, driver: StockDriver, kind: 'mysql' | 'sqlite'): TicketStores {
  const seller = stockSeller(driver)
  const stock = seller({ timeoutMs: 3_000 })
  return {
    ...stores,
    strategy: 'stock',
    seller,
    retire: async () => undefined,
    restore: restoreTickets(ticketTables(stores.db), stock, () => stores.nowMs()),
    async prepare() {
      await stores.prepare()
      await migrateTickets(stores.db, kind)
    },
    async close() {
      await stock.close()
      await stores.close()
    },
  }
}
