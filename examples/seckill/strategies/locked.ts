import { LockLostError, WaitTimeoutError } from 'spillway'
import type { Lease, Lock } from 'spillway/lock'
import type { Order } from 'spillway/stock'
import type { Counts } from './counts.js'
import type { Seller, Verdict } from '../../shared/selling/seller.js'
import { maxWaitMs, sellingAgain, verdictOn } from './seller.js'

const sold: Verdict = { ok: true, replayed: false }
const clash: Verdict = { ok: false, reason: 'clash' }
const busy: Verdict = { ok: false, reason: 'busy' }

/**
 * Lock, read, decrement, unlock: one order at a time. Nothing but the lock keeps two processes from writing back the same
 * number, and nothing but the fencing token keeps out one that lost the lock and does not know it yet.
 */
export function lockedSeller(lock: Lock, counts: Counts, lockKey: (sku: string) => string): Seller {
  async function decide(order: Order, lease: Lease): Promise<Verdict> {
    const seen = await counts.read(order, lease.fencingToken)
    if (seen === 'stale') return clash
    const verdict = verdictOn(order, seen)
    if (verdict || !seen) return verdict ?? clash
    const { quantity = 1 } = order
    lease.signal.throwIfAborted()
    const decrement = { order, left: seen.left - quantity, bought: seen.bought + quantity }
    return (await counts.write(decrement, lease.fencingToken)) ? sold : clash
  }

  async function sell(order: Order): Promise<Verdict> {
    // Units only go and orders only come, so what can be refused or repeated now needs no lock.
    const seen = await counts.read(order, undefined)
    const verdict = seen === 'stale' ? undefined : verdictOn(order, seen)
    if (verdict) return verdict
    try {
      return await lock.run(lockKey(order.sku), (lease) => decide(order, lease), { maxWaitMs })
    } catch (error) {
      if (error instanceof WaitTimeoutError) return busy
      if (error instanceof LockLostError) return clash
      throw error
    }
  }

  return {
    open: (sku, quantity) => counts.open(sku, quantity),
    sell,
    reconcile: sellingAgain(sell),
    level: (sku) => counts.level(sku),
    orders: (sku) => counts.orders(sku),
    find: (orderId, sku) => counts.find(orderId, sku),
    remove: (sku) => counts.remove(sku),
    // The lock is of whoever opened it.
    close: async () => undefined,
  }
}
