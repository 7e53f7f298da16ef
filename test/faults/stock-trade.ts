import { StoreUnavailableError } from '../../src/core/errors.js'
import type { BasketResult, SaleResult, SettleResult, Stock } from '../../src/stock/index.js'
import { sleep } from '../services/net.js'

export const skus = ['ticket', 'seat'] as const
/** What a buyer may have of a SKU, and how many buyers there are. */
export const limit = 40
const buyers = 20
const lapseMs = 150

/** What an order's caller was told in the end. */
export interface Told {
  readonly sku: string
  readonly orderId: string
  /** Units that were sold and not refunded; 0: none. */
  readonly sold: number
}

/** Repeats a call until the store answers, as a program has to do. */
async function answered<T>(call: () => Promise<T>): Promise<T> {
  for (;;) {
    try {
      return await call()
    } catch (error) {
      if (!(error instanceof StoreUnavailableError)) throw error
      await sleep(5)
    }
  }
}

const expectOneOf = (result: SettleResult, ...wanted: SettleResult[]): void => {
  if (!wanted.includes(result)) throw new Error(`${wanted.join(' or ')} was expected, and ${result} came`)
}

export interface Trade {
  /** Goes before every order id. */
  readonly name: string
  readonly orders: number
  readonly callers: number
  /** Whether both SKUs can be in one basket. @defaultValue true */
  readonly baskets?: boolean
  readonly tell: (told: Told) => void
}

/**
 * Callers who hold, and then confirm, confirm a part, cancel or let lapse; who sell, and then may refund; and who take
 * baskets of both SKUs. Each call is repeated until it is answered, and each order ends in one state.
 */
export async function trade(stock: Stock, { name, orders, callers, baskets = true, tell }: Trade): Promise<void> {
  async function settle(
    sku: string,
    orderId: string,
    quantity: number,
    turn: number,
    isHeld: boolean,
  ): Promise<number> {
    const refund = async (): Promise<number> => {
      expectOneOf(await answered(() => stock.refund(orderId, sku)), 'done', 'already')
      return 0
    }
    if (!isHeld) return turn % 3 === 0 ? refund() : quantity
    if (turn % 5 === 4) {
      await sleep(lapseMs + 20)
      for (;;) {
        const late = await answered(() => stock.confirm(orderId, sku))
        // The hold began when the server had it, which may have been later.
        if (late === 'expired') return 0
        expectOneOf(late, 'done', 'already')
        return quantity
      }
    }
    if (turn % 5 === 3) {
      expectOneOf(await answered(() => stock.cancel(orderId, sku)), 'done', 'already')
      return 0
    }
    const part = turn % 5 === 2 ? { quantity: 1 } : {}
    expectOneOf(await answered(() => stock.confirm(orderId, sku, part)), 'done', 'already')
    if (turn % 5 === 1 && turn % 2 === 0) return refund()
    return part.quantity ?? quantity
  }

  let next = 0
  async function caller(): Promise<void> {
    for (let turn = next++; turn < orders; turn = next++) {
      const orderId = `${name}-${turn}`
      const sku = skus[turn % 2] as string
      const quantity = 1 + (turn % 3)
      const buyer = turn % 4 === 0 ? { id: `buyer ${turn % buyers}`, limit } : undefined
      const isHeld = turn % 4 !== 1
      const holdMs = turn % 5 === 4 ? lapseMs : 3_600_000
      const order = { sku, orderId, quantity, buyer }
      const isBasket = baskets && turn % 7 === 0
      const result = await answered((): Promise<SaleResult | BasketResult> => {
        if (isBasket) {
          const both = skus.map((one) => ({ ...order, sku: one }))
          return stock.sellTogether(both, isHeld ? { holdMs } : {})
        }
        return isHeld ? stock.reserve({ ...order, holdMs }) : stock.sell(order)
      })
      const taken = isBasket ? skus : [sku]
      if (result.ok) {
        for (const one of taken) tell({ sku: one, orderId, sold: await settle(one, orderId, quantity, turn, isHeld) })
      } else {
        // A hold that lapsed before its caller heard of it is spent.
        for (const one of taken) tell({ sku: one, orderId, sold: 0 })
        // Units come back.
        if (result.reason === 'sold-out') await sleep(1)
      }
    }
  }
  await Promise.all(Array.from({ length: callers }, caller))
}
