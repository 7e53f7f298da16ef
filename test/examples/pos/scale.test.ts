import { createServer, type Server } from 'node:http'
import { once } from 'node:events'
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterEach, beforeAll, describe, expect, it, onTestFinished } from 'vitest'
import { startFleet } from '../../../examples/pos/scale/fleet.js'
import { readScaleOptions, type ScaleOptions } from '../../../examples/pos/scale/options.js'
import { nameOf } from '../../../examples/pos/scale/report.js'
import { measure, type RunResult } from '../../../examples/pos/scale/scale.js'
import { OptionsError } from '../../../examples/shared/options.js'
import { requireProgram } from '../../services/apt.js'
import { ensureBuilt } from '../../support/build.js'
import { runProgram, startShop, startTill, untilReady } from './till.js'

const optionsOf = (...args: string[]): ScaleOptions => {
  const options = readScaleOptions(args)
  if (options === 'help') throw new Error('help')
  return options
}

describe('the options of a measurement', () => {
  it('name the runs: each place of sessions with each number of servers and users', () => {
    expect(optionsOf().runs.map(nameOf)).toEqual([
      '500 users, 1 server, sessions in memory',
      '2,000 users, 1 server, sessions in memory',
      '500 users, 4 servers, sessions in memory, sticky cookies',
      '2,000 users, 4 servers, sessions in memory, sticky cookies',
      '500 users, 4 servers, sessions in one Redis',
      '2,000 users, 4 servers, sessions in one Redis',
      '500 users, 4 servers, sessions in Redis Cluster 3+3',
      '2,000 users, 4 servers, sessions in Redis Cluster 3+3',
      '2,000 users, 4 servers, sessions in Redis Cluster 3+3, a master killed',
    ])
    expect(
      optionsOf('--sessions', 'redis,redis-cluster', '--servers', '4', '--users', '7', '--kill-master').runs,
    ).toEqual([
      { servers: 4, sessions: 'redis', users: 7 },
      { servers: 4, sessions: 'redis-cluster', users: 7, killMaster: true },
    ])
    expect(optionsOf('--servers', '1', '--sessions', 'redis-cluster,mysql', '--users', '7').runs.map(nameOf)).toEqual([
      '7 users, 1 server, sessions in Redis Cluster 3+3',
      '7 users, 1 server, sessions in MariaDB or MySQL',
    ])
    expect(optionsOf('--users', '7').command).toBe('npm run pos:scale -- --users 7')
    const outOf = (...args: string[]) => (readScaleOptions(args, 'reports') as ScaleOptions).out
    expect([outOf(), outOf('--plots', 'p'), outOf('--users', '500,2000'), outOf('--users', '7', '--out', 'o')]).toEqual(
      [...['reports', 'reports', undefined, 'o']],
    )
  })

  it.each([
    [['--users', '0'], '--users must be an integer from 1 to 100000, got "0"'],
    [['--servers', '5'], '--servers must be an integer from 1 to 4, got "5"'],
    [['--sessions', 'paper'], '--sessions must be of memory, redis, redis-cluster, mysql, got "paper"'],
    [['--ramp', 'slow'], '--ramp must be an integer from 0 to 3600, got "slow"'],
    [['--adds', '1.5'], '--adds must be an integer from 1 to 10000, got "1.5"'],
    [['--users', ''], 'need a value each'],
    [['--url', 'nowhere'], '--url must be a URL beginning with http:// or https://, got "nowhere"'],
    [['--url', 'http://till/cart'], 'without a path'],
    [['--pace', '1'], "Unknown option '--pace'"],
    [['--kill-master', '--sessions', 'redis'], '--kill-master needs a Redis Cluster'],
  ])('are refused at once: %j', (args, message) => {
    const read = (): unknown => readScaleOptions(args)
    expect(read).toThrow(OptionsError)
    expect(read).toThrow(message)
  })

  it('end the program with 2 and its help when they are refused', async () => {
    const { ended, output } = await runProgram('scale', '--users', '0')
    expect(await ended).toBe(2)
    expect(output.err).toContain('--users must be an integer from 1 to 100000, got "0"')
    expect(output.err).toContain('--users N')
  })
})

describe('a measurement', () => {
  it('of a service that runs writes down what it saw', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'spillway-scale-'))
    onTestFinished(() => rm(folder, { recursive: true, force: true }))
    await using shop = await startShop('--products', '100', '--latency', '0,2', '--per-second', '1000')
    await using till = await startTill('--upstream', shop.url, '--upstream-rate', '200')
    await untilReady(till.url)
    const [out, plots] = [join(folder, 'report'), join(folder, 'plots')]
    const { ended, output } = await runProgram(
      'scale',
      ...['--url', till.url, '--servers', '1', '--sessions', 'memory', '--users', '30'],
      ...['--ramp', '1', '--adds', '4', '--pause', '100'],
      ...['--out', out, '--plots', plots],
    )
    expect(await ended, output.err).toBe(0)
    expect(output.out).toContain('No request failed, and every cart is complete.')
    expect(output.err).toMatch(/products added/)

    const { results } = JSON.parse(await readFile(join(out, 'report.json'), 'utf8')) as { results: RunResult[] }
    const [result] = results as [RunResult]
    expect(result).toMatchObject({ requests: 120, failed: 0, unanswered: 0, outcomes: { 200: 120 }, completeCarts: 30 })
    // The last of them comes just before a second has passed, and adds three times more, a tenth of a second apart.
    expect(result.seconds).toBeGreaterThan(1.2)
    const { min, p50, p99, max } = result.latencyMs
    expect([min, p50, p99, max]).toEqual([min, p50, p99, max].toSorted((a, b) => a - b))
    expect(result.during).toMatchObject({ upstreamAnswers: 0, productLoads: 0, sessionReads: 90 })
    expect((await readdir(out)).sort()).toEqual(['REPORT.md', 'report.json', 'report.svg'])
    expect(await readFile(join(out, 'report.svg'), 'utf8')).toContain('30 users, 1 server, sessions in memory')
    const text = await readFile(join(out, 'REPORT.md'), 'utf8')
    expect(text).toContain('](report.svg)')
    expect(text).toMatch(/\| 2,000 users, 4 servers, sessions in Redis Cluster 3\+3 \| > 95 % failed.* \| not run \|/)
    expect(text).toContain('| 30 users, 1 server, sessions in memory |')
    expect(text).toContain('npm run pos:scale -- --url')
    expect(await readdir(plots)).toEqual(['1-memory-30.html'])
    expect(await readFile(join(plots, '1-memory-30.html'), 'utf8')).toContain('30 users, 1 server')
  })

  it('ends what it started when it is stopped', async () => {
    await requireProgram('haproxy', 'haproxy')
    const args = ['--servers', '2', '--sessions', 'memory', '--users', '50', '--adds', '100']
    const { program, ended, output } = await runProgram('scale', ...args)
    while (!output.err.includes('products added')) {
      expect(program.exitCode, output.err).toBe(null)
      await sleep(100)
    }
    const list = await readFile(`/proc/${program.pid}/task/${program.pid}/children`, 'utf8')
    const started = list.trim().split(' ').map(Number)
    // The shop, two servers, the balancer.
    expect(started).toHaveLength(4)
    program.kill('SIGTERM')
    expect(await ended).toBe(2)
    const lives = (pid: number): boolean => {
      try {
        return process.kill(pid, 0)
      } catch {
        return false
      }
    }
    await expect.poll(() => started.filter(lives), { timeout: 60_000 }).toEqual([])
  })

  it('of two servers with sessions in memory brings everybody back to the same one', async () => {
    await ensureBuilt()
    await requireProgram('haproxy', 'haproxy')
    const backend = { args: [], [Symbol.asyncDispose]: async () => undefined }
    const shopArgs = ['--products', '100', '--latency', '0,2', '--per-second', '1000']
    const tillArgs = ['--upstream-rate', '200', '--rehearse', '0']
    await using fleet = await startFleet({ servers: 2, sessions: 'memory', backend, shopArgs, tillArgs })
    const options = optionsOf('--ramp', '1', '--adds', '5', '--pause', '50')
    const run = { servers: 2, sessions: 'memory', users: 20 } as const
    const result = await measure(run, options, fleet, () => undefined)
    expect(result).toMatchObject({ requests: 100, failed: 0, completeCarts: 20 })
    // Without a shared cache each server has fetched everything for itself.
    expect(result.before.upstreamProducts).toBe(200)
  })
})

const servers: Server[] = []
afterEach(() => {
  for (const server of servers.splice(0)) server.close().closeAllConnections()
})

/** A till that answers as it is told: what a measurement must notice, a right till does not do. */
async function startLiar(answers: { add: (n: number) => number | 'silence'; kept?: number; delayMs?: number }) {
  let adds = 0
  const carts = new Map<string, string[]>()
  const server = createServer((request, response) => {
    const answer = (status: number, body: object, headers = {}): void => {
      response.writeHead(status, { 'content-type': 'application/json', ...headers }).end(JSON.stringify(body))
    }
    let body = ''
    request.on('data', (chunk: Buffer) => (body += chunk.toString()))
    request.on('end', () => {
      const { url = '' } = request
      const id = /till=(\w+)/.exec(request.headers.cookie ?? '')?.[1] ?? `s${adds}`
      const cart = carts.get(id) ?? []
      if (url.startsWith('/products')) answer(200, { products: [{ id: 'a' }, { id: 'b' }] })
      else if (url === '/metrics') response.end('pos_session_reads_total 0\n')
      else if (url === '/cart') {
        const lines = cart.slice(answers.kept ?? 0).map((productId) => ({ productId, quantity: 1 }))
        answer(200, { lines })
      } else {
        const status = answers.add((adds += 1))
        if (status === 'silence') return
        if (status === 200) carts.set(id, [...cart, (JSON.parse(body) as { productId: string }).productId])
        setTimeout(() => answer(status, {}, { 'set-cookie': `till=${id}; Path=/` }), answers.delayMs ?? 0)
      }
    })
  })
  servers.push(server)
  await once(server.listen(0, '127.0.0.1'), 'listening')
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  const cpu = async () => ({ servers: 0, balancer: 0, stores: 0 })
  // Above a second undici counts a time-out in turns of its clock, of which a pause of the machine is one.
  const options = optionsOf('--ramp', '0', '--adds', '5', '--pause', '20', '--timeout', '3000')
  const run = { servers: 1, sessions: 'memory', users: 4 } as const
  return measure(run, options, { url, servers: [url], cpu }, () => undefined)
}

describe('a measurement notices', () => {
  beforeAll(() => ensureBuilt())

  it('nothing, when nothing is wrong', async () => {
    expect(await startLiar({ add: () => 200 })).toMatchObject({ requests: 20, failed: 0, completeCarts: 4 })
  })
  it('a request that failed', async () => {
    const result = await startLiar({ add: (n) => (n === 7 ? 503 : 200) })
    expect(result).toMatchObject({ requests: 20, failed: 1, outcomes: { 200: 19, 503: 1 }, completeCarts: 4 })
  })
  it('a request without an answer, and goes on', async () => {
    const result = await startLiar({ add: (n) => (n === 7 ? 'silence' : 200) })
    expect(result).toMatchObject({ requests: 20, failed: 1, unanswered: 1, outcomes: { 200: 19 } })
  })
  it('carts that lost something', async () => {
    expect(await startLiar({ add: () => 200, kept: 1 })).toMatchObject({ failed: 0, completeCarts: 0 })
  })
  it('answers that come late, also by those who waited behind them', async () => {
    // The second is due 20 ms after the first, and waits for it: 880 ms. The third has waited for 1,310 ms.
    const last = 5 * 450 - 4 * 20
    for (;;) {
      const { latencyMs, over800, over1200 } = await startLiar({ add: () => 200, delayMs: 450 })
      expect(latencyMs.max).toBeGreaterThan(last - 20)
      expect(over800).toBeGreaterThanOrEqual(0.8)
      expect(over1200).toBeGreaterThanOrEqual(0.6)
      // A machine that held nobody up for long made nobody late but those that the answers did.
      if (latencyMs.max > last + 250) continue
      expect(over800).toBe(0.8)
      expect(over1200).toBe(0.6)
      break
    }
  })
})
