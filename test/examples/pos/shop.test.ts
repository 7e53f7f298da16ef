import { createServer } from 'node:http'
import { once } from 'node:events'
import type { AddressInfo } from 'node:net'
import { constantBackoff, StoreUnavailableError } from 'spillway'
import { createRateLimiter, memoryTokenBucket } from 'spillway/ratelimit'
import { describe, expect, it, onTestFinished, vi } from 'vitest'
import { createShopClient } from '../../../examples/pos/shop-client.js'
import { readShopOptions } from '../../../examples/pos/upstream/options.js'
import { makeProducts } from '../../../examples/pos/upstream/products.js'
import { startShop, type ShopOptions } from '../../../examples/pos/upstream/shop.js'

const unending = (): AbortSignal => new AbortController().signal

const open = async (options: Partial<ShopOptions> = {}) => {
  const patient = {
    port: 0,
    host: '127.0.0.1',
    latencyMs: [0, 1],
    perSecond: 10_000,
    sulkMs: 300,
    cutEvery: 0,
  } as const
  const shop = await startShop({ ...patient, products: 120, ...options })
  onTestFinished(() => shop.close())
  return shop
}
const clientOf = (url: string, perSecond = 1_000) => {
  const quotas = [{ capacity: Math.max(1, perSecond / 4), refill: perSecond, perMs: 1_000 }] as const
  const patience = { attempts: 3, backoff: constantBackoff(50) }
  return createShopClient(url, createRateLimiter(memoryTokenBucket(), { name: 'calls', quotas }), patience)
}

describe('the products', () => {
  const products = makeProducts()

  it('are some thousands, the same everywhere, each with a name and a barcode of its own', () => {
    expect(products.length).toBeGreaterThan(2_000)
    expect(makeProducts()).toEqual(products)
    for (const key of ['id', 'name', 'barcode'] as const) {
      expect(new Set(products.map((product) => product[key])).size).toBe(products.length)
    }
    expect(makeProducts(7)).toEqual(products.slice(0, 7))
    expect(new Set(makeProducts(120).map(({ category }) => category)).size).toBe(10)
  })

  it('have prices like prices, and barcodes that a scanner takes', () => {
    for (const { priceCents, barcode, name } of products) {
      expect(Number.isSafeInteger(priceCents) && priceCents >= 29 && priceCents < 20_000, name).toBe(true)
      const sum = [...barcode].reduce((total, digit, at) => total + Number(digit) * (at % 2 === 0 ? 1 : 3), 0)
      expect(barcode).toMatch(/^2\d{12}$/)
      expect(sum % 10, barcode).toBe(0)
    }
  })
})

describe('the shop', () => {
  it('cuts whoever asks too often, and everybody else for a while', async () => {
    // All ask in one moment, however long that takes.
    const time = vi.spyOn(performance, 'now').mockReturnValue(performance.now())
    onTestFinished(() => time.mockRestore())
    const shop = await open({ perSecond: 5, sulkMs: 60_000 })
    const ask = () => fetch(`${shop.url}/products?ids=10000`).then(({ status }) => status)
    const answers = await Promise.allSettled(Array.from({ length: 9 }, ask))
    expect(answers.filter(({ status }) => status === 'fulfilled')).toHaveLength(5)
    await expect(ask()).rejects.toThrow()
    expect(shop.stats()).toMatchObject({ requests: 10, answered: 5, cuts: 5, productsSent: 5, mostSent: 5 })
  })

  it('cuts now and then, before an answer or in the middle of it', async () => {
    const shop = await open({ cutEvery: 3 })
    const outcomes: string[] = []
    for (let at = 0; at < 6; at++) {
      const response = await fetch(`${shop.url}/products?ids=10000`).catch(() => undefined)
      outcomes.push(response === undefined ? 'cut' : await response.text().then(String, () => 'torn'))
    }
    const whole = JSON.stringify({ products: makeProducts(1) })
    expect(outcomes).toEqual([whole, whole, 'torn', whole, whole, 'cut'])
  })

  it('refuses what it does not have', async () => {
    const shop = await open()
    const statusOf = async (path: string, init?: RequestInit) => (await fetch(shop.url + path, init)).status
    expect(await statusOf('/products')).toBe(400)
    expect(await statusOf(`/products?ids=${Array.from({ length: 51 }, (_, at) => at).join()}`)).toBe(400)
    expect(await statusOf('/nowhere')).toBe(404)
    expect(await statusOf('/products', { method: 'POST' })).toBe(405)
    expect(await statusOf('/products/10000', { method: 'PUT', body: '{"priceCents":-1}' })).toBe(422)
    expect(await statusOf('/products/1', { method: 'PUT', body: '{"priceCents":1}' })).toBe(422)
    expect(await statusOf('/products/10000', { method: 'PUT', body: '{"priceCents":4711}' })).toBe(200)
    const { products } = (await (await fetch(`${shop.url}/products?ids=10000,1`)).json()) as { products: object[] }
    expect(products).toEqual([{ ...makeProducts(1)[0], priceCents: 4_711 }])
  })

  it.each([
    [['--latency', '9,3'], '--latency must be two numbers'],
    [['--latency', '1,2,3'], '--latency must be two numbers'],
    [['--products', '0'], '--products must be an integer of at least 1, got "0"'],
    [['--per-second', 'x'], '--per-second must be an integer of at least 1, got "x"'],
    [['--nonsense'], '--nonsense'],
  ])('is not started with %j', (args, complaint) => {
    expect(() => readShopOptions(args)).toThrow(complaint)
  })

  it('reads its options', () => {
    const args = ['--port', '0', '--products', '5', '--latency', '1,2', '--per-second', '3', '--sulk', '4']
    expect(readShopOptions([...args, '--cut-every', '6'])).toEqual({
      ...{ port: 0, host: '127.0.0.1', products: 5, latencyMs: [1, 2], perSecond: 3, sulkMs: 4, cutEvery: 6 },
    })
    expect(readShopOptions(['--help'])).toBe('help')
  })
})

describe('the client', () => {
  it('fetches the listing, and products a page at a time', async () => {
    const shop = await open()
    const client = clientOf(shop.url)
    const all = makeProducts(120)
    expect(await client.listing(unending())).toEqual(all.map(({ priceCents: _, ...entry }) => entry))
    const ids = [...all.map(({ id }) => id), 'unknown']
    expect([...(await client.products(ids, unending())).values()]).toEqual(all)
    expect(client.counts).toEqual({ answered: 4, failed: 0, products: 120, listings: 1 })
    expect(shop.stats()).toMatchObject({ requests: 4, cuts: 0, mostSent: 1, differentSent: 120 })
  })

  it('asks no more often than the shop allows', async () => {
    const shop = await open({ perSecond: 60 })
    const client = clientOf(shop.url, 40)
    await Promise.all(Array.from({ length: 60 }, (_, at) => client.products([`${10_000 + at}`], unending())))
    expect(shop.stats()).toMatchObject({ requests: 60, answered: 60, cuts: 0 })
  })

  it('asks again after a cut', async () => {
    const shop = await open({ cutEvery: 2 })
    const client = clientOf(shop.url)
    const ids = makeProducts(120).map(({ id }) => id)
    expect((await client.products(ids, unending())).size).toBe(120)
    expect(shop.stats().cuts).toBeGreaterThan(0)
    expect(client.counts.failed).toBe(shop.stats().cuts)
    expect(shop.stats().mostSent).toBe(1)
  })

  it('gives up a shop that is gone, as one that may come back', async () => {
    const shop = await open()
    await shop.close()
    const failing = clientOf(shop.url).listing(unending())
    await expect(failing).rejects.toThrow(StoreUnavailableError)
  })

  it.each([
    ['nothing', ''],
    ['no list', '{"products":5}'],
    ['null', 'null'],
    ['a product without a price', '{"products":[{"id":"1","name":"n","category":"c","barcode":"b"}]}'],
    ['a price in words', '{"products":[{"id":"1","name":"n","category":"c","barcode":"b","priceCents":"5"}]}'],
    ['a price below nothing', '{"products":[{"id":"1","name":"n","category":"c","barcode":"b","priceCents":-5}]}'],
    ['no product', '{"products":[null]}'],
    ['an endless name', `{"products":[{"id":"1","name":"${'n'.repeat(301)}"}]}`],
  ])('takes %s for no answer', async (_, body) => {
    const server = createServer((_request, response) => response.end(body))
    onTestFinished(() => void server.close().closeAllConnections())
    await once(server.listen(0, '127.0.0.1'), 'listening')
    const client = clientOf(`http://127.0.0.1:${(server.address() as AddressInfo).port}`)
    await expect(client.products(['1'], unending())).rejects.toThrow(StoreUnavailableError)
    expect(client.counts).toMatchObject({ answered: 0, products: 0 })
  })

  it('stops when it is told to', async () => {
    const shop = await open({ cutEvery: 1 })
    const abort = new AbortController()
    const asking = clientOf(shop.url).listing(abort.signal)
    setTimeout(() => abort.abort(new Error('enough')), 20)
    await expect(asking).rejects.toThrow('enough')
  })
})
