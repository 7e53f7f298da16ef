import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Browser, Page } from 'playwright-core'
import { afterAll, beforeAll, describe, expect, it, type TestContext } from 'vitest'
import { startBrowser } from '../../support/browser.js'
import { until } from '../../support/until.js'
import { startService, type Service } from './service.js'

let browser: Browser | string
let folder: string
let service: Service

beforeAll(async () => {
  browser = await startBrowser()
  folder = await mkdtemp(join(tmpdir(), 'spillway-ticket-page-'))
  service = await startService('--data', join(folder, 'ticket.db'))
})
afterAll(async () => {
  if (typeof browser === 'object') await browser.close()
  await service?.[Symbol.asyncDispose]()
  await rm(folder, { recursive: true, force: true })
})

const patient = { timeout: 60_000 }
const phone = { width: 390, height: 844 }
const desk = { width: 1280, height: 900 }

/** Opens the page as somebody new, and collects everything the browser complains of. */
async function visit({ skip }: TestContext, viewport = desk) {
  if (typeof browser === 'string') return skip(browser)
  const context = await browser.newContext({ viewport })
  const page = await context.newPage()
  const complaints: string[] = []
  page.on('console', (message) => {
    // A refusal is an answer that the page expects.
    if (message.type() === 'error' && !/status of 4\d\d/.test(message.text())) complaints.push(message.text())
  })
  page.on('pageerror', (error) => complaints.push(error.message))
  await page.goto(service.url)
  await page.getByText('Live', { exact: true }).waitFor(patient)
  return { page, complaints, [Symbol.asyncDispose]: () => context.close() }
}

async function show(page: Page, showId: string): Promise<void> {
  await page.locator(`#shows option[value="${showId}"]`).waitFor({ state: 'attached', ...patient })
  await page.getByLabel('Show on sale').selectOption(showId)
}

const button = (page: Page, name: string | RegExp) => page.getByRole('button', { name })
const left = (page: Page) => page.getByRole('meter', { name: 'Tickets left' }).getAttribute('aria-valuenow')
const widthOf = (page: Page): Promise<number> => page.evaluate('document.documentElement.scrollWidth')

describe('the page', () => {
  it('holds tickets for a person, who pays, finds them after a reload, and gets a refund', async (context) => {
    const id = await service.open({ title: 'Paid', quantity: 9, priceCents: 2_500, limitPerBuyer: 4, holdMs: 600_000 })
    await using visitor = await visit(context)
    const { page, complaints } = visitor
    await show(page, id)
    await expect.poll(() => left(page), patient).toBe('9')
    await page.getByText('at most 4 per person').waitFor(patient)
    await page.locator('#quantity').selectOption('2')
    await button(page, 'Hold tickets').click()
    await button(page, 'Pay €50.00').waitFor(patient)
    expect(await page.getByRole('timer').textContent()).toMatch(/^(10|\d):\d\d$/)
    await expect.poll(() => page.locator('#held').textContent(), patient).toBe('2')

    await page.reload()
    await show(page, id)
    await button(page, 'Pay €50.00').click(patient)
    await page.getByText('Paid. The tickets are yours.').waitFor(patient)
    await expect.poll(() => page.locator('#sold').textContent(), patient).toBe('2')
    await button(page, 'Ask for a refund').click()
    await page.getByText('The tickets went back, and so did the money.').waitFor(patient)
    await expect.poll(() => left(page), patient).toBe('9')
    expect(await service.settled(id)).toMatchObject({ ok: true, sold: 0 })
    expect(complaints).toEqual([])
  })

  it('gives the ticket of whoever did not pay to the next person', async (context) => {
    const id = await service.open({ title: 'Expires', quantity: 1, holdMs: 4_000 })
    await using slow = await visit(context)
    await using next = await visit(context, phone)
    await show(slow.page, id)
    await show(next.page, id)
    await button(slow.page, 'Hold tickets').click()
    await slow.page.getByText('Your time was over, so the tickets went back. No money was taken.').waitFor(patient)
    const paid = next.page.getByText('Paid. The tickets are yours.')
    const step = button(next.page, /^(Hold tickets|Try for one that comes back|Pay .*)$/)
    await until(async () => {
      if (!(await paid.isVisible())) await step.click({ timeout: 1_000 })
      return paid.isVisible()
    }, 'the ticket to be paid for')
    await button(slow.page, 'Sold out').waitFor(patient)
    expect([...slow.complaints, ...next.complaints]).toEqual([])
  })

  it('gives a hold back', async (context) => {
    const id = await service.open({ title: 'Back', quantity: 1, holdMs: 600_000 })
    await using visitor = await visit(context)
    await show(visitor.page, id)
    await button(visitor.page, 'Hold tickets').click()
    await button(visitor.page, 'Give them back').click(patient)
    await visitor.page.getByText('You gave the tickets back.').waitFor(patient)
    await expect.poll(() => service.level(id), patient).toMatchObject({ available: 1, held: 0 })
  })

  it('waits in line for a person, and lets the person in when it is time', async (context) => {
    const room = { perSecond: 0.05, burst: 1, lapseMs: 600_000 }
    const id = await service.open({ title: 'In line', quantity: 5, holdMs: 600_000, room })
    await using visitor = await visit(context, phone)
    const { page, complaints } = visitor
    await show(page, id)
    expect((await service.grab(id, 'before')).status).toBe(202)
    await button(page, 'Hold tickets').click()
    await page.getByText('You have a place in line.').waitFor(patient)
    await page.getByText('Your turn', { exact: true }).waitFor(patient)
    await page.getByText('People before you').waitFor(patient)
    expect(await button(page, 'Waiting for your turn').isDisabled()).toBe(true)
    expect(await page.getByRole('timer').isVisible()).toBe(true)
    expect(await widthOf(page)).toBeLessThanOrEqual(phone.width)
    await button(page, /^Pay/).waitFor(patient)
    expect(await service.level(id)).toMatchObject({ held: 1, sold: 1 })
    expect(complaints).toEqual([])
  })

  it('keeps the key of an order whose answer was lost, so that trying again holds once', async (context) => {
    const id = await service.open({ title: 'Lost answer', quantity: 5, holdMs: 600_000, limitPerBuyer: 4 })
    await using visitor = await visit(context)
    const { page } = visitor
    await show(page, id)
    const keys: string[] = []
    await page.route('**/holds', async (route) => {
      keys.push(route.request().headers()['idempotency-key'] ?? 'none')
      // The service decides the first two requests. One answer never arrives, and a balancer answers for the other.
      if (keys.length > 2) return route.continue()
      expect((await route.fetch()).status()).toBe(201)
      return keys.length === 1 ? route.abort() : route.fulfill({ status: 502, body: '<p>Bad gateway</p>' })
    })
    await button(page, 'Hold tickets').click()
    await page.getByText('No answer came.').waitFor(patient)
    await button(page, 'Hold tickets').click(patient)
    await page.getByText('The service cannot decide at the moment.').waitFor(patient)
    // What was sent under the key stays as it is.
    expect(await page.locator('#quantity').isVisible()).toBe(false)
    await button(page, 'Hold tickets').click(patient)
    await button(page, /^Pay/).waitFor(patient)
    expect(keys).toEqual(Array(3).fill(keys[0]))
    expect(await service.level(id)).toMatchObject({ held: 1 })
  })

  it('keeps the tickets of a person whose payment was answered into the void', async (context) => {
    const id = await service.open({ title: 'Paid unheard', quantity: 5, holdMs: 20_000, limitPerBuyer: 4 })
    await using visitor = await visit(context)
    const { page } = visitor
    await show(page, id)
    await page.route('**/pay', async (route) => {
      expect((await route.fetch()).status()).toBe(200)
      return route.abort()
    })
    await button(page, 'Hold tickets').click()
    await button(page, /^Pay/).click(patient)
    await page.getByText('No answer came.').waitFor(patient)
    await page.getByText('Paid. The tickets are yours.').waitFor(patient)
    await page.unroute('**/pay')
    await button(page, 'Ask for a refund').click(patient)
    await page.getByText('The tickets went back, and so did the money.').waitFor(patient)
    expect(await service.settled(id)).toMatchObject({ ok: true, sold: 0 })
  })

  it('lets the operator create a show and watch where its tickets are', async (context) => {
    await using visitor = await visit(context)
    const { page, complaints } = visitor
    await page.getByLabel('Title').fill('Created here')
    await page.locator('#new-tickets').fill('7')
    await page.locator('#new-rate').fill('0')
    await button(page, 'Put it on sale').click()
    await page.getByText('It is on sale.').waitFor(patient)
    await page.getByRole('heading', { name: 'Created here' }).waitFor(patient)
    await expect.poll(() => page.locator('#totals dd').first().textContent(), patient).toBe('7')
    await button(page, 'Hold tickets').click()
    await expect.poll(() => page.locator('#totals dd').nth(2).textContent(), patient).toBe('1')
    await page.getByText(`the only process ${service.pid}`).waitFor(patient)
    expect(complaints).toEqual([])
  })

  it.for([phone, desk])('fits a screen, %o', async (viewport, context) => {
    await using visitor = await visit(context, viewport)
    const { page, complaints } = visitor
    await page.locator('#plots canvas').nth(1).waitFor(patient)
    expect(await widthOf(page)).toBeLessThanOrEqual(viewport.width)
    const shots = process.env['SPILLWAY_SCREENSHOTS']
    if (shots !== undefined)
      await page.screenshot({ path: join(shots, `ticket-${viewport.width}.png`), fullPage: true })
    expect(complaints).toEqual([])
  })
})
