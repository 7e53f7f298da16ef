import { startOffice, type Office } from '../shared/selling/office.js'
import { recordMessages } from './holds.js'
import type { TicketStores } from './stores.js'
import { ticketTables } from './tables.js'
import { unmatchedPayments } from './payments.js'
import { createTill } from './till.js'

/** The order service: it writes orders and holds, and finishes payments and refunds that a dead server left half done. */
export async function startOrderService(stores: TicketStores): Promise<Office> {
  const office = await startOffice(stores, recordMessages)
  const stock = stores.seller({ timeoutMs: 3_000 })
  const db = ticketTables(stores.db)
  const till = createTill(stores, stock)
  return {
    ...office,
    async audit(showId) {
      const audited = await office.audit(showId)
      if (!audited) return undefined
      const unmatched = await unmatchedPayments(db, showId)
      return { ...audited, ok: audited.ok && unmatched === 0, unmatchedPayments: unmatched }
    },
    async check() {
      try {
        await office.check()
      } finally {
        await till.settle()
      }
    },
    async close() {
      await office.close()
      await stock.close()
    },
  }
}
