import { createStock, memoryStock } from 'spillway/stock'

await using stock = createStock(memoryStock())
await stock.open('sku-1', 10)

const sales = await Promise.all(
  Array.from({ length: 25 }, (_, i) => stock.sell({ orderId: `order ${i}`, sku: 'sku-1', quantity: 1 })),
)
const refused = sales.flatMap((sale) => (sale.ok ? [] : [sale.reason]))
const again = await stock.sell({ orderId: 'order 0', sku: 'sku-1' })
const { sold, available } = await stock.level('sku-1')

console.log(
  `stock: ${sold} sold, ${refused.length} ${refused[0]}, ${available} left; again: ${again.ok && again.replayed}`,
)
