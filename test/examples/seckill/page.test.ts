import type { Browser, Page } from 'playwright-core'
import { afterAll, beforeAll, describe, expect, it, type TestContext } from 'vitest'
import { startBrowser } from '../../support/browser.js'
import { startProxy } from '../../support/proxy.js'
import { openSale, startSeckill } from './program.js'

let browser: Browser | string
let service: Awaited<ReturnType<typeof startSeckill>>

beforeAll(async () => {
  browser = await startBrowser()
  service = await startSeckill()
})
afterAll(async () => {
  if (typeof browser === 'object') await browser.close()
  await service?.[Symbol.asyncDispose]()
})

const patient = { timeout: 60_000 }

/** Opens the page as somebody new, and collects everything the browser complains of. */
async function visit({ skip }: TestContext, viewport = { width: 1440, height: 1000 }, url = service.url) {
  if (typeof browser === 'string') return skip(browser)
  const context = await browser.newContext({ viewport })
  const page = await context.newPage()
  const complaints: string[] = []
  page.on('console', (message) => {
    if (message.type() === 'error') complaints.push(message.text())
  })
  page.on('pageerror', (error) => complaints.push(error.message))
  await page.goto(url)
  await page.getByText('Live', { exact: true }).waitFor(patient)
  return { page, complaints, [Symbol.asyncDispose]: () => context.close() }
}

async function show(page: Page, saleId: string): Promise<void> {
  await page.locator(`#sales option[value="${saleId}"]`).waitFor({ state: 'attached', ...patient })
  await page.getByLabel('Sale on show').selectOption(saleId)
}

const gate = (page: Page) => page.locator('#buy')
const levelShown = async (page: Page): Promise<number> =>
  Number((await page.getByRole('meter', { name: 'Units left' }).getAttribute('aria-valuenow')) ?? Number.NaN)
const widthOf = (page: Page): Promise<number> => page.evaluate('document.documentElement.scrollWidth')

describe('the page', () => {
  it('sells a unit to a person, who sees it recorded and finds it again after a reload', async (context) => {
    const sale = await openSale(service.url, { title: 'Kettle', quantity: 3 })
    await using visitor = await visit(context)
    const { page, complaints } = visitor
    await show(page, sale)
    await expect.poll(() => levelShown(page), patient).toBe(3)
    await gate(page).click()
    await page.getByText('Your order is in the book').waitFor(patient)
    expect(await page.locator('#order li[data-reached="true"]').count()).toBe(2)
    expect(await gate(page).textContent()).toBe('Yours!')
    await expect.poll(() => levelShown(page), patient).toBe(2)

    await page.reload()
    await show(page, sale)
    await page.getByText('This one is yours').waitFor(patient)
    await expect.poll(() => levelShown(page), patient).toBe(2)
    expect(complaints).toEqual([])
  })

  it('tells the next person that it is sold out', async (context) => {
    const sale = await openSale(service.url, { title: 'The only one', quantity: 1 })
    await using first = await visit(context)
    await using second = await visit(context)
    await show(second.page, sale)
    await show(first.page, sale)
    await expect.poll(() => gate(second.page).textContent(), patient).toBe('Buy one')
    await gate(first.page).click()
    await first.page.getByText('Your order is in the book').waitFor(patient)
    await expect.poll(() => gate(second.page).textContent(), patient).toBe('Sold out')
    expect(await gate(second.page).isDisabled()).toBe(true)
    expect([...first.complaints, ...second.complaints]).toEqual([])
  })

  it('tells the operator how orders are decided', async (context) => {
    await using locked = await startSeckill('--strategy', 'redis-lock')
    await using visitor = await visit(context, undefined, locked.url)
    const { page, complaints } = visitor
    await page.getByText('Orders are decided by redis-lock').waitFor(patient)
    const sale = await openSale(locked.url, { title: 'Under a lock', quantity: 3 })
    await show(page, sale)
    await gate(page).click()
    await page.getByText('Your order is in the book').waitFor(patient)
    expect(complaints).toEqual([])
  })

  it('counts down to the opening, and opens', async (context) => {
    await using visitor = await visit(context)
    // A page that is shown only after the opening is too late for a look at the closed gate: then it opens later.
    for (let aheadMs = 12_000; ; aheadMs *= 2) {
      const opensAtMs = Date.now() + aheadMs
      await show(visitor.page, await openSale(service.url, { title: 'Soon', quantity: 5, opensAtMs }))
      const seen = { disabled: await gate(visitor.page).isDisabled(), text: await gate(visitor.page).textContent() }
      if (Date.now() >= opensAtMs - 1_000) continue
      expect(seen).toEqual({ disabled: true, text: expect.stringMatching(/^Opens in \d/) as string })
      break
    }
    await expect.poll(() => gate(visitor.page).textContent(), { timeout: 240_000 }).toBe('Buy one')
    expect(await gate(visitor.page).isEnabled()).toBe(true)
  })

  it('keeps the key of an order whose answer was lost, so that trying again buys once', async (context) => {
    const sale = await openSale(service.url, { title: 'Lost answer', quantity: 5 })
    await using visitor = await visit(context)
    const { page } = visitor
    await show(page, sale)
    const keys: string[] = []
    await page.route('**/orders', async (route) => {
      keys.push(route.request().headers()['idempotency-key'] ?? 'none')
      // The service decides the first order, and its answer never arrives.
      if (keys.length > 1) return route.continue()
      expect((await route.fetch()).status()).toBe(202)
      return route.abort()
    })
    await gate(page).click()
    await page.getByRole('button', { name: 'Try again with the same key' }).click(patient)
    await page.getByText('Your order is in the book').waitFor(patient)
    expect(keys).toHaveLength(2)
    expect(keys[1]).toBe(keys[0])
    await expect.poll(() => levelShown(page), patient).toBe(4)
  })

  it('waits at the door for as long as the service says', async (context) => {
    const sale = await openSale(service.url, { title: 'Crowded', quantity: 5 })
    await using visitor = await visit(context)
    const { page } = visitor
    await show(page, sale)
    await page.route(
      '**/orders',
      (route) => route.fulfill({ status: 429, headers: { 'Retry-After': '10' }, json: {} }),
      {
        times: 1,
      },
    )
    await gate(page).click()
    await page.getByRole('button', { name: /^Wait ([1-9]|10) s$/, disabled: true }).waitFor(patient)
    await page.getByRole('button', { name: 'Buy one' }).click(patient)
    await page.getByText('Your order is in the book').waitFor(patient)
  })

  it('starts a rush, and ends it with books that balance', async (context) => {
    await using visitor = await visit(context)
    const { page, complaints } = visitor
    await page.getByLabel('Orders', { exact: true }).fill('5000')
    await page.getByLabel('Units', { exact: true }).fill('250')
    await page.getByRole('button', { name: 'Start the rush' }).click()
    await page.getByText('The books balance: 250 of 250 units, each sold once.').waitFor({ timeout: 240_000 })
    expect(await page.locator('#ledger td').allTextContents()).toEqual(['250', '250', '250', '250'])
    expect(await page.locator('#ledger tr[data-off="true"]').count()).toBe(0)
    expect(await page.locator('#audit').getAttribute('data-state')).toBe('ok')
    // The level comes with the next snapshot.
    await expect.poll(() => levelShown(page), patient).toBe(0)
    expect(complaints).toEqual([])
  })

  it('shows books that do not balance as such', async (context) => {
    const sale = await openSale(service.url, { title: 'Cooked books', quantity: 5 })
    await using visitor = await visit(context)
    const { page } = visitor
    await show(page, sale)
    const audit = { settled: true, ok: false, lag: 0, total: 5, sold: 3, recordedOrders: 3, recordedUnits: 3 }
    const books = { rows: 2, rowUnits: 2, rejected: 0, stockDifference: 3, databaseDifference: 2 }
    await page.route('**/audit', (route) =>
      route.fulfill({ json: { ...audit, ...books, missingRows: 1, extraRows: 0 } }),
    )
    await page.getByRole('button', { name: 'Check them now' }).click()
    await page.getByText('The books do not balance (orders without a row: 1).').waitFor(patient)
    expect(await page.locator('#ledger tr[data-off="true"] td').allTextContents()).toEqual(['2'])
  })

  it('says that it has lost the service, cut or silent, and comes back', async (context) => {
    await using proxy = await startProxy({ host: '127.0.0.1', port: Number(new URL(service.url).port) })
    await using visitor = await visit(context, undefined, `http://${proxy.address}`)
    const { page } = visitor
    const lost = page.getByText(/^Reconnecting…/)
    const live = page.getByText('Live', { exact: true })
    await proxy.refuse()
    expect(proxy.cut()).toBeGreaterThan(0)
    await lost.waitFor(patient)
    await proxy.accept()
    await live.waitFor(patient)

    proxy.freeze()
    await page.getByText(/no news since/).waitFor(patient)
    proxy.thaw()
    await live.waitFor(patient)
  })

  for (const width of [360, 1440]) {
    it(`fits a screen of ${width} pixels`, async (context) => {
      await using visitor = await visit(context, { width, height: 800 })
      const { page, complaints } = visitor
      await page.locator('#plots canvas').nth(4).waitFor(patient)
      expect(await widthOf(page)).toBeLessThanOrEqual(width)
      expect(await page.locator('#plots canvas').count()).toBe(5)
      expect(complaints).toEqual([])
    })
  }
})
