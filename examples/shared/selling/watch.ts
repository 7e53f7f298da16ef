import type { ServerResponse } from 'node:http'
import { sseEvent } from '../live.js'
import { rowsOf } from './orders.js'
import type { OrderView } from './states.js'
import type { Database } from './tables.js'

/** Tells buyers when their orders are recorded. However many listen, the database is asked for all of them at once. */
export interface OrderWatch {
  /** Sends the order as it is, and again when it has its end, which ends the stream. */
  follow(saleId: string, order: OrderView, response: ServerResponse): void
  close(): void
}

interface Listener {
  readonly order: OrderView
  readonly response: ServerResponse
}

const pollMs = 200
const mostIds = 500

export function createOrderWatch(db: Database): OrderWatch {
  const listeners = new Map<string, Set<Listener>>()
  let timer: NodeJS.Timeout | undefined
  let closed = false

  const tell = ({ order, response }: Listener): void => void response.write(sseEvent('order', order))

  function leave(saleId: string, listener: Listener): void {
    const ofSale = listeners.get(saleId)
    ofSale?.delete(listener)
    if (ofSale?.size === 0) listeners.delete(saleId)
  }

  async function look(saleId: string, some: readonly Listener[]): Promise<void> {
    const ids = [...new Set(some.map(({ order }) => order.orderId))]
    const states = await rowsOf(db, saleId, ids)
    for (const listener of some) {
      const state = states.get(listener.order.orderId)
      if (state === undefined) continue
      leave(saleId, listener)
      tell({ ...listener, order: { ...listener.order, state } })
      listener.response.end()
    }
  }

  async function poll(): Promise<void> {
    for (const [saleId, ofSale] of [...listeners]) {
      const all = [...ofSale]
      for (let at = 0; at < all.length; at += mostIds) await look(saleId, all.slice(at, at + mostIds))
    }
  }

  function schedule(): void {
    if (timer || listeners.size === 0) return
    timer = setTimeout(() => {
      // A database that is away is asked again; the listeners stay.
      void poll()
        .catch(() => undefined)
        .finally(() => {
          timer = undefined
          schedule()
        })
    }, pollMs)
  }

  return {
    follow(saleId, order, response) {
      const listener = { order, response }
      tell(listener)
      // A request that was under way when the server began to close comes late.
      if (closed || order.state !== 'accepted') return void response.end()
      const ofSale = listeners.get(saleId) ?? new Set()
      listeners.set(saleId, ofSale.add(listener))
      response.once('close', () => leave(saleId, listener))
      schedule()
    },
    close() {
      closed = true
      for (const ofSale of listeners.values()) for (const { response } of ofSale) response.end()
      listeners.clear()
      clearTimeout(timer)
      timer = undefined
    },
  }
}
