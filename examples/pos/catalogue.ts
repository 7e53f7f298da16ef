import { createHash } from 'node:crypto'
import { createCache, type CacheStats, type CacheTier } from 'spillway/cache'
import { isStoreAway } from '../shared/away.js'
import { every } from '../shared/run.js'
import { createIndex, type Entry, type Query, type SearchIndex } from './search.js'
import { shopPage, type Product, type ShopClient } from './shop-client.js'

/** The shop's catalogue as the till knows it: looked up in this process' memory, fetched once for all servers. */
export interface Catalogue {
  /** Whether everything has been fetched once: from then on no request waits for the shop. */
  readonly warm: boolean
  product(id: string): Promise<Product | undefined>
  /** In the order asked; `undefined` for what the shop does not have. */
  products(ids: readonly string[]): Promise<(Product | undefined)[]>
  find(query: Query): Promise<{ readonly products: readonly Product[]; readonly total: number }>
  categories(): Promise<SearchIndex['categories']>
  stats(): Readonly<Record<'products' | 'listing', CacheStats>>
  close(): Promise<void>
}

export interface CatalogueOptions {
  /** From nearest to farthest. */
  readonly tiers: readonly [CacheTier, ...CacheTier[]]
  readonly shop: ShopClient
  /** How old a product may be before it is fetched again. */
  readonly ttlMs: number
}

interface Listing {
  /** The same for the same entries, whichever server fetched them. */
  readonly version: string
  readonly entries: readonly Entry[]
}

/** While the shop is away, the till sells from what it knows for so long. */
const staleMs = 24 * 3_600_000
/** A server that dies while it fetches is replaced by another after this. */
const fleetLoadMs = 10_000
/** How long a customer may wait for the shop. */
const loadTimeoutMs = 5_000
/** Servers that start together are slow to connect, and one that did not wait for the others would fetch by itself. */
const timeoutMs = 5_000
const retryMs = 1_000
const theListing = 'all'

export function startCatalogue({ tiers, shop, ttlMs }: CatalogueOptions): Catalogue {
  const shared = {
    ...{ ttlMs, staleMs, fleetLoadMs, loadTimeoutMs, timeoutMs, absentTtlMs: ttlMs },
    // Prices are never changed here, only loaded anew: a server whose Redis fails over goes on with those that it has.
    whenBusIsLost: 'trust' as const,
    onBackgroundError(error: unknown) {
      if (!isStoreAway(error)) process.stderr.write(`catalogue: ${String(error)}\n`)
    },
  }
  const listing = createCache<Listing>(tiers, {
    name: 'listing',
    ...shared,
    async load(_key, { signal }) {
      const entries = await shop.listing(signal)
      return { version: createHash('sha1').update(JSON.stringify(entries)).digest('base64url'), entries }
    },
  })
  const products = createCache<Product>(tiers, {
    name: 'product',
    ...shared,
    load: async (id, { signal }) => (await shop.products([id], signal)).get(id),
    loadMany: (ids, { signal }) => shop.products(ids, signal),
  })
  let warm = false
  let known: { readonly version: string; readonly index: SearchIndex } | undefined

  async function index(): Promise<SearchIndex> {
    const { version, entries } = (await listing.get(theListing)) ?? { version: '', entries: [] }
    if (known?.version !== version) known = { version, index: createIndex(entries) }
    return known.index
  }

  /** Asks for everything, a page of the shop at a time: what is missing or old is fetched before anybody wants it. */
  async function fetchAll(): Promise<void> {
    await index()
    const { entries } = (await listing.get(theListing)) ?? { entries: [] }
    for (let at = 0; at < entries.length && !stopped; at += shopPage) {
      await products.getMany(entries.slice(at, at + shopPage).map(({ id }) => id))
    }
    warm = true
  }

  let stopped = false
  let nextMs = 0
  const stopFetching = every(retryMs, async () => {
    if (performance.now() < nextMs) return
    await fetchAll()
    nextMs = performance.now() + ttlMs / 2
  })

  return {
    get warm() {
      return warm
    },
    // Only what the shop lists is asked for, so that nobody can make it answer for ids of his invention.
    product: async (id) => ((await index()).has(id) ? products.get(id) : undefined),
    products: async (ids) => {
      const listed = await index()
      if (ids.every((id) => listed.has(id))) return products.getMany(ids)
      const found = await products.getMany(ids.filter((id) => listed.has(id)))
      const byId = new Map(found.map((product) => [product?.id, product]))
      return ids.map((id) => byId.get(id))
    },
    async find(query) {
      const { ids, total } = (await index()).search(query)
      const found = await products.getMany(ids)
      return { products: found.filter((product) => product !== undefined), total }
    },
    categories: async () => (await index()).categories,
    stats: () => ({ products: products.stats(), listing: listing.stats() }),
    async close() {
      stopped = true
      await stopFetching()
      await Promise.all([listing.close(), products.close()])
    },
  }
}
