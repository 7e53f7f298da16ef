import { execFile } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises'
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { extname, join } from 'node:path'
import { promisify } from 'node:util'
import type { Browser, Page } from 'playwright-core'
import { afterAll, beforeAll, describe, expect, it, type TestContext } from 'vitest'
import { startBrowser } from '../support/browser.js'

const root = new URL('../../', import.meta.url).pathname
const types: Readonly<Record<string, string>> = {
  '.html': 'text/html',
  '.css': 'text/css',
  '.js': 'text/javascript',
  '.svg': 'image/svg+xml',
}

let site: string
let files: readonly string[]
let server: Server
let base: string
let browser: Browser | string

beforeAll(async () => {
  site = await mkdtemp(join(tmpdir(), 'spillway-site-'))
  const [started] = await Promise.all([
    startBrowser(),
    promisify(execFile)('npm', ['run', '-s', 'docs', '--', '--out', site], { cwd: root }),
  ])
  browser = started
  files = (await readdir(site, { recursive: true, withFileTypes: true }))
    .filter((entry) => entry.isFile())
    .map(({ parentPath, name }) => join(parentPath, name).slice(site.length + 1))
  server = createServer((request, response) => {
    const path = new URL(request.url ?? '/', 'http://site').pathname
    readFile(join(site, path)).then(
      (body) => response.setHeader('content-type', types[extname(path)] ?? 'text/plain').end(body),
      () => response.writeHead(404).end(),
    )
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  base = `http://127.0.0.1:${(server.address() as AddressInfo).port}/`
})
afterAll(async () => {
  if (typeof browser === 'object') await browser.close()
  server?.close()
  await rm(site, { recursive: true })
})

const pages = (): string[] => files.filter((file) => file.endsWith('.html'))
const read = (file: string): Promise<string> => readFile(join(site, file), 'utf8')
const idsOf = (html: string): Set<string> => new Set([...html.matchAll(/ id="([^"]+)"/g)].map(([, id = '']) => id))

/** Where the links and pictures of a page lead, from the folder of the site; without those that leave it. */
function targetsOf(page: string, text: string, pattern: RegExp): { link: string; file: string; anchor: string }[] {
  return [...text.matchAll(pattern)].flatMap(([, link = '']) => {
    const url = new URL(link.replaceAll('&amp;', '&'), `site://host/${page}`)
    if (url.protocol !== 'site:') return []
    return [{ link, file: decodeURI(url.pathname.slice(1)), anchor: decodeURIComponent(url.hash.slice(1)) }]
  })
}

describe('the built site', () => {
  it('has links that lead somewhere', async () => {
    const ids = new Map<string, Set<string>>()
    const dead: string[] = []
    for (const page of pages()) {
      for (const { link, file, anchor } of targetsOf(page, await read(page), /<[^>]+? (?:href|src)="([^"]*)"/g)) {
        if (!files.includes(file)) dead.push(`${page}: ${link}`)
        else if (anchor && file.endsWith('.html')) {
          if (!ids.has(file)) ids.set(file, idsOf(await read(file)))
          if (!ids.get(file)?.has(anchor)) dead.push(`${page}: ${link}`)
        }
      }
    }
    expect(pages().length).toBeGreaterThan(50)
    expect(dead).toEqual([])
  })

  it('has a twin in Markdown for every guide, with links that lead somewhere', async () => {
    const guides = (await readdir(join(root, 'docs/guides'))).filter((name) => name.endsWith('.md'))
    expect(files).toEqual(expect.arrayContaining(guides.map((name) => `guides/${name}`)))
    for (const twin of files.filter((file) => file.endsWith('.md'))) {
      expect(files).toContain(twin.replace(/\.md$/, '.html'))
      const text = (await read(twin)).replace(/^```[^]*?^```/gm, '').replace(/`[^`\n]*`/g, '')
      const dead = targetsOf(twin, text, /\]\(([^)\s]+)\)/g).filter(({ file }) => !files.includes(file))
      expect(dead).toEqual([])
    }
  })

  it('lists its Markdown in llms.txt', async () => {
    const text = await read('llms.txt')
    expect(text).toMatch(/^# spillway\n\n> \S.+\n\n/)
    const { hostedBaseUrl } = JSON.parse(await readFile(join(root, 'typedoc.json'), 'utf8')) as {
      hostedBaseUrl: string
    }
    const listed = [...text.matchAll(/^- \[[^\]]+\]\(([^)]+)\)/gm)].map(([, url = '']) =>
      url.slice(hostedBaseUrl.length),
    )
    expect(listed.filter((file) => !files.includes(file))).toEqual([])
    expect(listed).toEqual(expect.arrayContaining(files.filter((file) => file.endsWith('.md'))))
  })

  it('shows figures as they were measured', async () => {
    const results = await readFile(join(root, 'bench/RESULTS.md'), 'utf8')
    const shown = [...(await read('index.html')).matchAll(/class="bar-value">([\d,]+)</g)].map(
      ([, value = '']) => value,
    )
    expect(shown.length).toBeGreaterThan(20)
    expect(shown.filter((value) => !results.includes(` ${value} `))).toEqual([])
  })
})

const screens = [
  { width: 390, height: 844 },
  { width: 1280, height: 800 },
]
const widthOf = (page: Page): Promise<number> => page.evaluate('document.documentElement.scrollWidth')

async function open({ skip }: TestContext, viewport = screens[0]) {
  if (typeof browser === 'string') return skip(browser)
  const context = await browser.newContext({ viewport: viewport ?? null, colorScheme: 'light' })
  const page = await context.newPage()
  const complaints: string[] = []
  page.on('console', (message) => {
    if (message.type() === 'error') complaints.push(message.text())
  })
  page.on('pageerror', (error) => complaints.push(error.message))
  return { page, complaints, [Symbol.asyncDispose]: () => context.close() }
}

describe('in a browser', () => {
  it('fits on a telephone and on a desk, in light and in dark colours, and does not complain', async (context) => {
    await using visit = await open(context)
    const { page, complaints } = visit
    const wide: string[] = []
    const entries = pages().filter(
      (path) => path.startsWith('api/') && files.some((file) => file.startsWith(path.replace('.html', '/'))),
    )
    // What the modules export has pages of a few layouts.
    const exported = ['lock/createLock', 'lock/Lock', 'ratelimit/Decision', 'queue/ConsumerOptions', 'channels']
    const shown = [
      ...pages().filter((path) => !path.startsWith('api/')),
      ...entries,
      ...exported.map((name) => `api/spillway/${name}.html`),
    ]
    for (const path of shown) {
      expect(files).toContain(path)
      await page.goto(base + path)
      await page.locator('.col-content').waitFor()
      for (const screen of screens) {
        await page.setViewportSize(screen)
        for (const colorScheme of ['light', 'dark'] as const) {
          await page.emulateMedia({ colorScheme })
          const width = await widthOf(page)
          if (width > screen.width) wide.push(`${path} in ${colorScheme}: ${width} of ${screen.width}`)
        }
      }
    }
    const background: string = await page.evaluate('getComputedStyle(document.body).backgroundColor')
    expect(Number(/\d+/.exec(background))).toBeLessThan(128)
    expect(wide).toEqual([])
    expect(complaints).toEqual([])
  })

  it.for(screens)('finds a guide by a word in it, %o', async (screen, context) => {
    await using visit = await open(context, screen)
    const { page, complaints } = visit
    await page.goto(`${base}index.html`)
    await page.locator('#tsd-search-trigger').click()
    await page.locator('#tsd-search-input').fill('InterProcessMutex')
    await page.locator('#tsd-search-results a[href$="guides/lock.html"]').click()
    await page.locator('h1', { hasText: 'Locks' }).waitFor()
    expect(complaints).toEqual([])
  })

  it('has each module once in its side bar, its guide together with its API', async (context) => {
    await using visit = await open(context)
    const { page } = visit
    for (const path of ['index.html', 'guides/lock.html', 'api/spillway/lock.html', 'api/spillway/lock/Lock.html']) {
      await page.goto(base + path)
      const listed: string[] = await page.evaluate(
        "[...document.querySelectorAll('.site-menu a')].filter((a) => a.host === location.host).map((a) => a.pathname.slice(1))",
      )
      expect(listed.filter((link, i) => listed.indexOf(link) !== i)).toEqual([])
      for (const name of ['ratelimit', 'lock', 'cache', 'stock', 'queue']) {
        expect(listed[listed.indexOf(`api/spillway/${name}.html`) - 1]).toBe(`guides/${name}.html`)
      }
      expect(await page.locator('.site-menu a.current').count()).toBe(1)
    }
  })
})
