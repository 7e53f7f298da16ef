import { levelOf, recordOf, type Counts } from './counts.js'
import { notOnSale, type Seen } from './seller.js'

interface Numbers {
  readonly total: number
  left: number
  fence: bigint
  readonly orders: Map<string, NonNullable<Seen['known']>>
  readonly buyers: Map<string, number>
}

/** Counts of one process. */
export function memoryCounts(): Counts {
  const skus = new Map<string, Numbers>()
  const onSale = (sku: string): Numbers => {
    const numbers = skus.get(sku)
    if (!numbers) throw notOnSale(sku)
    return numbers
  }
  return {
    async open(sku, quantity) {
      if (skus.has(sku)) return false
      skus.set(sku, { total: quantity, left: quantity, fence: 0n, orders: new Map(), buyers: new Map() })
      return true
    },
    async read({ sku, orderId, buyer }, token) {
      const numbers = skus.get(sku)
      if (!numbers) return undefined
      if (token !== undefined && token < numbers.fence) return 'stale'
      numbers.fence = token ?? numbers.fence
      return {
        left: numbers.left,
        known: numbers.orders.get(orderId),
        bought: numbers.buyers.get(buyer?.id ?? '') ?? 0,
      }
    },
    async write({ order, left, bought }, token) {
      const { sku, orderId, quantity = 1, buyer } = order
      const numbers = skus.get(sku)
      if (!numbers || (token !== undefined && token !== numbers.fence)) return false
      numbers.left = left
      numbers.orders.set(orderId, { quantity, buyer: buyer?.id ?? '' })
      if (buyer) numbers.buyers.set(buyer.id, bought)
      return true
    },
    async level(sku) {
      const { total, left } = onSale(sku)
      return levelOf(total, left)
    },
    async *orders(sku) {
      for (const [orderId, { quantity, buyer }] of [...onSale(sku).orders]) yield recordOf(orderId, quantity, buyer)
    },
    async find(orderId, sku) {
      const known = skus.get(sku)?.orders.get(orderId)
      return known && recordOf(orderId, known.quantity, known.buyer)
    },
    async remove(sku) {
      skus.delete(sku)
    },
  }
}
