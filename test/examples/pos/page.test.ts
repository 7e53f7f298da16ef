import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { Browser, BrowserContext, Page } from 'playwright-core'
import { Redis } from 'ioredis'
import { afterAll, beforeAll, describe, expect, it, onTestFinished, type TestContext } from 'vitest'
import { makeProducts, type Product } from '../../../examples/pos/upstream/products.js'
import { describeWithServices, uniqueName } from '../../services/vitest.js'
import { startBrowser } from '../../support/browser.js'
import { startProxy } from '../../support/proxy.js'
import { startShop, startTill, untilReady, type Running } from './till.js'

const products = makeProducts(120)
const [bread, milk, kettle] = products as [Product, Product, Product]
const patient = { timeout: 60_000 }
const money = (cents: number): string => `€${(cents / 100).toLocaleString('en', { minimumFractionDigits: 2 })}`

let browser: Browser | string
let shop: Awaited<ReturnType<typeof startShop>>
let till: Running
beforeAll(async () => {
  browser = await startBrowser()
  shop = await startShop('--products', '120', '--latency', '0,2', '--per-second', '1000')
  till = await startTill('--upstream', shop.url, '--upstream-rate', '200')
  await untilReady(till.url)
})
afterAll(async () => {
  if (typeof browser === 'object') await browser.close()
  await till?.[Symbol.asyncDispose]()
  await shop?.[Symbol.asyncDispose]()
})

interface Visit {
  readonly page: Page
  readonly context: BrowserContext
  readonly complaints: string[]
}

/** Opens the page as a new cashier, and collects everything the browser complains of. */
async function visit(
  { skip }: TestContext,
  url = till.url,
  width = 1280,
  first = bread,
): Promise<Visit & AsyncDisposable> {
  if (typeof browser === 'string') return skip(browser)
  const context = await browser.newContext({ viewport: { width, height: 844 } })
  return { ...(await openTab(context, url, first)), context, [Symbol.asyncDispose]: () => context.close() }
}

async function openTab(context: BrowserContext, url = till.url, first = bread) {
  const page = await context.newPage()
  const complaints: string[] = []
  page.on('console', (message) => {
    if (message.type() === 'error') complaints.push(message.text())
  })
  page.on('pageerror', (error) => complaints.push(error.message))
  await page.goto(url)
  await label(page, first).waitFor(patient)
  return { page, complaints }
}

const label = (page: Page, { name }: Product) => page.getByRole('button', { name: `Add ${name},` })
const total = (page: Page) => page.locator('#total').textContent()
const lines = (page: Page) => page.locator('#lines li').count()
const widthOf = (page: Page): Promise<number> => page.evaluate('document.documentElement.scrollWidth')
/** The right edge of the button that is farthest to the right. */
const farthest =
  "Math.max(...[...document.querySelectorAll('#cart button, .label, dialog button')].map((one) => one.getBoundingClientRect().right))"
const totalOf = (...wanted: [Product, number][]): string =>
  money(wanted.reduce((sum, [{ priceCents }, quantity]) => sum + priceCents * quantity, 0))

describe('the page', () => {
  for (const width of [390, 1280]) {
    it(`sells to a customer on a screen of ${width} pixels`, async (context) => {
      await using visitor = await visit(context, till.url, width)
      const { page, complaints } = visitor
      await page.getByText('Open', { exact: true }).waitFor(patient)
      expect(await widthOf(page)).toBeLessThanOrEqual(width)
      await label(page, bread).click()
      await label(page, milk).click()
      await label(page, milk).click()
      if (width < 900) {
        await expect.poll(() => page.locator('#show-units').textContent(), patient).toBe('3 items')
        expect(await page.locator('#cart').isVisible()).toBe(false)
        await page.locator('#show-cart').click()
        await page.getByRole('heading', { name: 'Cart' }).waitFor(patient)
      }
      await expect.poll(() => total(page), patient).toBe(totalOf([bread, 1], [milk, 2]))
      expect(await widthOf(page)).toBeLessThanOrEqual(width)

      await page.getByRole('button', { name: /^Pay/ }).click()
      expect(await page.locator('#due').textContent()).toBe(totalOf([bread, 1], [milk, 2]))
      await page.getByLabel('Handed over').fill('1')
      expect(await page.locator('.change').textContent()).toMatch(/Still missing €[\d.]+/)
      expect(await page.getByRole('button', { name: 'Take the money' }).isDisabled()).toBe(true)
      await page.getByLabel('Handed over').fill('20')
      const change = 2_000 - bread.priceCents - 2 * milk.priceCents
      expect(await page.locator('#change').textContent()).toBe(money(change))
      await page.getByRole('button', { name: 'Take the money' }).click()
      const receipt = page.locator('#receipt-dialog')
      await receipt.waitFor(patient)
      expect(await receipt.locator('tfoot tr').allTextContents()).toEqual([
        `Total, 3 items${totalOf([bread, 1], [milk, 2])}`,
        'Cash€20.00',
        `Change${money(change)}`,
      ])
      expect(await receipt.locator('tbody tr').count()).toBe(2)
      expect(await widthOf(page)).toBeLessThanOrEqual(width)
      await page.getByRole('button', { name: 'Next customer' }).click()
      await expect.poll(() => lines(page), patient).toBe(0)
      // A small screen shows the shelf again, and its cart is out of sight.
      expect(await page.locator('#pay').isDisabled()).toBe(true)
      expect(complaints).toEqual([])
    })
  }

  it('finds products by name, by category and by barcode', async (context) => {
    await using visitor = await visit(context)
    const { page, complaints } = visitor
    const labels = page.locator('#labels li')
    await page.getByLabel('Find a product').fill('rye')
    const rye = products.filter(({ name }) => /\brye/i.test(name))
    await expect.poll(() => labels.count(), patient).toBe(rye.length)
    await page.getByLabel('Find a product').fill('zzz')
    await page.getByText('Nothing for “zzz”.').waitFor(patient)

    // A scanner types a barcode, and Enter.
    await page.getByLabel('Find a product').fill(kettle.barcode)
    await page.getByLabel('Find a product').press('Enter')
    await expect.poll(() => total(page), patient).toBe(totalOf([kettle, 1]))
    expect(await page.getByLabel('Find a product').inputValue()).toBe('')

    await page.getByRole('button', { name: 'Bakery', exact: true }).click()
    const bakery = products.filter(({ category }) => category === 'Bakery').length
    await page.getByText(`${bakery} products in Bakery`).waitFor(patient)
    await page.getByRole('button', { name: 'All', exact: true }).click()
    await expect.poll(() => labels.count(), patient).toBe(24)
    await page.getByRole('button', { name: 'Show more' }).click()
    await expect.poll(() => labels.count(), patient).toBe(48)
    await page.locator('body').press('/')
    expect(await page.evaluate('document.activeElement.id')).toBe('text')
    expect(complaints).toEqual([])
  })

  it('has keys for quantities, before a product and after it', async (context) => {
    await using visitor = await visit(context)
    const { page, complaints } = visitor
    const press = (key: string) =>
      page.getByRole('group', { name: 'Quantity' }).getByRole('button', { name: key }).click()
    await press('1')
    await press('2')
    await label(page, bread).click()
    await label(page, milk).click()
    await expect.poll(() => total(page), patient).toBe(totalOf([bread, 12], [milk, 1]))
    await page.getByRole('button', { name: `One less of ${bread.name}` }).click()
    await page.getByRole('button', { name: `One more of ${milk.name}` }).click()
    await expect.poll(() => total(page), patient).toBe(totalOf([bread, 11], [milk, 2]))
    await page.getByRole('button', { name: `Set the quantity of ${milk.name}` }).click()
    await press('7')
    await press('Set the quantity')
    await expect.poll(() => total(page), patient).toBe(totalOf([bread, 11], [milk, 7]))
    await page.getByRole('button', { name: `Set the quantity of ${bread.name}` }).click()
    await press('0')
    await press('Set the quantity')
    await expect.poll(() => total(page), patient).toBe(totalOf([milk, 7]))
    await page.reload()
    await expect.poll(() => total(page), patient).toBe(totalOf([milk, 7]))
    // The second tap counts within some seconds of the first; one that comes too late is a first tap again.
    for (let sure = false; !sure;) {
      await page.getByRole('button', { name: 'Empty it' }).click()
      expect(await lines(page)).toBe(1)
      const second = page.getByRole('button', { name: 'Really empty it?' }).click({ timeout: 5_000 })
      sure = await second.then(
        () => true,
        () => false,
      )
    }
    await expect.poll(() => lines(page), patient).toBe(0)
    expect(complaints).toEqual([])
  })

  it('loses nothing of two tabs, and takes the money for what is there', async (context) => {
    await using visitor = await visit(context)
    const { page: one } = visitor
    await label(one, bread).click()
    await expect.poll(() => total(one), patient).toBe(totalOf([bread, 1]))
    const { page: two } = await openTab(visitor.context)
    await expect.poll(() => total(two), patient).toBe(totalOf([bread, 1]))
    await Promise.all([label(one, milk).click(), label(two, kettle).click()])
    const looked = async () => {
      await two.evaluate("dispatchEvent(new Event('focus'))")
      return total(two)
    }
    // The look at what the other tab did may come before the other tab's product does.
    await expect.poll(looked, patient).toBe(totalOf([bread, 1], [milk, 1], [kettle, 1]))

    // The first tab shows less than the cart holds: the customer is told the new sum before any money is taken.
    await label(two, kettle).click()
    const all = totalOf([bread, 1], [milk, 1], [kettle, 2])
    await expect.poll(() => total(two), patient).toBe(all)
    await one.getByRole('button', { name: /^Pay/ }).click()
    expect(await one.locator('#due').textContent()).not.toBe(all)
    await one.getByLabel('Card').check()
    await one.getByRole('button', { name: 'Take the money' }).click()
    await one.getByText('The cart has changed').waitFor(patient)
    expect(await one.locator('#due').textContent()).toBe(all)
    await one.getByRole('button', { name: 'Take the money' }).click()
    await one.locator('#receipt-dialog').waitFor(patient)
    expect(await one.locator('#receipt-dialog tfoot tr').allTextContents()).toEqual([
      `Total, 4 items${all}`,
      `Card${all}`,
    ])
  })

  it('sends again what had no answer, and it counts once', async (context) => {
    await using proxy = await startProxy({ host: '127.0.0.1', port: Number(new URL(till.url).port) })
    await using visitor = await visit(context, `http://${proxy.address}`)
    const { page } = visitor
    const keys: string[] = []
    await page.route('**/cart/lines', async (route) => {
      keys.push(route.request().headers()['idempotency-key'] ?? 'none')
      if (keys.length > 1) return route.continue()
      // The till rings it up, and its answer never arrives.
      expect((await route.fetch()).status()).toBe(200)
      return route.abort()
    })
    await label(page, bread).click()
    await expect.poll(() => total(page), patient).toBe(totalOf([bread, 1]))
    expect(keys).toHaveLength(2)
    expect(keys[1]).toBe(keys[0])

    await proxy.refuse()
    proxy.cut()
    await label(page, milk).click()
    await page.locator('#message', { hasText: 'No answer. Trying again until there is one' }).waitFor(patient)
    await page.getByText('Reconnecting…').waitFor(patient)
    expect(await page.getByRole('button', { name: /^Pay/ }).isDisabled()).toBe(true)
    await proxy.accept()
    await expect.poll(() => total(page), patient).toBe(totalOf([bread, 1], [milk, 1]))
    await page.getByText('Open', { exact: true }).waitFor(patient)
    expect(await page.getByRole('button', { name: /^Pay/ }).isEnabled()).toBe(true)
  })

  it('looks until it sees the cart, when it is loaded while nobody answers', async (context) => {
    await using visitor = await visit(context)
    const { page } = visitor
    await label(page, bread).click()
    await expect.poll(() => total(page), patient).toBe(totalOf([bread, 1]))
    let looks = 0
    let away = true
    await page.route('**/cart', (route) => {
      looks++
      return away ? route.abort() : route.continue()
    })
    await page.reload()
    await page.locator('#message', { hasText: 'No answer. Trying again until there is one.' }).waitFor(patient)
    await expect.poll(() => looks, patient).toBeGreaterThan(1)
    away = false
    const inVain = looks
    await expect.poll(() => total(page), patient).toBe(totalOf([bread, 1]))
    await expect.poll(() => page.locator('#message').textContent(), patient).toBe('')
    expect(looks).toBe(inVain + 1)
  })

  it('sends what had no answer when it was loaded again', async (context) => {
    await using visitor = await visit(context)
    const { page, complaints } = visitor
    let held = 0
    await page.route('**/cart/lines', (route) => (++held === 1 ? undefined : route.continue()))
    await label(page, bread).click()
    await expect.poll(() => held, patient).toBe(1)
    await page.reload()
    await expect.poll(() => total(page), patient).toBe(totalOf([bread, 1]))
    expect(complaints).toEqual([])
  })

  it('takes what a scanner types, whatever has the focus, however fast it comes', async (context) => {
    await using visitor = await visit(context)
    const { page, complaints } = visitor
    await label(page, bread).click()
    // Enter would ring up the bread again, if the barcode were not taken from the button that has the focus.
    for (const { barcode } of [milk, kettle, kettle]) await page.keyboard.type(`${barcode}\n`)
    await expect.poll(() => total(page), patient).toBe(totalOf([bread, 1], [milk, 1], [kettle, 2]))
    await page.keyboard.type('2999999999999\n')
    await page.locator('#message', { hasText: 'Nothing is found for “2999999999999”.' }).waitFor(patient)
    await page.keyboard.type(`${milk.barcode}\n`)
    await expect.poll(() => total(page), patient).toBe(totalOf([bread, 1], [milk, 2], [kettle, 2]))
    expect(await page.getByLabel('Find a product').inputValue()).toBe('')
    expect(complaints).toEqual([])
  })

  it('shows the receipt of a sale whose answer was lost', async (context) => {
    await using visitor = await visit(context)
    const { page } = visitor
    await label(page, bread).click()
    await expect.poll(() => total(page), patient).toBe(totalOf([bread, 1]))
    const keys: string[] = []
    await page.route('**/cart/checkout', async (route) => {
      keys.push(route.request().headers()['idempotency-key'] ?? 'none')
      expect((await route.fetch()).status()).toBe(keys.length === 1 ? 201 : 200)
      return route.abort()
    })
    await page.getByRole('button', { name: /^Pay/ }).click()
    await page.getByRole('button', { name: 'Take the money' }).click()
    await page.getByText('No answer yet. Asking again').waitFor(patient)
    await page.getByRole('button', { name: 'Not yet' }).click()
    await page.locator('#receipt-dialog').waitFor(patient)
    expect(await page.locator('#receipt-id').textContent()).toBe(`Receipt ${keys[0]}`)
    expect(new Set(keys).size).toBe(1)
    await page.getByRole('button', { name: 'Next customer' }).click()
    await expect.poll(() => lines(page), patient).toBe(0)
  })

  it.for([390, 1280])('says what was refused on a screen of %d pixels', async (width, context) => {
    await using visitor = await visit(context, till.url, width)
    const { page } = visitor
    if (width < 900) await page.locator('#show-cart').click()
    for (const digit of '999') await page.getByRole('button', { name: digit, exact: true }).click()
    if (width < 900) await page.locator('#hide-cart').click()
    await label(page, bread).click()
    await expect.poll(() => total(page), patient).toBe(totalOf([bread, 999]))
    await label(page, bread).click()
    const place = width < 900 ? '#show-message' : '#message'
    await page.locator(place, { hasText: 'There is no room for that in a cart.' }).waitFor(patient)
    expect(await total(page)).toBe(totalOf([bread, 999]))
    expect(await widthOf(page)).toBeLessThanOrEqual(width)
  })

  it.for([390, 1280])('has room for long names on a screen of %d pixels', async (width, context) => {
    const name = `${'Wholegrain sourdough with seeds and '.repeat(4)}${'nine'.repeat(20)}`
    const category = 'A category with rather a long name of its own'
    const odd = { id: '1', name, category, barcode: '2000000000015', priceCents: 99_999_999 }
    const server = createServer((_, response) => response.end(JSON.stringify({ products: [odd] })))
    onTestFinished(() => void server.close().closeAllConnections())
    await once(server.listen(0, '127.0.0.1'), 'listening')
    await using one = await startTill('--upstream', `http://127.0.0.1:${(server.address() as AddressInfo).port}`)
    await untilReady(one.url)
    await using visitor = await visit(context, one.url, width, odd)
    const { page } = visitor
    const fits = async (): Promise<void> => {
      expect(await widthOf(page)).toBeLessThanOrEqual(width)
      expect(await page.evaluate<number>(farthest)).toBeLessThanOrEqual(width)
    }
    await page.locator('.chip').first().waitFor(patient)
    await fits()
    await label(page, odd).click()
    if (width < 900) await page.locator('#show-cart').click()
    await page.getByRole('button', { name: `Set the quantity of ${name}` }).click()
    await page.getByText(name, { exact: true }).first().waitFor(patient)
    await fits()
    await page.getByRole('button', { name: /^Pay/ }).click()
    await page.getByLabel('Card').check()
    await fits()
    await page.getByRole('button', { name: 'Take the money' }).click()
    await page.locator('#receipt-dialog').waitFor(patient)
    await fits()
  })
})

describeWithServices('the page of a till whose Redis lost its data', ['redis'], ({ redis: server }) => {
  it('puts back the one change that was lost', async (context) => {
    const name = uniqueName('page')
    const args = ['--upstream', shop.url, '--upstream-rate', '200', '--redis', server.url, '--name', name]
    await using lossy = await startTill(...args)
    await untilReady(lossy.url)
    await using visitor = await visit(context, lossy.url)
    const { page } = visitor
    const redis = new Redis(server.url)
    onTestFinished(() => redis.disconnect())
    const kept = async (): Promise<[string, Buffer][]> => {
      const keys = (await redis.keys(`${name}:*`)).filter((key) => /:(cart|changes):/.test(key))
      return Promise.all(keys.map(async (key) => [key, await redis.dumpBuffer(key)]))
    }
    await label(page, bread).click()
    await expect.poll(() => total(page), patient).toBe(totalOf([bread, 1]))
    const before = await kept()
    expect(before).toHaveLength(2)
    await label(page, milk).click()
    await expect.poll(() => total(page), patient).toBe(totalOf([bread, 1], [milk, 1]))
    for (const [key, dump] of before) await redis.restore(key, 0, dump, 'REPLACE')
    // Its answer has the version that the page knows, and is none the less older.
    await label(page, kettle).click()
    await expect.poll(() => total(page), patient).toBe(totalOf([bread, 1], [milk, 1], [kettle, 1]))
  })

  it('fills the cart again', async (context) => {
    const name = uniqueName('page')
    await using lossy = await startTill(
      '--upstream',
      shop.url,
      '--upstream-rate',
      '200',
      ...['--redis', server.url, '--name', name],
    )
    await untilReady(lossy.url)
    await using visitor = await visit(context, lossy.url)
    const { page } = visitor
    await label(page, bread).click()
    await label(page, milk).click()
    await label(page, bread).click()
    await expect.poll(() => total(page), patient).toBe(totalOf([bread, 2], [milk, 1]))
    const redis = new Redis(server.url)
    const keys = (await redis.keys(`${name}:*`)).filter((key) => /:(session|cart|changes):/.test(key))
    expect(keys).toHaveLength(3)
    await redis.del(...keys)
    redis.disconnect()
    await label(page, kettle).click()
    await expect.poll(() => total(page), patient).toBe(totalOf([bread, 2], [milk, 1], [kettle, 1]))
    await page.reload()
    await expect.poll(() => total(page), patient).toBe(totalOf([bread, 2], [milk, 1], [kettle, 1]))
  })
})
