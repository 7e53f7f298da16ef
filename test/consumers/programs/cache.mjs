import { createCache, memoryTier } from 'spillway/cache'

let loads = 0
const products = createCache([memoryTier({ maxEntries: 100 })], {
  name: 'products',
  load: async (id) => {
    loads += 1
    return { id, price: 5 }
  },
  ttlMs: 60_000,
})
try {
  const found = await Promise.all(Array.from({ length: 10 }, () => products.get('7')))
  await products.set('7', { id: '7', price: 6 }, { ttlMs: 30_000 })
  const changed = await products.get('7')
  await products.delete('7')
  const [again] = await products.getMany(['7'])

  console.log(
    `cache: ${found.length} gets of ${found[0].price}, then ${changed.price}, then ${again.price}; ${loads} loads`,
  )
} finally {
  await products.close()
}
