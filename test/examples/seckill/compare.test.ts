import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, it, onTestFinished } from 'vitest'
import type { Measured, Phase } from '../../../examples/seckill/compare/measure.js'
import { readOptions } from '../../../examples/seckill/compare/options.js'
import { renderPlot } from '../../../examples/seckill/compare/plot.js'
import { renderReport, type Comparison } from '../../../examples/seckill/compare/report.js'
import { describeWithServices } from '../../services/vitest.js'
import { runToEnd } from '../service.js'

const runCompare = (args: readonly string[], env?: Readonly<Record<string, string>>) =>
  runToEnd('seckill/compare', args, env)

const phase: Phase = {
  ...{ seconds: 10, answered: 5_000, perSecond: 500, sold: 4_000, soldPerSecond: 400, clashes: 0 },
  ...{ p50: 4, p99: 90 },
}
const measured = (strategy: Measured['strategy'], more: Partial<Measured> = {}): Measured => ({
  strategy,
  selling: phase,
  sellOut: { ...phase, units: 1_000, goneAfterSeconds: 2.5 },
  soldOut: { ...phase, perSecond: 12_345 },
  problems: [],
  ...more,
})
const comparison = (...all: Measured[]): Comparison => ({
  command: 'npm run compare',
  date: '2020-02-02',
  connections: 256,
  machine: ['a machine'],
  loadAverage: { before: 0.25, after: 3 },
  measured: all,
})

describe('the report', () => {
  it('has the figures of each strategy, and those of the document', () => {
    const report = renderReport(
      comparison(measured('stock'), measured('optimistic', { selling: { ...phase, clashes: 2_500 } })),
    )
    expect(report).toContain('| `stock` | **400** | 4 / 90 ms | none | 2.5 s | **12,345** | 4 / 90 ms | balance |')
    expect(report).toContain('| `optimistic` | **400** | 4 / 90 ms | 50 % of 500/s |')
    expect(report).toMatch(/\| 1 \| 600 \| 1,300 \|/)
    expect(report).toMatch(/\| 7 \| 1,000 \| 2,500 \|/)
    expect(report.match(/\| 7 \| 16,000–18,000 \| not told apart \|/g)).toHaveLength(2)
    expect(report).toContain('Load average before the first load 0.3, after the last 3.0')
  })

  it('says what did not hold', () => {
    const report = renderReport(comparison(measured('redis-lock', { problems: ['selling: the audit does not hold'] })))
    expect(report).toContain('| ✘ selling: the audit does not hold |')
  })
})

describe('the plot', () => {
  it('draws every figure from zero, to one scale', () => {
    const plot = renderPlot([measured('stock'), measured('redis-lock')])
    const bars = [...plot.matchAll(/<rect class="([\w -]+)" x="([\d.]+)" y="\d+" width="([\d.]+)"/g)].map(
      ([, kind, x, width]) => ({ kind, x: Number(x), width: Number(width) }),
    )
    const [selling, soldOut] = bars
    expect(bars.map(({ kind }) => kind)).toEqual([
      'selling',
      'sold-out',
      'selling',
      'sold-out',
      'theirs',
      'theirs range',
    ])
    expect((soldOut?.width ?? 0) / (selling?.width ?? 1)).toBeCloseTo(12_345 / 400, 0)
    // A range is open between its ends.
    const [from, to] = bars.slice(-2)
    expect(to?.x).toBeCloseTo((from?.x ?? 0) + (from?.width ?? 0), 0)
    expect(plot).toContain('>16,000–18,000</text>')
  })
})

describe('the options', () => {
  it('are those of the command line', () => {
    expect(readOptions([], 'here')).toEqual({
      ...{ only: ['stock', 'optimistic', 'redis-lock', 'zookeeper-lock'], load: { durationSeconds: 10 } },
      ...{ connections: 256, units: 1_000, workers: 2, out: 'here' },
    })
    const args = [
      '--only',
      'redis-lock,stock',
      '--requests',
      '500',
      '--connections',
      '8',
      '--units',
      '5',
      '--out',
      'there',
    ]
    expect(readOptions(args, 'here')).toMatchObject({
      ...{ only: ['stock', 'redis-lock'], load: { requests: 500 }, connections: 8, units: 5, out: 'there' },
    })
    expect(readOptions(['--help'], 'here')).toBe('help')
  })

  it.each([
    [['--only', 'stock,hope'], '--only knows stock, optimistic, redis-lock, zookeeper-lock, got "hope"'],
    [['--seconds', '0'], '--seconds must be a positive whole number, got "0"'],
    [['--units', 'few'], '--units must be a positive whole number, got "few"'],
    [['--seconds', '1', '--requests', '1'], 'give either --seconds or --requests'],
    [['--pace', '1'], "Unknown option '--pace'"],
  ])('are refused at once: %j', (args, message) => expect(() => readOptions(args, '.')).toThrow(message))
})

describeWithServices('npm run compare', ['redis', 'kafka', 'mysql', 'zookeeper'], (servers) => {
  it('measures all four, finds that none oversold, and writes what it found', async () => {
    const out = await mkdtemp(join(tmpdir(), 'spillway-compare-'))
    onTestFinished(() => rm(out, { recursive: true, force: true }))
    // The servers of this test run, where it would start its own.
    const env = {
      SPILLWAY_REDIS_URL: servers.redis.url,
      SPILLWAY_KAFKA_BROKERS: servers.kafka.brokers.join(),
      SPILLWAY_MYSQL_URL: servers.mysql.url,
      SPILLWAY_ZOOKEEPER_SERVERS: servers.zookeeper.servers.join(),
    }
    const load = ['--requests', '150', '--connections', '16', '--units', '40']
    const compare = async () => {
      const { code, stderr } = await runCompare([...load, '--out', out], env)
      expect(stderr).toContain('zookeeper-lock, sold out')
      return { code, stderr, found: JSON.parse(await readFile(join(out, 'report.json'), 'utf8')) as Comparison }
    }
    // A store that stands still for a second, as one may on a busy machine, is a problem that the report rightly names.
    const stoodStill = ({ found }: Awaited<ReturnType<typeof compare>>): boolean => {
      const problems = found.measured.flatMap((one) => one.problems)
      return problems.length > 0 && problems.every((problem) => /^[\w -]+: \d+ orders were answered 503$/.test(problem))
    }
    let comparison = await compare()
    while (stoodStill(comparison)) comparison = await compare()
    const { code, stderr, found } = comparison
    expect(stderr).not.toContain('✘')
    expect(code).toBe(0)

    expect(found.measured.map(({ strategy }) => strategy)).toEqual([
      'stock',
      'optimistic',
      'redis-lock',
      'zookeeper-lock',
    ])
    for (const { selling, sellOut, soldOut, problems } of found.measured) {
      expect(problems).toEqual([])
      expect(selling.sold + selling.clashes).toBe(150)
      expect(sellOut).toMatchObject({ sold: 40, units: 40 })
      expect(soldOut).toMatchObject({ answered: 150, sold: 0, clashes: 0 })
    }
    expect(found.machine.join()).toMatch(/Redis \d.*ZooKeeper \d/)
    expect(await readFile(join(out, 'REPORT.md'), 'utf8')).toContain('`zookeeper-lock`')
    expect(await readFile(join(out, 'report.svg'), 'utf8')).toContain('zookeeper-lock')
  })

  it('ends with 2 and its help for wrong options', async () => {
    const { code, stderr } = await runCompare(['--units', 'few'])
    expect(stderr).toContain('--connections N')
    expect(code).toBe(2)
    expect(await runCompare(['--help'])).toMatchObject({ code: 0, stderr: '' })
  })
})
