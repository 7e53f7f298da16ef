import { LRUCache } from 'lru-cache'
import { afterSale, applyChange, emptyRecord, lifetimes, type Cart, type CartRecord, type Carts } from './carts.js'
import type { Sessions, SessionStores } from './stores.js'

/** More sessions than this, and the one unused for longest goes. */
const mostSessions = 100_000

const kept = <V extends object | string>(ttl: number): LRUCache<string, V> => new LRUCache({ max: mostSessions, ttl })

/** Sessions and carts of this process alone: gone with it, and unknown to every other server. */
export function openMemory(): SessionStores {
  const records = kept<string>(lifetimes.sessionMs)
  const sessions: Sessions = {
    async get(id) {
      const record = records.get(id)
      if (record !== undefined) records.set(id, record)
      return record
    },
    async set(id, record) {
      records.set(id, record)
    },
    async destroy(id) {
      records.delete(id)
    },
  }
  return {
    kind: 'memory',
    sessions,
    carts: memoryCarts(),
    secret: async (wish) => wish,
    statements: () => 0,
    answers: async () => true,
    close: async () => undefined,
  }
}

const shown = ({ version, lines }: Cart): Cart => ({ version, lines })

export function memoryCarts(): Carts {
  const records = kept<CartRecord>(lifetimes.cartMs)
  const receipts = kept<Map<string, string>>(lifetimes.receiptMs)
  const recordOf = (sessionId: string): CartRecord => records.get(sessionId) ?? emptyRecord
  return {
    async change(sessionId, change) {
      const [outcome, cart] = applyChange(recordOf(sessionId), change, Date.now())
      records.set(sessionId, cart)
      return { outcome, cart: shown(cart) }
    },
    async read(sessionId) {
      return shown(recordOf(sessionId))
    },
    async sell(sessionId, { key, version, receipt }) {
      const ofSession = receipts.get(sessionId) ?? new Map<string, string>()
      const known = ofSession.get(key)
      if (known !== undefined) return { outcome: 'replayed', receipt: known }
      const record = recordOf(sessionId)
      if (record.version !== version) return { outcome: 'changed' }
      receipts.set(sessionId, ofSession.set(key, receipt))
      records.set(sessionId, afterSale(record, Date.now()))
      return { outcome: 'sold', receipt }
    },
    async receipt(sessionId, key) {
      return receipts.get(sessionId)?.get(key)
    },
    async forget(sessionId) {
      records.delete(sessionId)
    },
  }
}
