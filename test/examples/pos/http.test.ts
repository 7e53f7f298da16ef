import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { limits } from '../../../examples/pos/carts.js'
import { readOptions } from '../../../examples/pos/options.js'
import { makeProducts } from '../../../examples/pos/upstream/products.js'
import type { CartView, Receipt } from '../../../examples/pos/till.js'
import { OptionsError } from '../../../examples/shared/options.js'
import { readEvents } from '../seckill/service.js'
import {
  contents,
  createCashier,
  metric,
  newKey,
  request,
  runProgram,
  startShop,
  startTill,
  untilReady,
  type Answer,
  type Running,
} from './till.js'

const products = makeProducts(300)
const [first, second, third] = products as [(typeof products)[0], (typeof products)[0], (typeof products)[0]]

let shop: Awaited<ReturnType<typeof startShop>>
let till: Running
beforeAll(async () => {
  shop = await startShop('--products', '300', '--latency', '0,2', '--per-second', '1000')
  till = await startTill('--upstream', shop.url, '--upstream-rate', '200', '--ttl', '1')
  await untilReady(till.url)
})
afterAll(async () => {
  await till[Symbol.asyncDispose]()
  await shop[Symbol.asyncDispose]()
  expect(till.complaints()).toBe('')
})

const ask = (method: string, path: string, body?: unknown, headers?: Record<string, string>): Promise<Answer> =>
  request(till.url, method, path, body, headers)
const refused = (answer: Answer, status: number, error: string): void => {
  expect({ status: answer.status, error: answer.body['error'] }).toEqual({ status, error })
  expect(answer.body['message']).toEqual(expect.any(String))
}

describe('products', () => {
  it('are found, a page at a time', async () => {
    const all = await ask('GET', '/products?limit=100&offset=200')
    expect(all.body).toEqual({ total: 300, products: products.slice(200) })
    const word = first.name.split(' ')[0] as string
    const some = (await ask('GET', `/products?q=${word.toLowerCase()}`)).body as { products: { name: string }[] }
    expect(some.products.length).toBeGreaterThan(0)
    for (const { name } of some.products) expect(name).toContain(word)
    expect((await ask('GET', `/products?q=${second.barcode}`)).body).toEqual({ total: 1, products: [second] })
    expect((await ask('GET', '/products?q=no-such-thing')).body).toEqual({ total: 0, products: [] })
    const bakery = await ask('GET', '/products?category=Bakery&limit=100')
    const inBakery = products.filter(({ category }) => category === 'Bakery')
    expect(bakery.body).toEqual({ total: inBakery.length, products: inBakery.slice(0, 100) })
  })

  it('are shown one by one, and by category', async () => {
    expect((await ask('GET', `/products/${first.id}`)).body).toEqual(first)
    refused(await ask('GET', '/products/nobody-has-this'), 404, 'unknown-product')
    const { categories } = (await ask('GET', '/categories')).body as { categories: { products: number }[] }
    expect(categories).toHaveLength(10)
    expect(categories.reduce((sum, { products }) => sum + products, 0)).toBe(300)
  })

  it('that nobody lists are not asked of the shop', async () => {
    const answers = await Promise.all(Array.from({ length: 50 }, (_, at) => ask('GET', `/products/made-up-${at}`)))
    expect(new Set(answers.map(({ status }) => status))).toEqual(new Set([404]))
    expect((await shop.stats()).unknownAsked).toBe(0)
  })

  it.each([
    ['a limit of 0', '/products?limit=0'],
    ['a limit above all measure', '/products?limit=101'],
    ['a negative offset', '/products?offset=-1'],
    ['an endless text', `/products?q=${'q'.repeat(81)}`],
    ['two texts', '/products?q=a&q=b'],
    ['an unknown question', '/products?colour=red'],
    ['an id that is none', '/products/%C3%A9'],
  ])('refuse %s', async (_, path) => refused(await ask('GET', path), 422, 'invalid'))
})

describe('a cart', () => {
  it('begins empty and without a session', async () => {
    const answer = await ask('GET', '/cart')
    expect(answer.body).toEqual({ version: 0, lines: [], units: 0, totalCents: 0 })
    expect(answer.headers.getSetCookie()).toEqual([])
  })

  it('adds up what is rung up', async () => {
    const cashier = createCashier(till.url)
    await cashier.add(first.id)
    await cashier.add(second.id, 3)
    const cart = await cashier.add(first.id)
    const line = ({ id: productId, name, priceCents }: typeof first, quantity: number) => {
      return { productId, name, priceCents, quantity, amountCents: quantity * priceCents, available: true }
    }
    expect(cart).toEqual({
      version: 3,
      lines: [line(first, 2), line(second, 3)],
      units: 5,
      totalCents: 2 * first.priceCents + 3 * second.priceCents,
    })
    expect(await cashier.cart()).toEqual(cart)
    expect(contents(await cashier.set(second.id, 1))).toEqual({ [first.id]: 2, [second.id]: 1 })
    expect(contents(await cashier.add(first.id, -5))).toEqual({ [second.id]: 1 })
    expect((await cashier.clear()).lines).toEqual([])
  })

  it('gives its cookie once, for this site alone, out of reach of scripts', async () => {
    const cashier = createCashier(till.url)
    const one = await cashier.ask('POST', '/cart/lines', { productId: first.id }, newKey())
    expect(one.headers.getSetCookie()).toEqual([expect.stringMatching(/^till=[^;]+; Path=\/; HttpOnly; SameSite=Lax$/)])
    const two = await cashier.ask('POST', '/cart/lines', { productId: first.id }, newKey())
    expect(two.headers.getSetCookie()).toEqual([])
    expect(contents(two.body as unknown as CartView)).toEqual({ [first.id]: 2 })
  })

  it('is of nobody else: not of a forged cookie, nor of one that was cut short', async () => {
    const owner = createCashier(till.url)
    await owner.add(first.id)
    for (const cookie of [owner.cookie.replace(/\..*$/, ''), owner.cookie.slice(0, -1), 'till=x.y', 'till=']) {
      const other = createCashier(till.url)
      other.useCookie(cookie)
      expect((await other.cart()).lines).toEqual([])
      expect(contents(await other.add(second.id))).toEqual({ [second.id]: 1 })
      expect(other.cookie).not.toBe(cookie)
    }
    expect(contents(await owner.cart())).toEqual({ [first.id]: 1 })
  })

  it('counts a key once, and loses nothing of two tabs that add at once', async () => {
    const one = createCashier(till.url)
    await one.add(first.id, 1, 'k1')
    expect(contents(await one.add(first.id, 1, 'k1'))).toEqual({ [first.id]: 1 })
    const two = one.tab()
    await Promise.all(Array.from({ length: 40 }, (_, at) => (at % 2 === 0 ? one : two).add(second.id)))
    expect(contents(await two.cart())).toEqual({ [first.id]: 1, [second.id]: 40 })
  })

  it('has room for so much', async () => {
    const cashier = createCashier(till.url)
    await cashier.add(first.id, limits.ofOneProduct)
    const full = await cashier.ask('POST', '/cart/lines', { productId: first.id }, newKey())
    refused(full, 409, 'too-many')
    expect(contents(full.body['cart'] as CartView)).toEqual({ [first.id]: limits.ofOneProduct })
  })

  const key = { 'idempotency-key': 'k' }
  it.each([
    ['no key', 'POST', '/cart/lines', { productId: first.id }, {}],
    ['an endless key', 'POST', '/cart/lines', { productId: first.id }, { 'idempotency-key': 'k'.repeat(65) }],
    ['a key with a space', 'POST', '/cart/lines', { productId: first.id }, { 'idempotency-key': 'k k' }],
    ['no product', 'POST', '/cart/lines', {}, key],
    ['a product that is no name', 'POST', '/cart/lines', { productId: 'a/b' }, key],
    ['an endless product', 'POST', '/cart/lines', { productId: 'a'.repeat(65) }, key],
    ['a quantity of 0', 'POST', '/cart/lines', { productId: first.id, quantity: 0 }, key],
    ['a fraction', 'POST', '/cart/lines', { productId: first.id, quantity: 1.5 }, key],
    ['a quantity in words', 'POST', '/cart/lines', { productId: first.id, quantity: '1' }, key],
    ['no number at all', 'POST', '/cart/lines', { productId: first.id, quantity: null }, key],
    ['an endless quantity', 'POST', '/cart/lines', { productId: first.id, quantity: 1e300 }, key],
    ['too much at once', 'POST', '/cart/lines', { productId: first.id, quantity: 1_000 }, key],
    ['an unknown member', 'POST', '/cart/lines', { productId: first.id, colour: 'red' }, key],
    ['a price of the customer', 'POST', '/cart/lines', { productId: first.id, priceCents: 1 }, key],
    ['a list', 'POST', '/cart/lines', [], key],
    ['a negative quantity to set', 'PUT', `/cart/lines/${first.id}`, { quantity: -1 }, key],
    ['no quantity to set', 'PUT', `/cart/lines/${first.id}`, {}, key],
    ['emptying without a key', 'DELETE', '/cart', undefined, {}],
    ['a sale without a total', 'POST', '/cart/checkout', { method: 'card' }, key],
    ['a sale without a method', 'POST', '/cart/checkout', { totalCents: 1 }, key],
    ['a sale by another method', 'POST', '/cart/checkout', { totalCents: 1, method: 'barter' }, key],
    ['a sale without a key', 'POST', '/cart/checkout', { totalCents: 1, method: 'card' }, {}],
    ['a negative total', 'POST', '/cart/checkout', { totalCents: -1, method: 'card' }, key],
    ['too much handed over', 'POST', '/cart/checkout', { totalCents: 1, method: 'cash', tenderedCents: 1e15 }, key],
    ['an endless receipt', 'GET', `/receipts/${'r'.repeat(65)}`, undefined, {}],
  ])('refuses %s', async (_, method, path, body, headers: Record<string, string>) => {
    refused(await ask(method, path, body, headers), 422, 'invalid')
  })

  it.each([
    ['malformed JSON', '{', 'application/json', 400],
    ['NaN', `{"productId":"${first.id}","quantity":NaN}`, 'application/json', 400],
    ['no body', '', 'application/json', 400],
    ['a poisoned prototype', `{"__proto__":{"a":1},"productId":"${first.id}"}`, 'application/json', 400],
    ['a form', `productId=${first.id}`, 'application/x-www-form-urlencoded', 415],
    ['a body beyond all measure', `{"productId":"${'b'.repeat(20_000)}"}`, 'application/json', 413],
  ])('refuses %s', async (_, body, type, status) => {
    const answer = await ask('POST', '/cart/lines', body, { ...key, 'content-type': type })
    expect(answer.status).toBe(status)
    expect(answer.body).toMatchObject({ error: expect.any(String) as string, message: expect.any(String) as string })
  })

  it('knows no product that the shop does not have', async () => {
    refused(await ask('POST', '/cart/lines', { productId: 'none' }, key), 404, 'unknown-product')
    refused(await ask('PUT', '/cart/lines/none', { quantity: 1 }, key), 404, 'unknown-product')
    // Taking away what is not there is not wrong.
    expect((await ask('PUT', '/cart/lines/none', { quantity: 0 }, key)).status).toBe(200)
  })
})

describe('a sale', () => {
  const fill = async () => {
    const cashier = createCashier(till.url)
    const { totalCents } = await cashier.add(third.id, 2)
    return { cashier, totalCents }
  }

  it('ends in a receipt, once', async () => {
    const { cashier, totalCents } = await fill()
    const cash = { method: 'cash', tenderedCents: totalCents + 500 }
    const sold = await cashier.pay(totalCents, cash, 'sale-1')
    expect(sold.status).toBe(201)
    const { id: productId, name, priceCents } = third
    expect(sold.body).toEqual({
      id: 'sale-1',
      atMs: expect.any(Number) as number,
      lines: [{ productId, name, priceCents, quantity: 2, amountCents: totalCents }],
      ...{ units: 2, totalCents, method: 'cash', tenderedCents: totalCents + 500, changeCents: 500 },
    })
    const again = await cashier.pay(totalCents, cash, 'sale-1')
    expect(again.status).toBe(200)
    expect(again.body).toEqual(sold.body)
    expect((await cashier.cart()).lines).toEqual([])
    expect(await cashier.receipt('sale-1')).toEqual(sold.body)
    refused(await cashier.ask('GET', '/receipts/sale-2'), 404, 'unknown-receipt')
    refused(await ask('GET', '/receipts/sale-1'), 404, 'unknown-receipt')
    refused(await cashier.pay(0), 409, 'empty-cart')
  })

  it('by card is exactly what it costs', async () => {
    const { cashier, totalCents } = await fill()
    const sold = (await cashier.pay(totalCents, { method: 'card' })).body as unknown as Receipt
    expect(sold).toMatchObject({ method: 'card', tenderedCents: totalCents, changeCents: 0 })
  })

  it('needs enough money', async () => {
    const { cashier, totalCents } = await fill()
    refused(await cashier.pay(totalCents, { method: 'cash', tenderedCents: totalCents - 1 }), 409, 'too-little')
    expect((await cashier.cart()).units).toBe(2)
  })

  it('is of the cart that the customer was told: not with one more, nor at another price', async () => {
    const { cashier, totalCents } = await fill()
    await cashier.tab().add(first.id)
    const changed = await cashier.pay(totalCents)
    refused(changed, 409, 'cart-changed')
    expect(contents(changed.body['cart'] as CartView)).toEqual({ [third.id]: 2, [first.id]: 1 })
    await cashier.set(first.id, 0)

    await fetch(`${shop.url}/products/${third.id}`, { method: 'PUT', body: '{"priceCents":123456}' })
    while ((await cashier.cart()).totalCents === totalCents) await sleep(50)
    refused(await cashier.pay(totalCents), 409, 'cart-changed')
    expect((await cashier.pay(2 * 123_456)).status).toBe(201)
    await fetch(`${shop.url}/products/${third.id}`, { method: 'PUT', body: `{"priceCents":${third.priceCents}}` })
    while ((await ask('GET', `/products/${third.id}`)).body['priceCents'] !== third.priceCents) await sleep(50)
  })

  it('ends with the till', async () => {
    const { cashier } = await fill()
    const before = cashier.cookie
    expect((await cashier.ask('DELETE', '/session')).status).toBe(204)
    cashier.useCookie(before)
    expect((await cashier.cart()).lines).toEqual([])
    expect(contents(await cashier.add(first.id))).toEqual({ [first.id]: 1 })
    expect((await ask('DELETE', '/session')).status).toBe(204)
  })
})

describe('the service', () => {
  it('tells its health, its readiness and its interface', async () => {
    expect((await ask('GET', '/health')).body).toEqual({ status: 'ok' })
    expect((await ask('GET', '/ready')).body).toEqual({ ready: true, stores: { memory: true, catalogue: true } })
    const paths = (await ask('GET', '/docs/json')).body['paths'] as Record<string, Record<string, { summary: string }>>
    const documented = Object.entries(paths).flatMap(([path, methods]) =>
      Object.entries(methods).map(([method, { summary }]) => [`${method} ${path}`, summary] as const),
    )
    expect(documented.map(([route]) => route)).toEqual(
      expect.arrayContaining([
        ...['get /products', 'get /products/{productId}', 'get /categories', 'get /cart', 'delete /cart'],
        ...['post /cart/lines', 'put /cart/lines/{productId}', 'post /cart/checkout', 'get /receipts/{id}'],
        ...['delete /session', 'get /live', 'get /health', 'get /ready', 'get /metrics'],
      ]),
    )
    for (const [route, summary] of documented) expect(summary, route).toEqual(expect.any(String))
    expect((await ask('GET', '/docs')).status).toBe(200)
  })

  it('counts what it did', async () => {
    const names = ['pos_session_reads_total', 'pos_session_writes_total', 'pos_requests_total{outcome="done"}'] as const
    const count = () => Promise.all(names.map((name) => metric(till.url, name)))
    const [reads, writes, done] = (await count()) as [number, number, number]
    const cashier = createCashier(till.url)
    for (let at = 0; at < 5; at++) await cashier.add(first.id)
    expect(await count()).toEqual([reads + 4, writes + 1, done + 5])
    const refusals = await metric(till.url, 'pos_requests_total{outcome="refused"}')
    await cashier.ask('POST', '/cart/lines', { productId: 'none' }, newKey())
    expect(await metric(till.url, 'pos_requests_total{outcome="refused"}')).toBe(refusals + 1)
    expect(await metric(till.url, 'pos_requests_total{outcome="failed"}')).toBe(0)
    expect(await metric(till.url, 'pos_upstream_products_total')).toBeGreaterThanOrEqual(300)
    expect(await metric(till.url, 'pos_catalogue_warm')).toBe(1)
    expect(await metric(till.url, 'pos_cache_total{of="products",what="hits"}')).toBeGreaterThan(0)
    expect(await metric(till.url, 'pos_request_seconds_count')).toBeGreaterThanOrEqual(6)
  })

  it('sends snapshots while it lives', async () => {
    const events = await readEvents(`${till.url}/live`, (seen) => seen.length >= 2)
    expect(events.at(-1)).toMatchObject({
      event: 'snapshot',
      data: { pid: till.pid, warm: true, sessions: 'memory', shop: { failed: 0 }, latencyMs: {}, statements: 0 },
    })
  })

  it('has no other paths and no other methods', async () => {
    refused(await ask('GET', '/nowhere'), 404, 'not-found')
    const wrong = await ask('PATCH', '/cart')
    refused(wrong, 405, 'method-not-allowed')
    expect(wrong.headers.get('allow')).toBe('DELETE, GET, HEAD')
    refused(await ask('GET', '/products/%zz'), 400, 'bad-url')
  })
})

describe('the program', () => {
  it.each([
    [['--port', '70000'], '70000'],
    [['--ttl', '0'], '--ttl must be an integer'],
    [['--rehearse', 'x'], '--rehearse must be an integer'],
    [['--upstream-rate', 'NaN'], 'got "NaN"'],
    [['--upstream', 'ftp://shop'], 'ftp://shop'],
    [['--redis', 'nowhere'], 'nowhere'],
    [['--mysql', 'mysql://localhost'], 'name of a database'],
    [['--sessions', 'redis'], '--sessions redis needs --redis'],
    [['--sessions', 'mysql'], '--sessions mysql needs --mysql'],
    [['--sessions', 'paper'], 'got "paper"'],
    [['--secret', 'short'], '--secret must be 32 characters'],
    [['--name', 'a b'], 'a b'],
    [['--nonsense'], '--nonsense'],
  ])('refuses %j', (args, complaint) => {
    const read = (): unknown => readOptions(args)
    expect(read).toThrow(OptionsError)
    expect(read).toThrow(complaint)
  })

  it('ends with 2 and says why when its options are refused', async () => {
    const { ended, output } = await runProgram('main', '--port', '70000')
    expect(await ended).toBe(2)
    expect(output.err).toContain('70000')
    expect(output.out).toBe('')
  })

  it('explains itself', async () => {
    for (const [name, flag] of [
      ['main', '--upstream URL'],
      ['upstream', '--cut-every N'],
      ['scale', '--users N'],
    ] as const) {
      const { ended, output } = await runProgram(name, '--help')
      expect(await ended).toBe(0)
      expect(output.out).toContain(flag)
    }
  })

  it('rehearses before it is ready, and leaves no trace of it', async () => {
    await using rehearsing = await startTill('--upstream', shop.url, '--upstream-rate', '200', '--rehearse', '5000')
    const seen: unknown[] = []
    for (;;) {
      const { status, body } = await request(rehearsing.url, 'GET', '/ready')
      seen.push(body['stores'])
      if (status === 200) break
      await sleep(5)
    }
    expect(seen).toContainEqual({ memory: true, catalogue: true, rehearsal: false })
    expect(seen.at(-1)).toEqual({ memory: true, catalogue: true })
    // It did ring up: each time a product was looked up to see whether there is one, and priced.
    expect(await metric(rehearsing.url, 'pos_cache_total{of="products",what="hits"}')).toBeGreaterThan(400)
    for (const name of ['pos_requests_total{outcome="done"}', 'pos_session_reads_total', 'pos_session_writes_total']) {
      expect(await metric(rehearsing.url, name)).toBe(0)
    }
    expect(rehearsing.complaints()).toBe('')
  })

  it('needs nothing, and ends in order', async () => {
    await using alone = await startTill()
    const cashier = createCashier(alone.url)
    // It answers before it has fetched everything: what is asked for is fetched first.
    const { products: some } = (await cashier.ask('GET', '/products?limit=3')).body as { products: { id: string }[] }
    const cart = await cashier.add((some[0] as { id: string }).id)
    expect(cart.units).toBe(1)
    alone.signal('SIGTERM')
    expect(await alone.ended).toBe(0)
    expect(alone.complaints()).toBe('')
  })
})
