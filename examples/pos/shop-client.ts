import { setTimeout as sleep } from 'node:timers/promises'
import { exponentialBackoff, StoreUnavailableError, type Backoff } from 'spillway'
import type { RateLimiter } from 'spillway/ratelimit'
import type { Entry } from './search.js'
import { within } from '../shared/within.js'

export interface Product extends Entry {
  readonly priceCents: number
}

/** What this process asked the upstream shop. */
export interface ShopCounts {
  /** Requests that were answered. */
  answered: number
  /** Requests that were cut, refused, too late, or answered with nonsense. */
  failed: number
  /** Products that came in full. */
  products: number
  listings: number
}

export interface ShopClient {
  readonly counts: Readonly<ShopCounts>
  /** Everything the shop has, without prices. */
  listing(signal: AbortSignal): Promise<readonly Entry[]>
  /** Those of the ids that the shop knows, in full. */
  products(ids: readonly string[], signal: AbortSignal): Promise<ReadonlyMap<string, Product>>
}

/** Products that the shop gives out in one answer. */
export const shopPage = 50

const answerMs = 5_000
const longestLineMs = 60_000
const patience = { attempts: 6, backoff: exponentialBackoff({ baseMs: 150, maxMs: 2_000 }) }

/**
 * Asks the shop as often as the limiter allows, and again after a cut connection. Rejects with StoreUnavailableError when
 * the shop has failed for good.
 */
export function createShopClient(
  url: string,
  limiter: RateLimiter,
  { attempts, backoff }: { readonly attempts: number; readonly backoff: Backoff } = patience,
): ShopClient {
  const counts: ShopCounts = { answered: 0, failed: 0, products: 0, listings: 0 }

  async function askOnce(path: string, signal: AbortSignal): Promise<unknown> {
    return within(answerMs, signal, async (signal) => {
      const response = await fetch(new URL(path, url), { signal })
      const text = await response.text()
      if (!response.ok) throw new Error(`the shop answered ${response.status}`)
      return JSON.parse(text) as unknown
    })
  }

  async function ask<T>(path: string, read: (body: unknown) => T, signal: AbortSignal): Promise<T> {
    let failure: unknown
    for (let attempt = 1; attempt <= attempts; attempt++) {
      await limiter.wait('shop', { signal, maxWaitMs: longestLineMs })
      try {
        const result = read(await askOnce(path, signal))
        counts.answered++
        return result
      } catch (error) {
        signal.throwIfAborted()
        counts.failed++
        failure = error
      }
      if (attempt < attempts) await sleep(backoff(attempt), undefined, { signal }).catch(() => signal.throwIfAborted())
    }
    throw new StoreUnavailableError('The shop does not answer', { applied: 'no', cause: failure })
  }

  return {
    counts,
    async listing(signal) {
      const entries = await ask('/catalogue', (body) => listOf(body, entryIn), signal)
      counts.listings++
      return entries
    },
    async products(ids, signal) {
      const found = new Map<string, Product>()
      for (let at = 0; at < ids.length; at += shopPage) {
        const page = ids.slice(at, at + shopPage).map(encodeURIComponent)
        const products = await ask(`/products?ids=${page.join(',')}`, (body) => listOf(body, productIn), signal)
        counts.products += products.length
        for (const product of products) found.set(product.id, product)
      }
      return found
    },
  }
}

/** What comes from a stranger is taken apart; what is no product fails the answer. */
function listOf<T>(body: unknown, read: (value: Record<string, unknown>) => T): T[] {
  const { products } = (body ?? {}) as { products?: unknown }
  if (!Array.isArray(products)) throw new Error('the shop answered with no list of products')
  return products.map((value: unknown) => read((value ?? {}) as Record<string, unknown>))
}

function text(value: unknown, what: string): string {
  if (typeof value !== 'string' || value === '' || value.length > 300) {
    throw new Error(`the shop's product has no ${what} but ${JSON.stringify(value)}`)
  }
  return value
}

const entryIn = ({ id, name, category, barcode }: Record<string, unknown>): Entry => ({
  id: text(id, 'id'),
  name: text(name, 'name'),
  category: text(category, 'category'),
  barcode: text(barcode, 'barcode'),
})

function productIn(value: Record<string, unknown>): Product {
  const { priceCents } = value
  if (typeof priceCents !== 'number' || !Number.isSafeInteger(priceCents) || priceCents < 0 || priceCents > 1e8) {
    throw new Error(`the shop's product has no price but ${JSON.stringify(priceCents)}`)
  }
  return { ...entryIn(value), priceCents }
}
