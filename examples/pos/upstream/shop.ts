import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { makeProducts, type Product } from './products.js'

export interface ShopOptions {
  readonly port: number
  readonly host: string
  readonly products: number
  /** Every answer takes between the first and the second. */
  readonly latencyMs: readonly [from: number, to: number]
  /** Requests that it answers a second, with as many at once; whoever asks more often is cut off. */
  readonly perSecond: number
  /** How long everybody is cut off after that. */
  readonly sulkMs: number
  /** Cuts every so manyth request besides, some before the answer and some in the middle of it. 0: none. */
  readonly cutEvery: number
}

export interface ShopStats {
  readonly requests: number
  readonly answered: number
  readonly cuts: number
  readonly listings: number
  /** Products handed out in full, with how often the most wanted was, and how many different ones. */
  readonly productsSent: number
  readonly mostSent: number
  readonly differentSent: number
  /** Ids that were asked for and are none of its products. */
  readonly unknownAsked: number
}

/** The shop, running. */
export interface Shop extends AsyncDisposable {
  readonly url: string
  stats(): ShopStats
  close(): Promise<void>
}

const mostAtOnce = 50

/**
 * A shop of somebody else's: slow, and it cuts the connection of whoever asks too often.
 *
 * `GET /catalogue` lists everything without prices, `GET /products?ids=…` gives up to 50 in full. `PUT /products/ID`
 * with `{"priceCents":…}` and `GET /stats` are for whoever plays with it, and are never cut.
 */
export async function startShop(options: ShopOptions): Promise<Shop> {
  const products = new Map(makeProducts(options.products).map((product) => [product.id, product]))
  const listing = listingOf([...products.values()])
  const sent = new Map<string, number>()
  const counts = { requests: 0, answered: 0, cuts: 0, listings: 0, productsSent: 0, unknownAsked: 0 }
  const timers = new Set<NodeJS.Timeout>()
  const allowed = createPatience(options)

  const answer = (response: ServerResponse, status: number, body: unknown): void => {
    const text = typeof body === 'string' ? body : JSON.stringify(body)
    response.writeHead(status, { 'content-type': 'application/json', 'content-length': Buffer.byteLength(text) })
    response.end(text)
  }
  const give = (response: ServerResponse, url: URL): void => {
    if (url.pathname === '/catalogue') {
      counts.listings++
      return answer(response, 200, listing)
    }
    const ids = (url.searchParams.get('ids') ?? '').split(',').filter((id) => id !== '')
    if (url.pathname !== '/products' || ids.length === 0 || ids.length > mostAtOnce) {
      return answer(response, url.pathname === '/products' ? 400 : 404, { error: 'ask for 1 to 50 ids' })
    }
    const found = ids.flatMap((id) => products.get(id) ?? [])
    for (const { id } of found) sent.set(id, (sent.get(id) ?? 0) + 1)
    counts.productsSent += found.length
    counts.unknownAsked += ids.length - found.length
    answer(response, 200, { products: found })
  }
  const serve = (request: IncomingMessage, response: ServerResponse, url: URL): void => {
    const number = ++counts.requests
    const cutNow = options.cutEvery > 0 && number % options.cutEvery === 0
    if (!allowed() || (cutNow && number % 2 === 0)) {
      counts.cuts++
      return void request.socket.destroy()
    }
    later(timers, between(options.latencyMs), () => {
      if (cutNow) {
        counts.cuts++
        response.writeHead(200, { 'content-type': 'application/json', 'content-length': 4_096 })
        response.write('{"products":[', () => request.socket.destroy())
        return
      }
      counts.answered++
      give(response, url)
    })
  }
  const stats = (): ShopStats => ({
    ...counts,
    mostSent: Math.max(0, ...sent.values()),
    differentSent: sent.size,
  })
  const reprice = async (request: IncomingMessage, response: ServerResponse, id: string): Promise<void> => {
    let body = ''
    for await (const chunk of request.setEncoding('utf8')) body += String(chunk)
    const known = products.get(id)
    const priceCents = priceIn(body)
    if (!known || priceCents === undefined) return answer(response, 422, { error: 'no such product or price' })
    products.set(id, { ...known, priceCents })
    answer(response, 200, products.get(id))
  }

  const server = createServer((request, response) => {
    const url = new URL(request.url ?? '/', 'http://shop')
    const id = /^\/products\/([^/]+)$/.exec(url.pathname)?.[1]
    if (url.pathname === '/stats') answer(response, 200, stats())
    else if (request.method === 'PUT' && id !== undefined) void reprice(request, response, id)
    else if (request.method === 'GET') serve(request, response, url)
    else answer(response, 405, { error: 'GET only' })
  })
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject)
    server.listen(options.port, options.host, resolve)
  })
  const { port } = server.address() as AddressInfo
  const close = async (): Promise<void> => {
    for (const timer of timers) clearTimeout(timer)
    await new Promise<void>((resolve) => {
      server.close(() => resolve())
      server.closeAllConnections()
    })
  }
  return { url: `http://${options.host}:${port}`, stats, close, [Symbol.asyncDispose]: close }
}

const listingOf = (products: readonly Product[]): string =>
  JSON.stringify({
    products: products.map(({ id, name, category, barcode }) => ({ id, name, category, barcode })),
  })

const between = ([from, to]: readonly [number, number]): number => from + Math.random() * (to - from)

function later(timers: Set<NodeJS.Timeout>, ms: number, work: () => void): void {
  const timer = setTimeout(() => {
    timers.delete(timer)
    work()
  }, ms)
  timers.add(timer)
}

/** Whether one more request is answered. One too many, and nobody is answered for a while. */
function createPatience({ perSecond, sulkMs }: ShopOptions): () => boolean {
  let tokens = perSecond
  let atMs = performance.now()
  let sulksUntilMs = 0
  return () => {
    const nowMs = performance.now()
    tokens = Math.min(perSecond, tokens + ((nowMs - atMs) / 1_000) * perSecond)
    atMs = nowMs
    if (nowMs < sulksUntilMs) return false
    if (tokens < 1) {
      sulksUntilMs = nowMs + sulkMs
      return false
    }
    tokens--
    return true
  }
}

function priceIn(body: string): number | undefined {
  try {
    const { priceCents } = JSON.parse(body) as { priceCents?: unknown }
    return typeof priceCents === 'number' && Number.isSafeInteger(priceCents) && priceCents > 0 ? priceCents : undefined
  } catch {
    return undefined
  }
}
