import { createStock, memoryStock } from 'spillway/stock'

const stock = createStock(memoryStock())
try {
  await stock.open('sku-1', 10)
  const sales = await Promise.all(
    Array.from({ length: 25 }, (_, i) => stock.sell({ orderId: `order ${i}`, sku: 'sku-1', quantity: 1 })),
  )
  const refused = sales.filter((sale) => !sale.ok)
  const again = await stock.sell({ orderId: 'order 0', sku: 'sku-1' })
  const { sold, available } = await stock.level('sku-1')

  console.log(
    `stock: ${sold} sold, ${refused.length} ${refused[0].reason}, ${available} left; again: ${again.replayed}`,
  )
} finally {
  await stock.close()
}
