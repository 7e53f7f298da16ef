import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { setTimeout as sleep } from 'node:timers/promises'
import { projectPath } from '../../../examples/shared/files.js'
import type { SaleAudit } from '../../../examples/shared/rush/types.js'
import { ensureBuilt } from '../../support/build.js'

/** A door that never refuses. */
export const wideOpen = { capacity: 1_000_000_000, refill: 1_000_000, perMs: 1, initial: 1_000_000_000 }

export interface Answer {
  readonly status: number
  readonly headers: Headers
  readonly body: Record<string, unknown>
}

/** The service's program, running, and a client of it. */
export interface Service extends AsyncDisposable {
  readonly url: string
  readonly pid: number
  /** What it wrote to its standard error so far. */
  complaints(): string
  request(
    method: string,
    path: string,
    body?: unknown,
    headers?: Record<string, string>,
    patienceMs?: number,
  ): Promise<Answer>
  open(sale: object): Promise<string>
  /** `patienceMs` is how long the buyer waits for an answer. */
  buy(saleId: string, key: string, body?: object, patienceMs?: number): Promise<Answer>
  /** Looks until the audit has settled. */
  settled(saleId: string): Promise<SaleAudit>
  signal(signal: NodeJS.Signals): void
  /** Resolves with its exit code, or with the signal that ended it. */
  readonly ended: Promise<number | NodeJS.Signals>
}

/** Runs the program without waiting for it to listen. */
export async function runProgram(...args: readonly string[]) {
  await ensureBuilt()
  const env = { ...process.env, PORT: '0' }
  const program = spawn(process.execPath, [projectPath('build/examples/seckill/main.js'), ...args], { env })
  const output = { out: '', err: '' }
  program.stdout.on('data', (data: Buffer) => (output.out += data.toString()))
  program.stderr.on('data', (data: Buffer) => (output.err += data.toString()))
  const ended = once(program, 'close').then(([code, signal]) => (code ?? signal) as number | NodeJS.Signals)
  return { program, output, ended }
}

export async function startService(...args: readonly string[]): Promise<Service> {
  const { program, output, ended } = await runProgram(...args)
  let over = false
  void ended.then(() => (over = true))
  const url = async (): Promise<string> => {
    for (;;) {
      const found = /listening on (http:\S+)/.exec(output.out)?.[1]
      if (found !== undefined) return found
      if (over) throw new Error(`the service ended before it listened:\n${output.err}`)
      await sleep(20)
    }
  }
  return createClient(await url(), {
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
  })
}

type Process = Pick<Service, 'pid' | 'complaints' | 'signal' | 'ended' | typeof Symbol.asyncDispose>

/** No answer of a service that lives takes this long, however busy its machine. */
const answerMs = 60_000

/** Asks again while a store did not answer in its time, which on a busy machine happens to one that is well. */
export async function patiently(ask: () => Promise<Answer>): Promise<Answer> {
  for (;;) {
    const answer = await ask()
    if (!['unavailable', 'busy'].includes(answer.body['error'] as string)) return answer
    await sleep(50)
  }
}

/** Asks with the same key until the order is decided, as the service tells its buyers to. */
export async function insist(service: Service, id: string, key: string, body?: object): Promise<Answer> {
  for (;;) {
    const answer = await service.buy(id, key, body)
    if (answer.status !== 503 && answer.body['error'] !== 'clash') return answer
    await sleep(20)
  }
}

export function createClient(url: string, running: Process): Service {
  const service: Service = {
    ...running,
    url,
    async request(method, path, body, headers = {}, patienceMs = answerMs) {
      const type = body === undefined ? {} : { 'content-type': 'application/json' }
      const response = await fetch(new URL(path, url), {
        method,
        headers: { ...type, ...headers },
        ...(body === undefined ? {} : { body: typeof body === 'string' ? body : JSON.stringify(body) }),
        // A connection that Node's primary was handing to a worker when that was killed stays open, and silent.
        signal: AbortSignal.timeout(patienceMs),
      })
      const text = await response.text()
      const json = response.headers.get('content-type')?.includes('json') === true
      const parsed = (json ? JSON.parse(text) : { text }) as Record<string, unknown>
      return { status: response.status, headers: response.headers, body: parsed }
    },
    async open(sale) {
      const answer = await patiently(() => service.request('POST', '/sales', { title: 'A sale', ...sale }))
      if (answer.status !== 201) throw new Error(`opening a sale answered ${JSON.stringify(answer)}`)
      return answer.body['id'] as string
    },
    buy: (saleId, key, body = { buyer: `buyer-of-${key}` }, patienceMs = answerMs) =>
      service.request('POST', `/sales/${saleId}/orders`, body, { 'idempotency-key': key }, patienceMs),
    async settled(saleId) {
      for (;;) {
        const { status, body } = await service.request('GET', `/sales/${saleId}/audit`)
        if (status === 200 && body['settled'] === true) return body as unknown as SaleAudit
        await sleep(200)
      }
    },
  }
  return service
}

/** How many orders of that outcome the service has counted, in all of its processes. */
export async function counted(service: Service, outcome: string): Promise<number> {
  const { body } = await service.request('GET', '/metrics')
  const line = new RegExp(`^seckill_orders_total\\{outcome="${outcome}"\\} (\\d+)$`, 'm').exec(body['text'] as string)
  return Number(line?.[1])
}

/** Reads server-sent events until `enough` says so. */
export async function readEvents(
  url: string,
  enough: (events: readonly { event: string; data: Record<string, unknown> }[]) => boolean,
): Promise<{ event: string; data: Record<string, unknown> }[]> {
  const abort = new AbortController()
  const response = await fetch(url, { signal: abort.signal })
  const events: { event: string; data: Record<string, unknown> }[] = []
  let text = ''
  const decoder = new TextDecoder()
  for await (const chunk of response.body as unknown as AsyncIterable<Uint8Array>) {
    text += decoder.decode(chunk, { stream: true })
    const parts = text.split('\n\n')
    text = parts.pop() ?? ''
    for (const part of parts) {
      const event = /^event: (.*)$/m.exec(part)?.[1]
      const data = /^data: (.*)$/m.exec(part)?.[1]
      if (event !== undefined && data !== undefined) {
        events.push({ event, data: JSON.parse(data) as Record<string, unknown> })
      }
    }
    if (enough(events)) break
  }
  abort.abort()
  return events
}
