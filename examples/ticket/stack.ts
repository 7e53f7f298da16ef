import { redisStock } from 'spillway/stock/redis'
import type { StackOptions } from '../shared/options.js'
import { stockSeller } from '../shared/selling/seller.js'
import { openStack } from '../shared/selling/stack.js'
import { createSharedClock } from './clock.js'
import { restoreTickets } from './holds.js'
import type { TicketStores } from './stores.js'
import { migrateTickets, ticketTables } from './tables.js'

/** Redis, Kafka, MySQL or MariaDB. */
export function openTicketStack(stack: StackOptions, name: string): TicketStores {
  const stores = openStack(stack, name)
  const { redis, db, names } = stores
  const seller = stockSeller(redisStock(redis, { prefix: names.redisPrefix }))
  const books = seller({ timeoutMs: 3_000 })
  const clock = createSharedClock(redis)
  const nowMs = (): number => clock.nowMs()
  return {
    ...stores,
    strategy: 'stock',
    seller,
    nowMs,
    retire: async () => undefined,
    restore: restoreTickets(ticketTables(db), books, nowMs),
    async prepare() {
      await stores.prepare()
      await migrateTickets(db, 'mysql')
    },
    async close() {
      await books.close()
      const stopped = clock.close()
      await stores.close()
      await stopped
    },
  }
}
