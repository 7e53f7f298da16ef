import { startOffice, type Office } from '../shared/selling/office.js'
import { recordMessages } from './holds.js'
import type { TicketStores } from './stores.js'
import { ticketTables } from './tables.js'
import { createTill } from './till.js'

/** The order service: it writes orders and holds, and finishes payments and refunds that a dead server left half done. */
export async function startOrderService(stores: TicketStores): Promise<Office> {
  const office = await startOffice(stores, recordMessages)
  const stock = stores.seller({ timeoutMs: 3_000 })
  const till = createTill(ticketTables(stores.db), stores.db, stock)
  return {
    ...office,
    async check() {
      await office.check()
      await till.settle()
    },
    async close() {
      await office.close()
      await stock.close()
    },
  }
}
