import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { setTimeout as sleep } from 'node:timers/promises'
import { projectPath } from '../../../examples/shared/files.js'
import type { CartView, Receipt } from '../../../examples/pos/till.js'
import type { ShopStats } from '../../../examples/pos/upstream/shop.js'
import { ensureBuilt } from '../../support/build.js'

export interface Answer {
  readonly status: number
  readonly headers: Headers
  readonly body: Record<string, unknown>
}

/** A program of the example, running. */
export interface Running extends AsyncDisposable {
  readonly url: string
  readonly pid: number
  /** What it wrote to its standard error so far. */
  complaints(): string
  signal(signal: NodeJS.Signals): void
  /** Resolves with its exit code, or with the signal that ended it. */
  readonly ended: Promise<number | NodeJS.Signals>
}

/** Runs a program without waiting for it to listen. */
export async function runProgram(name: 'main' | 'upstream' | 'scale', ...args: readonly string[]) {
  await ensureBuilt()
  const env: NodeJS.ProcessEnv = { ...process.env, PORT: '0' }
  for (const variable of ['REDIS_URL', 'MYSQL_URL', 'POS_UPSTREAM', 'POS_NAME', 'POS_SECRET']) delete env[variable]
  const program = spawn(process.execPath, [projectPath('build/examples/pos', `${name}.js`), ...args], { env })
  const output = { out: '', err: '' }
  program.stdout.on('data', (data: Buffer) => (output.out += data.toString()))
  program.stderr.on('data', (data: Buffer) => (output.err += data.toString()))
  const ended = once(program, 'close').then(([code, signal]) => (code ?? signal) as number | NodeJS.Signals)
  return { program, output, ended }
}

async function start(name: 'main' | 'upstream', args: readonly string[]): Promise<Running> {
  const { program, output, ended } = await runProgram(name, ...args)
  let over = false
  void ended.then(() => (over = true))
  const listening = async (): Promise<string> => {
    for (;;) {
      const found = /listening on (http:\S+)/.exec(output.out)?.[1]
      if (found !== undefined) return found
      if (over) throw new Error(`${name} ended before it listened:\n${output.err}`)
      await sleep(20)
    }
  }
  return {
    url: await listening(),
    pid: program.pid ?? 0,
    complaints: () => output.err,
    signal: (signal) => void program.kill(signal),
    ended,
    async [Symbol.asyncDispose]() {
      program.kill('SIGTERM')
      const late = setTimeout(() => program.kill('SIGKILL'), 30_000)
      await ended
      clearTimeout(late)
    },
  }
}

/** A server of the till; it listens, and need not have its catalogue yet. It does not rehearse, unless it is told to. */
export const startTill = (...args: readonly string[]): Promise<Running> => start('main', ['--rehearse', '0', ...args])

/** A shop in a process of its own. Without latency, and patient, unless it is told otherwise. */
export async function startShop(...args: readonly string[]) {
  const shop = await start('upstream', ['--port', '0', ...args])
  return { ...shop, stats: async () => (await (await fetch(`${shop.url}/stats`)).json()) as ShopStats }
}

/** No answer of a till that lives takes this long, however busy its machine. */
const answerMs = 60_000

/** One request. */
export async function request(
  url: string,
  method: string,
  path: string,
  body?: unknown,
  headers: Readonly<Record<string, string>> = {},
): Promise<Answer> {
  const response = await fetch(new URL(path, url), {
    method,
    headers: { ...(body === undefined ? {} : { 'content-type': 'application/json' }), ...headers },
    ...(body === undefined ? {} : { body: typeof body === 'string' ? body : JSON.stringify(body) }),
    signal: AbortSignal.timeout(answerMs),
  })
  const text = await response.text()
  const json = response.headers.get('content-type')?.includes('json') === true
  const parsed = (json ? JSON.parse(text) : { text }) as Record<string, unknown>
  return { status: response.status, headers: response.headers, body: parsed }
}

/** Asks until the server has its catalogue. */
export async function untilReady(url: string): Promise<void> {
  for (;;) {
    const answer = await request(url, 'GET', '/ready').catch(() => undefined)
    if (answer?.status === 200) return
    await sleep(50)
  }
}

/** The number behind a metric's name. */
export async function metric(url: string, name: string): Promise<number> {
  const { body } = await request(url, 'GET', '/metrics')
  const line = String(body['text'])
    .split('\n')
    .find((one) => one.startsWith(`${name} `))
  if (line === undefined) throw new Error(`there is no metric ${name}`)
  return Number(line.slice(name.length + 1))
}

let keys = 0
export const newKey = (): string => `key-${process.pid}-${++keys}`

/** One cashier's browser: it has a cookie, and asks any of the servers. */
export function createCashier(...urls: readonly string[]) {
  let cookie = ''
  let asked = 0
  const nextUrl = (): string => urls[asked++ % urls.length] as string

  const ask = async (method: string, path: string, body?: unknown, key?: string): Promise<Answer> => {
    const headers = { ...(cookie === '' ? {} : { cookie }), ...(key === undefined ? {} : { 'idempotency-key': key }) }
    const answer = await request(nextUrl(), method, path, body, headers)
    for (const line of answer.headers.getSetCookie()) {
      if (line.startsWith('till=')) cookie = line.split(';')[0] ?? ''
    }
    return answer
  }
  const done = async (answering: Promise<Answer>): Promise<CartView> => {
    const { status, body } = await answering
    if (status !== 200) throw new Error(`the till answered ${status}: ${JSON.stringify(body)}`)
    return body as unknown as CartView
  }
  return {
    ask,
    get cookie() {
      return cookie
    },
    /** Another tab of the same browser. */
    tab: () => {
      const other = createCashier(...urls)
      other.useCookie(cookie)
      return other
    },
    useCookie: (other: string) => {
      cookie = other
    },
    add: (productId: string, quantity = 1, key = newKey()) =>
      done(ask('POST', '/cart/lines', { productId, quantity }, key)),
    set: (productId: string, quantity: number) => done(ask('PUT', `/cart/lines/${productId}`, { quantity }, newKey())),
    clear: () => done(ask('DELETE', '/cart', undefined, newKey())),
    cart: () => done(ask('GET', '/cart')),
    pay: (totalCents: number, more: object = { method: 'card' }, key = newKey()) =>
      ask('POST', '/cart/checkout', { totalCents, ...more }, key),
    receipt: async (id: string) => (await ask('GET', `/receipts/${id}`)).body as unknown as Receipt,
  }
}

export type Cashier = ReturnType<typeof createCashier>

/** Product ids and quantities of a cart. */
export const contents = ({ lines }: Pick<CartView, 'lines'>): Record<string, number> =>
  Object.fromEntries(lines.map(({ productId, quantity }) => [productId, quantity]))
