import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { setTimeout as sleep } from 'node:timers/promises'
import { projectPath } from '../../examples/shared/files.js'
import { within } from '../../examples/shared/within.js'
import { ensureBuilt } from '../support/build.js'

export interface Answer {
  readonly status: number
  readonly headers: Headers
  readonly body: Record<string, unknown>
}

/** The program of an example, running. */
export interface Running extends AsyncDisposable {
  readonly pid: number
  /** What it wrote to its standard error so far. */
  complaints(): string
  signal(signal: NodeJS.Signals): void
  /** Resolves with its exit code, or with the signal that ended it. */
  readonly ended: Promise<number | NodeJS.Signals>
}

/**
 * What a selling service said, but for what it may say on a busy machine: that an office which starts when a sale opens has
 * opened it as well, that what was merely late is published again, and that a store was away for a moment.
 */
export const unusual = (service: Pick<Running, 'complaints'>): string =>
  service
    .complaints()
    .replace(
      /^(sale .* (\d+ orders were sold before|publishing \d+ orders again)|queue: StoreUnavailableError: .*)\n/gm,
      '',
    )

/** Runs the built program of an example without waiting for it to listen. */
export async function runExample(example: string, args: readonly string[]) {
  await ensureBuilt()
  const env = { ...process.env, PORT: '0' }
  const program = spawn(process.execPath, [projectPath(`build/examples/${example}/main.js`), ...args], { env })
  const output = { out: '', err: '' }
  program.stdout.on('data', (data: Buffer) => (output.out += data.toString()))
  program.stderr.on('data', (data: Buffer) => (output.err += data.toString()))
  const ended = once(program, 'close').then(([code, signal]) => (code ?? signal) as number | NodeJS.Signals)
  return { program, output, ended }
}

/** Runs a built program of an example (`ticket/rows`) to its end. */
export async function runToEnd(program: string, args: readonly string[], env: Readonly<Record<string, string>> = {}) {
  await ensureBuilt()
  const child = spawn(process.execPath, [projectPath('build/examples', `${program}.js`), ...args], {
    env: { ...process.env, ...env },
  })
  const output = { stdout: '', stderr: '' }
  child.stdout.on('data', (chunk: Buffer) => (output.stdout += chunk.toString()))
  child.stderr.on('data', (chunk: Buffer) => (output.stderr += chunk.toString()))
  const [code] = (await once(child, 'close')) as [number]
  return { code, ...output }
}

/** Runs it until it listens, and says where. */
export async function startExample(
  example: string,
  args: readonly string[],
): Promise<{ readonly url: string; readonly running: Running }> {
  const { program, output, ended } = await runExample(example, args)
  let over = false
  void ended.then(() => (over = true))
  const running: Running = {
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
  for (;;) {
    const url = /listening on (http:\S+)/.exec(output.out)?.[1]
    if (url !== undefined) return { url, running }
    if (over) throw new Error(`the service ended before it listened:\n${output.err}`)
    await sleep(20)
  }
}

/** No answer of a service that lives takes this long, however busy its machine. */
export const answerMs = 60_000

/** Asks a service, and reads its answer. */
export async function ask(
  url: string,
  method: string,
  path: string,
  body?: unknown,
  headers: Record<string, string> = {},
  patienceMs = answerMs,
): Promise<Answer> {
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
}

/** Asks again while a store did not answer in its time, which on a busy machine happens to one that is well. */
export async function patiently(question: () => Promise<Answer>): Promise<Answer> {
  for (;;) {
    const answer = await question()
    if (!['unavailable', 'busy'].includes(answer.body['error'] as string)) return answer
    await sleep(50)
  }
}

/** Reads server-sent events until `enough` says so. Rejects when that takes longer than `patienceMs`. */
export async function readEvents(
  url: string,
  enough: (events: readonly { event: string; data: Record<string, unknown> }[]) => boolean,
  patienceMs = 2 ** 31 - 1,
): Promise<{ event: string; data: Record<string, unknown> }[]> {
  const over = new AbortController()
  try {
    return await within(patienceMs, over.signal, async (signal) => {
      const response = await fetch(url, { signal })
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
      return events
    })
  } finally {
    over.abort()
  }
}
