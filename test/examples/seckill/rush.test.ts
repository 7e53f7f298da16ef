import { spawn } from 'node:child_process'
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { createServer, type Server } from 'node:http'
import { once } from 'node:events'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, describe, expect, it, onTestFinished } from 'vitest'
import { projectPath } from '../../../examples/shared/files.js'
import { readOptions } from '../../../examples/shared/rush/options.js'
import { rush } from '../../../examples/seckill/rush/rush.js'
import type { RushProgress, RushResult, SaleAudit } from '../../../examples/shared/rush/types.js'
import { freePort } from '../../services/net.js'
import { until } from '../../support/until.js'
import { openSale, runRush, startSeckill } from './program.js'

describe('a rush of the embedded service', () => {
  let service: Awaited<ReturnType<typeof startSeckill>>
  let folder: string
  beforeAll(async () => {
    service = await startSeckill()
    folder = await mkdtemp(join(tmpdir(), 'spillway-rush-'))
  })
  afterAll(async () => {
    await service[Symbol.asyncDispose]()
    await rm(folder, { recursive: true, force: true })
  })

  it('sells every unit once, and writes what it saw', async () => {
    const out = join(folder, 'result.json')
    const plot = join(folder, 'result.html')
    const flags = ['--requests', '3000', '--units', '200', '--connections', '32', '--out', out, '--plot', plot]
    const { code, stdout, stderr } = await runRush('--url', service.url, ...flags)
    expect(stdout).toContain('The sale held.')
    expect(stderr).toMatch(/100%/)
    expect(code).toBe(0)

    const result = JSON.parse(await readFile(out, 'utf8')) as RushResult
    expect(result).toMatchObject({ ok: true, problems: [], requests: 3_000, done: 3_000, errors: 0 })
    expect(result.outcomes).toEqual({ 202: 200, 409: 2_800 })
    expect(result.audit).toMatchObject({ ok: true, settled: true, sold: 200, recordedUnits: 200, rowUnits: 200 })
    const { min, p50, p99, p9999, max } = result.latencyMs
    expect([min, p50, p99, p9999, max]).toEqual([min, p50, p99, p9999, max].toSorted((a, b) => a - b))
    expect(min).toBeGreaterThan(0)
    expect(result.timeline.length).toBeGreaterThan(0)
    expect(result.command).toContain('--requests 3000')

    const page = await readFile(plot, 'utf8')
    expect(page).toContain('uPlot')
    expect(page).toContain('3,000 orders')
    // It needs nothing but itself.
    expect(page).not.toMatch(/(src|href)="/)
  })

  it('takes an open sale, from several threads, at a rate', async () => {
    const sale = await openSale(service.url, { title: 'Open loop', quantity: 50 })
    const flags = ['--sale', sale, '--requests', '400', '--rate', '400', '--connections', '8', '--workers', '2']
    const { code, stdout } = await runRush('--url', service.url, ...flags, '--json-progress')
    const lines = stdout.trim().split('\n')
    const progress = lines.map((line) => JSON.parse(line) as RushProgress)
    const last = progress.at(-1)
    expect(last).toMatchObject({
      state: 'done',
      saleId: sale,
      requests: 400,
      done: 400,
      outcomes: { 202: 50, 409: 350 },
    })
    expect(last?.result?.ok).toBe(true)
    // The last of 400 is due a little before a second has passed.
    expect(last?.result?.seconds).toBeGreaterThan(0.95)
    expect(progress.filter(({ state }) => state === 'running').length).toBeGreaterThan(1)
    expect(code).toBe(0)
  })

  it('ends with 2 when there is no such sale', async () => {
    const { code, stderr } = await runRush('--url', service.url, '--sale', 'nobody-opened-this')
    expect(stderr).toContain('404')
    expect(code).toBe(2)
  })
})

describe('a rush in the terminal of its service', () => {
  it.each(['SIGTERM', 'SIGKILL'] as const)('ends with the service at %s', async (signal) => {
    const folder = await mkdtemp(join(tmpdir(), 'spillway-rush-'))
    onTestFinished(() => rm(folder, { recursive: true, force: true }))
    const port = await freePort()
    const main = projectPath('build/examples/seckill/main.js')
    const args = ['--port', `${port}`, '--data', join(folder, 'sales.db'), '--rush', '5000000']
    const program = spawn(process.execPath, [main, ...args], { stdio: ['ignore', 'pipe', 'pipe'] })
    onTestFinished(() => void program.kill('SIGKILL'))
    let said = ''
    for (const stream of [program.stdout, program.stderr]) {
      stream.on('data', (chunk: Buffer) => (said += chunk.toString()))
    }
    await until(async () => /[1-9]\d* answered/.test(said), 'the rush to be under way')
    program.kill(signal)
    // Both write to these pipes, which end when nobody is left who could.
    await once(program, 'close')
    if (signal === 'SIGTERM') expect(said).toContain('The sale held')
    await expect(fetch(`http://127.0.0.1:${port}/health`)).rejects.toThrow()
  })
})

/** A service that answers orders and audits as it is told: what a rush must notice, a right service does not do. */
async function startLiar(answers: { order: (n: number) => number; audit: Partial<SaleAudit> }) {
  let orders = 0
  const audit: SaleAudit = {
    ...{ settled: true, ok: true, lag: 0, total: 10, sold: 10, recordedOrders: 10, recordedUnits: 10, rows: 10 },
    ...{ rowUnits: 10, rejected: 0, stockDifference: 10, databaseDifference: 10, missingRows: 0, extraRows: 0 },
    ...answers.audit,
  }
  const server = createServer((request, response) => {
    const answer = (status: number, body: object): void => {
      response.writeHead(status, { 'Content-Type': 'application/json' })
      response.end(JSON.stringify(body))
    }
    request.resume().on('end', () => {
      if (request.url === '/health') answer(200, {})
      else if (request.url === '/sales') answer(201, { id: 'liar' })
      else if (request.url === '/sales/liar/level') answer(200, { sold: 0 })
      else if (request.url === '/sales/liar/audit') answer(200, audit)
      else answer(answers.order((orders += 1)), {})
    })
  })
  liars.push(server)
  await once(server.listen(0, '127.0.0.1'), 'listening')
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`
}
const liars: Server[] = []
afterEach(() => {
  for (const server of liars.splice(0)) server.close().closeAllConnections()
})

describe('a rush notices', () => {
  const ten = (n: number): number => (n <= 10 ? 202 : 409)
  const small = { requests: 100, units: 10, connections: 4, auditTimeoutMs: 1_000 }
  const problems = async (url: string) => (await rush({ url, ...small })).problems

  it('nothing, when nothing is wrong', async () => {
    expect(await problems(await startLiar({ order: ten, audit: {} }))).toEqual([])
  })
  it('an audit that does not hold, with exit code 1', async () => {
    const url = await startLiar({ order: ten, audit: { ok: false, rowUnits: 9 } })
    expect(await problems(url)).toEqual(['the audit does not hold'])
    const { code, stdout } = await runRush('--url', url, '--requests', '100', '--connections', '4')
    expect(stdout).toContain('the audit does not hold')
    expect(code).toBe(1)
  })
  it('an audit that never settles', async () => {
    const url = await startLiar({ order: ten, audit: { settled: false, lag: 3 } })
    expect(await problems(url)).toEqual(['the audit did not settle in time (lag 3)'])
  })
  it('a service that is gone, and does not ask it for long', async () => {
    const url = await startLiar({ order: ten, audit: { settled: false } })
    const startedMs = performance.now()
    const gone = rush({ url, ...small, auditTimeoutMs: 600_000 }, ({ state }) => {
      if (state === 'auditing') for (const server of liars.splice(0)) server.close().closeAllConnections()
    })
    expect((await gone).ok).toBe(false)
    expect(performance.now() - startedMs).toBeLessThan(300_000)
  })

  it('an accepted order that was not sold', async () => {
    const url = await startLiar({ order: (n) => (n <= 11 ? 202 : 409), audit: {} })
    expect(await problems(url)).toEqual(['11 orders were accepted, but 10 units were sold'])
  })
  it('an answer that a well-formed order never gets', async () => {
    const url = await startLiar({ order: (n) => (n === 50 ? 500 : ten(n)), audit: {} })
    expect(await problems(url)).toEqual(['1 orders were answered 500'])
  })
  it('and reports its way: running, auditing, then the end with the result', async () => {
    const url = await startLiar({ order: ten, audit: {} })
    const seen: RushProgress[] = []
    const result = await rush({ url, ...small }, (progress) => seen.push(progress))
    expect([...new Set(seen.map(({ state }) => state))]).toEqual(['running', 'auditing', 'done'])
    expect(seen.at(-1)?.result).toBe(result)
    expect(seen.every(({ requests, saleId }) => requests === 100 && saleId === 'liar')).toBe(true)
  })
})

describe('the options of a rush', () => {
  it('are those of the command line', () => {
    const args = [
      '--url',
      'http://h:1',
      '--units',
      '5',
      '--requests',
      '10',
      '--rate',
      '2.5',
      '--duration',
      '3',
      '--workers',
      '2',
    ]
    expect(readOptions(args).rush).toEqual({
      url: 'http://h:1',
      units: 5,
      requests: 10,
      ratePerSecond: 2.5,
      durationSeconds: 3,
      workers: 2,
    })
  })

  it.each([
    [['--requests', '0'], 'requests must be a positive whole number, got 0'],
    [['--units', '1.5'], 'units must be a positive whole number, got 1.5'],
    [['--rate', 'fast'], 'ratePerSecond must be a positive number, got NaN'],
    [['--duration=-1'], 'durationSeconds must be a positive number, got -1'],
    [['--url', 'ftp://h'], 'url is not http or https: ftp://h'],
    [['--url', 'nowhere'], 'url is not a URL: nowhere'],
    [['--sale', 'a', '--units', '2'], 'units are those of a sale the rush opens: give either saleId or units'],
    [['--pace', '1'], "Unknown option '--pace'"],
  ])('are refused at once: %j', (args, message) => {
    expect(() => readOptions(args.map(String))).toThrow(message)
  })

  it('wrong on the command line end it with 2 and the help', async () => {
    const { code, stderr } = await runRush('--requests', 'many')
    expect(stderr).toContain('requests must be')
    expect(stderr).toContain('--connections N')
    expect(code).toBe(2)
    expect(await runRush('--help')).toMatchObject({ code: 0, stderr: '' })
  })
})
