import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { sql } from 'kysely'
import { describe, expect, it, onTestFinished } from 'vitest'
import { openDatabase } from '../../../examples/shared/database.js'
import { OptionsError } from '../../../examples/shared/options.js'
import type { SaleAudit } from '../../../examples/shared/rush/types.js'
import type { Tables } from '../../../examples/shared/selling/tables.js'
import { problemsOf, type Evidence } from '../../../examples/ticket/rows/audit.js'
import { measureRow, type RowResult } from '../../../examples/ticket/rows/measure.js'
import { readOptions, type Row, type RowsOptions } from '../../../examples/ticket/rows/options.js'
import { renderRowsPlot } from '../../../examples/ticket/rows/plot.js'
import { nameOf, renderReport } from '../../../examples/ticket/rows/report.js'
import { isDone, readResults, withResult } from '../../../examples/ticket/rows/results.js'
import { describeWithServices } from '../../services/vitest.js'
import { stackArguments } from '../seckill/stack.js'
import { runToEnd, startExample } from '../service.js'

const optionsOf = (...args: string[]): RowsOptions => {
  const options = readOptions(args, 'here')
  if (options === 'help') throw new Error('help')
  return options
}

const folder = async (): Promise<string> => {
  const made = await mkdtemp(join(tmpdir(), 'spillway-rows-'))
  onTestFinished(() => rm(made, { recursive: true, force: true }))
  return made
}

describe('the options', () => {
  it('name the rows: each for 1,000 tickets and for a hundredth of the requests', () => {
    expect(optionsOf().rows.map(nameOf)).toEqual([
      '1e5, 1,000 tickets',
      ...['1e6, 1,000 tickets', '1e6, 10,000 tickets', '5e6, 1,000 tickets', '5e6, 50,000 tickets'],
      ...['1e7, 1,000 tickets', '1e7, 100,000 tickets', '5e7, 1,000 tickets', '5e7, 500,000 tickets'],
    ])
    expect(optionsOf('--rows', '1e6,1000000', '--fewer', '3000', '--kill-every', '2.5').rows.map(nameOf)).toEqual([
      '1e6 (on 3,000 requests), 1,000 tickets, a server killed every 2.5 s',
      '1e6 (on 3,000 requests), 30 tickets, a server killed every 2.5 s',
    ])
    expect(optionsOf('--fewer', '7', '--rows', '1e5').rows.map(({ tickets }) => tickets)).toEqual([1_000, 1])
    expect(optionsOf('--again', '--out', 'there', '--servers', '10', '--connections', '8')).toMatchObject({
      ...{ again: true, out: 'there', servers: 10, connections: 8 },
      command: 'npm run ticket:rows -- --again --out there --servers 10 --connections 8',
    })
    expect(readOptions(['--help'], 'here')).toBe('help')
  })

  it.each([
    [['--rows', '2e5'], '--rows knows 1e5, 1e6, 5e6, 1e7, 5e7, got "2e5"'],
    [['--rows', ''], '--rows needs a row'],
    [['--fewer', '0'], '--fewer must be an integer of at least 1, got "0"'],
    [['--kill-every', '0'], '--kill-every must be a number of seconds above 0 and up to 86400, got "0"'],
    [['--kill-every', 'often'], 'got "often"'],
    [['--servers', '1.5'], '--servers must be an integer from 1 to 256, got "1.5"'],
    [['--pace', '1'], "Unknown option '--pace'"],
  ])('are refused at once: %j', (args, message) => {
    const read = (): unknown => readOptions(args, 'here')
    expect(read).toThrow(OptionsError)
    expect(read).toThrow(message)
  })

  it('end the program with 2 and its help when they are refused', async () => {
    const { code, stderr } = await runToEnd('ticket/rows', ['--rows', '3'])
    expect(stderr).toContain('got "3"')
    expect(stderr).toContain('--kill-every SECONDS')
    expect(code).toBe(2)
    expect(await runToEnd('ticket/rows', ['--help'])).toMatchObject({ code: 0, stderr: '' })
  })
})

const row: Row = { row: 1e6, requests: 3_000, tickets: 30, rule: 'hundredth' }
const books: SaleAudit = {
  ...{ settled: true, ok: true, lag: 0, total: 30, sold: 30, recordedOrders: 30, recordedUnits: 30, rows: 30 },
  ...{ rowUnits: 30, rejected: 0, stockDifference: 30, databaseDifference: 30, missingRows: 0, extraRows: 0 },
}
const evidence: Evidence = { problems: [], done: 3_000, outcomes: { 202: 30, 409: 2_970 }, audit: books, kills: 0 }

describe('the audit of a row', () => {
  it('holds when every ticket was sold once, and every order is in the database once', () => {
    expect(problemsOf(row, evidence)).toEqual([])
    const few = { ...books, total: 30, sold: 20, rows: 20 }
    const all = { ...evidence, done: 20, outcomes: { 202: 20 }, audit: few }
    expect(problemsOf({ ...row, requests: 20 }, all)).toEqual([])
  })

  it.each<[string, Partial<Evidence>, string]>([
    ['a ticket too many', { audit: { ...books, sold: 31 } }, '31 tickets were sold where 30 could be'],
    ['a ticket that nobody got', { audit: { ...books, sold: 29 } }, '29 tickets were sold where 30 could be'],
    [
      'an order too many in the database',
      { audit: { ...books, rows: 31 } },
      'the database has 31 orders for 30 tickets',
    ],
    ['an order that stands for another', { audit: { ...books, missingRows: 1, extraRows: 1 } }, 'the database has 30'],
    ['a buyer who was not told', { outcomes: { 202: 29, 409: 2_971 } }, '29 orders were accepted for 30 tickets'],
    [
      'a request that was not sent',
      { done: 2_999, outcomes: { 202: 30, 409: 2_969 } },
      '2999 of 3000 requests were sent',
    ],
    ['a request without a decision', { outcomes: { 202: 30, 409: 2_969 } }, '1 requests were not decided'],
    ['what the load itself saw', { problems: ['the audit does not hold'] }, 'the audit does not hold'],
  ])('does not hold for %s', (_, changes, problem) => {
    expect(problemsOf(row, { ...evidence, ...changes }).join('\n')).toContain(problem)
  })

  it('does not hold when servers were to be killed, and none was', () => {
    const killed = { ...row, killEverySeconds: 1 }
    expect(problemsOf(killed, evidence)).toEqual(['no ticketing server was killed'])
    expect(problemsOf(killed, { ...evidence, kills: 1 })).toEqual([])
  })
})

const latency = { min: 1, mean: 2, p50: 2, p75: 3, p90: 4, p95: 5, p99: 9, p999: 20, p9999: 30, max: 40 }
const resultOf = (changes: Partial<RowResult> = {}): RowResult => ({
  ...row,
  ...{ done: 3_000, completed: 3_000, failed: 0, resent: 0, accepted: 30, outcomes: evidence.outcomes },
  ...{ seconds: 1.5, perSecond: 2_000, latencyMs: latency, settledAfterSeconds: 0.5, kills: 0, audit: books },
  memory: [
    { name: 'ticketing server', pid: 1, peakMiB: 160 },
    { name: 'ticketing server', pid: 2, peakMiB: 1_170 },
    { name: 'Redis', pid: 3, peakMiB: 12 },
  ],
  ...{ problems: [], servers: 2, connections: 256, command: 'npm run ticket:rows', commit: 'abc' },
  ...{ date: '2020-02-02', machine: ['a machine'], loadAverage: 0.25 },
  ...changes,
})

describe('the results', () => {
  it('know a row that was run as it would be run now, and held', () => {
    const result = resultOf()
    expect(isDone([result], result)).toBe(true)
    for (const change of [
      ...[{ commit: 'def' }, { requests: 4_000 }, { tickets: 40 }, { servers: 3 }, { connections: 8 }],
      ...[{ killEverySeconds: 1 }, { rule: 'thousand' } as const],
    ]) {
      expect(isDone([result], { ...result, ...change }), JSON.stringify(change)).toBe(false)
    }
    expect(isDone([resultOf({ problems: ['one'] })], result)).toBe(false)
  })

  it('keep one run of each row, never one on fewer requests instead of one on more', () => {
    const whole = resultOf({ requests: 1e6, tickets: 10_000 })
    const fewer = resultOf()
    const killed = resultOf({ killEverySeconds: 3 })
    const first = resultOf({ row: 1e5, requests: 1e5, tickets: 1_000, rule: 'thousand' })
    expect(withResult([killed, fewer], whole)).toEqual([whole, killed])
    expect(withResult([whole], fewer)).toEqual([fewer, whole])
    expect(withResult([fewer], resultOf({ commit: 'def' }))).toEqual([resultOf({ commit: 'def' })])
    expect(withResult([whole, killed], first)).toEqual([first, whole, killed])
  })

  it('are read from the report; a file that is none is refused', async () => {
    const out = await folder()
    expect(await readResults(out)).toEqual([])
    await writeFile(join(out, 'report.json'), JSON.stringify({ results: [resultOf()] }))
    expect(await readResults(out)).toEqual([resultOf()])
    for (const text of ['{', '{"rows":[]}']) {
      await writeFile(join(out, 'report.json'), text)
      await expect(readResults(out)).rejects.toThrow(`${join(out, 'report.json')} is no report of this program`)
    }
  })
})

describe('the report', () => {
  const whole = { row: 1e5, requests: 1e5, tickets: 1_000, rule: 'thousand' } as const
  const results = [
    resultOf({ ...whole, completed: 1e5 }),
    resultOf(),
    resultOf({ row: 5e6, requests: 5e6, tickets: 50_000, problems: ['the audit does not hold'] }),
    resultOf({ killEverySeconds: 3, kills: 4, resent: 77, acceptedBeforeKills: 12 }),
  ]

  it('has the document beside ours, and says where it was not all', () => {
    const report = renderReport(results)
    expect(report).toContain('| 1e5 | yes | yes | 2,000/s in 2 s | 2,000/s in 2 s |')
    expect(report).toContain('| 1e6 | yes | on 3,000 requests | – | 2,000/s in 2 s |')
    expect(report).toContain('| 5e6 | partly | no | – |')
    expect(report).toContain('| 5e7 | no | not run | – | – |')
    expect(report).toContain(
      '| 1e6 (on 3,000 requests), 30 tickets | 3,000 | 0 | 1.5 | 2,000 | 2 | 9 | 20 | 30 | 30 | 30 |',
    )
    expect(report).toContain('✘ the audit does not hold')
    expect(report).toContain('| 1e6 (on 3,000 requests), 30 tickets, a server killed every 3 s | 4 | 77 | 12 | 30 |')
    expect(report).toContain('| 160, 1,170 | 12 |')
    expect(report).toContain('- a machine')
  })

  it('has a plot of every row', () => {
    const plot = renderRowsPlot(results)
    for (const result of results) expect(plot).toContain(`${nameOf(result)}</text>`)
    expect(plot).toContain('2,000, did not hold')
    expect(plot).toContain('document: completed partly')
  })
})

describeWithServices('npm run ticket:rows', ['redis', 'kafka', 'mysql'], (servers) => {
  const env = {
    SPILLWAY_REDIS_URL: servers.redis.url,
    SPILLWAY_KAFKA_BROKERS: servers.kafka.brokers.join(),
    SPILLWAY_MYSQL_URL: servers.mysql.url,
  }
  const run = (...args: string[]) => runToEnd('ticket/rows', ['--rows', '1e6', ...args], env)

  it('runs a row, writes it down, and does not run it again', async () => {
    const out = await folder()
    const args = ['--fewer', '3000', '--connections', '16', '--out', out]
    const { code, stdout, stderr } = await run(...args)
    expect(stdout).toContain('✔ The row holds.')
    expect(stdout).not.toContain('✘')
    expect(code, stderr).toBe(0)
    expect((await readdir(out)).sort()).toEqual(['REPORT.md', 'report.json', 'report.svg'])
    const results = await readResults(out)
    expect(results.map(({ tickets }) => tickets)).toEqual([30, 1_000])
    for (const { tickets, memory, audit, ...result } of results) {
      expect(result).toMatchObject({ done: 3_000, completed: 3_000, failed: 0, accepted: tickets, problems: [] })
      expect(audit).toMatchObject({ ok: true, sold: tickets, rows: tickets, recordedOrders: tickets })
      // The stores are not this program's to watch: they were there before.
      const names = ['order service', 'primary process', 'ticketing server', 'ticketing server']
      expect(memory.map(({ name }) => name).sort()).toEqual(names)
      for (const { peakMiB } of memory) expect(peakMiB).toBeGreaterThan(20)
    }
    expect(await readFile(join(out, 'REPORT.md'), 'utf8')).toContain('| 1e6 | yes | on 3,000 requests |')

    const again = await run(...args)
    expect(again.stderr.match(/in the report already/g)).toHaveLength(2)
    expect(again).toMatchObject({ code: 0, stdout: '' })
    expect(await readResults(out)).toEqual(results)
  })

  it('sells every ticket once while servers are killed', async () => {
    const out = await folder()
    const { code, stdout } = await run('--fewer', '20000', '--connections', '32', '--kill-every', '1', '--out', out)
    expect(stdout).not.toContain('✘')
    expect(code).toBe(0)
    const results = await readResults(out)
    expect(results.map(({ tickets, audit }) => [tickets, audit?.sold, audit?.rows])).toEqual([
      [200, 200, 200],
      [1_000, 1_000, 1_000],
    ])
    for (const { kills, failed } of results) expect([kills > 0, failed]).toEqual([true, 0])
  })

  it('writes a row as failed that has an order in the database which nobody sold', async () => {
    const stack = await stackArguments(servers)
    const { url, running } = await startExample('ticket', [...stack.args, '--servers', '1'])
    await using service = running
    const db = openDatabase<Tables>({ url: stack.database })
    onTestFinished(() => db.destroy())
    // Written together with the first orders of the show, so that it is there at every look of the audit that could hold.
    await sql`create trigger by_hand after update on sales for each row
      insert ignore into orders (sale_id, order_id, buyer, quantity, state, created_at_ms)
      select new.id, 'by-hand', 'nobody', 1, 'recorded', 0 from dual where new.recorded_orders > 0`.execute(db)
    const measured = await measureRow(
      { row: 1e5, requests: 2_000, tickets: 20, rule: 'hundredth' },
      { servers: 1, connections: 16 },
      { url, service: { pid: service.pid } },
      () => undefined,
    )
    expect(measured.problems).toEqual([
      'the audit does not hold',
      'the database has 21 orders for 20 tickets that were sold',
    ])
    expect(measured).toMatchObject({ accepted: 20, completed: 2_000, audit: { ok: false, sold: 20, extraRows: 1 } })
  })
})
