import { chanceOf } from '../support/chance.js'
import type { History } from './history.js'

export const skus = ['a', 'b', 'c', 'd'] as const
/** So few that most SKUs are sold out most of the time. */
const units = 12
const ids = 60

export interface Shop {
  readonly seed: number
  readonly callers: number
  /** Calls of each caller. */
  readonly calls: number
  /** Whether a basket may have several SKUs. */
  readonly baskets: boolean
  /** Whether some process of the test has a gate. */
  readonly gates: boolean
}

/** Makes random calls. All processes use the same ids, so that they meet at every order. */
export async function shop(history: History, { seed, callers, calls, baskets, gates }: Shop): Promise<void> {
  await Promise.all(skus.map((sku) => history.open(sku, units)))

  async function caller(number: number): Promise<void> {
    const chance = chanceOf(seed * 1_000 + number)
    const upTo = (most: number): number => Math.floor(chance() * most)
    for (let i = 0; i < calls; i++) {
      const sku = skus[upTo(skus.length)] as string
      // The callers go through the ids together, and come back to earlier ones.
      const order = Math.max(0, Math.floor((i * ids) / calls) - upTo(8))
      const orderId = `o${order}`
      const buyer = order % 4 === 0 ? { id: order % 8 === 0 ? 'ann' : 'bob', limit: 4 } : undefined
      const quantity = 1 + (order % 3)
      const holdMs = order % 2 === 0 ? undefined : order % 5 === 0 ? 60_000 : 40 + 10 * (order % 7)
      const isOther = upTo(20) === 0 && !gates
      const dice = upTo(100)
      if (dice < 45) await history.sell({ sku, orderId, quantity: quantity + Number(isOther), buyer }, holdMs)
      else if (dice < 55 && baskets) {
        const others = skus.filter((other) => other !== sku && chance() < 0.5)
        await history.sellTogether(
          [sku, ...others].map((one) => ({ sku: one, orderId, quantity, buyer })),
          holdMs,
        )
      } else if (dice < 65) await history.settle('confirm', orderId, sku, upTo(3) === 0 ? 1 : undefined)
      else if (dice < 78) await history.settle('cancel', orderId, sku)
      else if (dice < 88) await history.settle('refund', orderId, sku)
      else if (dice < 91) {
        const restock = upTo(6)
        await history.restock(sku, restock < 4 || gates ? 1 : -1, `r${restock}`)
      } else await history.level(sku)
    }
  }
  await Promise.all(Array.from({ length: callers }, (_, number) => caller(number)))
  for (const sku of skus) await history.level(sku)
}
