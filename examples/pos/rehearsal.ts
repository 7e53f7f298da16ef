import type { Catalogue } from './catalogue.js'
import { every } from '../shared/run.js'

/** As many at once: the event loop then also meets several requests in one turn. */
const cashiers = 4
const longestMs = 15_000

/** A server that gets ready for customers. */
export interface Rehearsal {
  /** Whether it is over, however it went. */
  readonly over: boolean
  /** `url` is where the server listens. */
  start(url: string): void
  stop(): Promise<void>
}

/**
 * Rings up `requests` products at this server as soon as it has its catalogue, in sessions that are thrown away. What runs
 * for the first time is slow, until the engine has seen often enough what it does to compile it; without a rehearsal the
 * first customers wait for that. A rehearsal that fails is over, too: it keeps nobody from working.
 */
export function createRehearsal(
  catalogue: Catalogue,
  { requests, onEnd }: { readonly requests: number; readonly onEnd: () => void },
): Rehearsal {
  let over = requests === 0
  let stopped = false
  let stopWaiting = async (): Promise<void> => undefined

  async function rehearse(url: string): Promise<void> {
    const { products } = await catalogue.find({ text: '', category: '', offset: 0, limit: 20 })
    const ids = products.map(({ id }) => id)
    const each = ids.length === 0 ? 0 : Math.ceil(requests / cashiers)
    const endsAtMs = performance.now() + longestMs
    const goesOn = (): boolean => !stopped && performance.now() < endsAtMs
    await Promise.allSettled(Array.from({ length: cashiers }, () => ringUp(url, ids, each, goesOn)))
    over = true
    onEnd()
  }
  return {
    get over() {
      return over
    },
    start(url) {
      stopWaiting = every(100, async () => {
        if (!over && catalogue.warm) await rehearse(url)
      })
    },
    stop() {
      stopped = true
      return stopWaiting()
    },
  }
}

async function ringUp(url: string, ids: readonly string[], times: number, goesOn: () => boolean): Promise<void> {
  let cookie = ''
  const ask = async (method: string, path: string, body?: object, key = ''): Promise<void> => {
    const response = await fetch(url + path, {
      method,
      headers: { cookie, ...(body && { 'content-type': 'application/json', 'idempotency-key': key }) },
      ...(body && { body: JSON.stringify(body) }),
      signal: AbortSignal.timeout(longestMs),
    })
    await response.arrayBuffer()
    if (!response.ok) throw new Error(`${path} answered ${response.status}`)
    cookie = response.headers.getSetCookie()[0]?.split(';')[0] ?? cookie
  }
  try {
    for (let at = 0; at < times && goesOn(); at++) {
      // A cart has room for so much of a product.
      const quantity = at % 2 === 0 ? 1 : -1
      await ask('POST', '/cart/lines', { productId: ids[at % ids.length], quantity }, `rehearsal-${at}`)
      if (at % 20 === 0) await ask('GET', '/products?q=a')
    }
  } finally {
    await ask('DELETE', '/session')
  }
}
