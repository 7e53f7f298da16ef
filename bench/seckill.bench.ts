import { execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { requireProgram } from '../test/services/apt.js'
import { median, type Row } from './report.js'

const root = fileURLToPath(new URL('../../', import.meta.url))
const program = join(root, 'build/examples/seckill/main.js')
const connections = 256
const rounds = 3

/** Every request has a key and a buyer of its own, unique over all runs. */
const wrkScript = `
local threads = 0
function setup(thread) thread:set('number', threads); threads = threads + 1 end
local count = 0
function init(args)
  path = args[1]
  prefix = args[2] .. '-' .. number .. '-'
end
function request()
  count = count + 1
  local key = prefix .. count
  local headers = { ['Host'] = 'bench', ['Content-Type'] = 'application/json', ['Idempotency-Key'] = key }
  return wrk.format('POST', path, headers, '{"buyer":"' .. key .. '"}')
end
`

interface Target {
  readonly url: string
  stop(): Promise<void>
}

async function start(args: readonly string[]): Promise<Target> {
  const child = spawn(process.execPath, [program, '--port', '0', ...args], { stdio: ['ignore', 'pipe', 'inherit'] })
  const ended = once(child, 'exit')
  const url = new Promise<string>((resolve, reject) => {
    let output = ''
    child.stdout.on('data', (chunk: Buffer) => {
      output += chunk.toString()
      const found = /listening on (http:\S+)/.exec(output)?.[1]
      if (found !== undefined) resolve(found)
    })
    void ended.then(() => reject(new Error(`the service ended before it listened: ${output}`)))
  })
  return {
    url: await url,
    async stop() {
      child.kill('SIGTERM')
      await ended
    },
  }
}

async function json(url: string, body?: object): Promise<Record<string, unknown>> {
  const response = await fetch(url, {
    ...(body && { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) }),
  })
  const text = await response.text()
  if (!response.ok) throw new Error(`${url} answered ${response.status}: ${text}`)
  return JSON.parse(text) as Record<string, unknown>
}

async function openSale({ url }: Target, quantity: number): Promise<string> {
  const door = { capacity: 1_000_000_000, refill: 1_000_000, perMs: 1, initial: 1_000_000_000 }
  const sale = await json(`${url}/sales`, { title: 'Bench', quantity, door })
  return sale['id'] as string
}

/** How many requests came to that end so far. */
async function counted({ url }: Target, outcome: string): Promise<number> {
  const text = await (await fetch(`${url}/metrics`)).text()
  return Number(new RegExp(`seckill_orders_total\\{outcome="${outcome}"\\} (\\d+)`).exec(text)?.[1])
}

async function settled({ url }: Target, saleId: string): Promise<void> {
  for (;;) {
    const audit = await json(`${url}/sales/${saleId}/audit`)
    if (audit['settled'] !== true) {
      await sleep(250)
      continue
    }
    if (audit['ok'] !== true) throw new Error(`the audit of the bench's sale does not hold: ${JSON.stringify(audit)}`)
    return
  }
}

/** Answers per second by wrk's own count. */
type Wrk = (target: Target, path: string, seconds: number) => Promise<number>

async function prepareWrk(folder: string): Promise<Wrk> {
  const wrk = await requireProgram('wrk', 'wrk')
  const script = join(folder, 'orders.lua')
  await writeFile(script, wrkScript)
  let runs = 0
  return async ({ url }, path, seconds) => {
    const load = [
      '-t1',
      `-c${connections}`,
      `-d${Math.max(1, Math.round(seconds))}s`,
      '--timeout',
      '30s',
      '-s',
      script,
      url,
    ]
    const { stdout } = await promisify(execFile)(wrk, [...load, '--', path, `${Date.now()}-${++runs}`])
    if (/Socket errors/.test(stdout)) throw new Error(`wrk had errors: ${stdout}`)
    return Number(/Requests\/sec:\s+([\d.]+)/.exec(stdout)?.[1])
  }
}

async function measure(target: Target, wrk: Wrk, seconds: number) {
  const ceilings: number[] = []
  const selling: number[] = []
  const soldOut: number[] = []
  const empty = await openSale(target, 1)
  await warmUp()
  for (let round = 0; round < rounds; round++) {
    ceilings.push(await wrk(target, '/ceiling/any/orders', seconds))
    soldOut.push(await decided('soldOut', `/sales/${empty}/orders`))
    const sale = await openSale(target, 1_000_000_000)
    selling.push(await decided('accepted', `/sales/${sale}/orders`))
    // The next round must not pay for the orders that are still being written.
    await settled(target, sale)
  }
  return { ceiling: median(ceilings), selling: median(selling), soldOut: median(soldOut) }

  /** The compilers of V8 and of Kafka's JVM are done with each way only after some seconds of it. */
  async function warmUp(): Promise<void> {
    const sale = await openSale(target, 1_000_000_000)
    for (const path of ['/ceiling/any/orders', `/sales/${empty}/orders`, `/sales/${sale}/orders`]) {
      await wrk(target, path, 3 * seconds)
    }
    await settled(target, sale)
  }

  async function decided(outcome: string, path: string): Promise<number> {
    const before = await counted(target, outcome)
    const perSecond = await wrk(target, path, seconds)
    const reached = (await counted(target, outcome)) - before
    if (reached < perSecond * seconds * 0.95)
      throw new Error(`only ${reached} of ${perSecond * seconds} were ${outcome}`)
    return perSecond
  }
}

/** The seckill service over HTTP, beside the same server that checks and answers a request to buy without deciding it. */
export async function seckillRows(env: {
  readonly redisUrl: string
  readonly kafkaBrokers: string
  readonly mysqlUrl: string
  readonly seconds: number
}): Promise<Row[]> {
  const folder = await mkdtemp(join(tmpdir(), 'spillway-bench-'))
  const rows: Row[] = []
  const stacks = {
    'embedded, 1 process': ['--data', join(folder, 'bench.db')],
    'full stack, 2 workers': [
      ...['--redis', env.redisUrl, '--kafka', env.kafkaBrokers, '--mysql', env.mysqlUrl],
      ...['--workers', '2', '--name', `bench-${Date.now()}`],
    ],
  }
  try {
    const wrk = await prepareWrk(folder)
    for (const [stack, args] of Object.entries(stacks)) {
      const target = await start(args)
      try {
        const { ceiling, selling, soldOut } = await measure(target, wrk, env.seconds)
        const common = { theirs: ceiling, peer: 'the same server only answering', unit: 'decided requests/s' }
        rows.push({ name: `seckill selling, ${stack}`, ours: selling, ...common })
        rows.push({ name: `seckill sold out, ${stack}`, ours: soldOut, ...common })
      } finally {
        await target.stop()
      }
    }
    return rows
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
}
