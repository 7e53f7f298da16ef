import { expect } from 'vitest'
import { StoreUnavailableError } from '../../src/core/errors.js'
import type { Order, SaleResult, Stock } from '../../src/stock/index.js'
import { sleep } from '../services/net.js'

/** What became of a rush: the last answer to each order, and what was met on the way. */
export interface Rush {
  readonly answers: Map<string, SaleResult>
  /** Calls that failed, by what may be assumed of them. */
  readonly failed: { no: number; unknown: number }
  /** Orders whose answer said that they had sold before. */
  replayed: number
}

export const newRush = (): Rush => ({ answers: new Map(), failed: { no: 0, unknown: 0 }, replayed: 0 })

/**
 * Asks for every order, `callers` at a time, and asks again with the same id until the store answers. That is all a
 * program has to do about failures.
 */
export async function rush(
  stock: Stock,
  orders: readonly Order[],
  { callers = 64, result = newRush() } = {},
): Promise<Rush> {
  const left = [...orders].reverse()
  const decide = async (order: Order): Promise<SaleResult> => {
    for (;;) {
      try {
        return await stock.sell(order)
      } catch (error) {
        if (!(error instanceof StoreUnavailableError)) throw error
        result.failed[error.applied]++
        await sleep(5)
      }
    }
  }
  const caller = async (): Promise<void> => {
    for (let order = left.pop(); order; order = left.pop()) {
      const answer = await decide(order)
      if (answer.ok && answer.replayed) result.replayed++
      result.answers.set(order.orderId, answer)
    }
  }
  await Promise.all(Array.from({ length: callers }, caller))
  return result
}

export const ordersOf = (sku: string, name: string, count: number): Order[] =>
  Array.from({ length: count }, (_, i) => ({ sku, orderId: `${name}-${i}` }))

export const soldIds = ({ answers }: Rush): string[] => [...answers].flatMap(([id, answer]) => (answer.ok ? [id] : []))

/** Polls the invariant until it is stopped; tells how often it could look. `refunds`: sold units may come back. */
export function watch(stock: Stock, sku: string, { refunds = false } = {}): { stop(): Promise<number> } {
  let stopped = false
  let looks = 0
  let soldBefore = 0
  const watching = (async () => {
    while (!stopped) {
      const level = await stock.level(sku).catch((error: unknown) => {
        if (error instanceof StoreUnavailableError) return undefined
        throw error
      })
      if (level) {
        const { total, available, held, sold } = level
        expect(total).toBe(available + held + sold)
        expect(Math.min(available, held, sold)).toBeGreaterThanOrEqual(0)
        if (!refunds) expect(sold, 'a sale is never taken back').toBeGreaterThanOrEqual(soldBefore)
        soldBefore = sold
        looks++
      }
      await sleep(5)
    }
    return looks
  })()
  watching.catch(() => undefined)
  return {
    stop() {
      stopped = true
      return watching
    },
  }
}

/** The recorded orders, after checking that they are what was sold, each once. */
export async function audit(stock: Stock, sku: string): Promise<Set<string>> {
  const level = await stock.level(sku)
  expect(level.total).toBe(level.available + level.held + level.sold)
  const ids = new Set<string>()
  let units = 0
  for await (const { orderId, quantity } of stock.orders(sku)) {
    expect(ids.has(orderId)).toBe(false)
    ids.add(orderId)
    units += quantity
  }
  expect(units).toBe(level.sold)
  return ids
}
