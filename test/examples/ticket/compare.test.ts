import { describe, expect, it } from 'vitest'
import { OptionsError } from '../../../examples/shared/options.js'
import { median, ratios, type Measured } from '../../../examples/ticket/compare/measure.js'
import { readOptions } from '../../../examples/ticket/compare/options.js'
import { renderReport } from '../../../examples/ticket/compare/report.js'
import { runToEnd } from '../service.js'

const measured = (name: string, ...perSecondOfRounds: readonly number[]): Measured => ({
  ...{ name, perSecond: median(perSecondOfRounds), p50: 4.25, p99: 90, perSecondOfRounds },
  processorUs: { server: undefined, redis: 9.9 },
  settledAfterSeconds: name === 'ours' ? 2.5 : undefined,
})

describe('the ratio', () => {
  it('is taken round by round, since a round is slow for all alike', () => {
    const all = ratios(measured('ours', 100, 300, 900), measured('document', 200, 300, 450))
    expect(all).toEqual([0.5, 1, 2])
    expect(median(all)).toBe(1)
  })
})

describe('the report', () => {
  const all = [measured('ours', 100, 300, 900), measured('less', 400, 300, 900), measured('document', 200, 300, 450)]
  const comparison = {
    ...{ command: 'npm run ticket:compare', date: '2020-02-02', connections: 256, tickets: 1_000, rounds: 3 },
    ...{ machine: ['a machine'], loadAverage: { before: 0.25, after: 3 }, selling: all, soldOut: all },
    servers: [{ name: 'ours', about: 'the service' }],
  }

  it('has the ratios of every round, their medians, and what only ours does', () => {
    const report = renderReport(comparison)
    expect(report).toContain('| `ours` | **300** | 4.3 / 90.0 ms | unknown | 9.9 µs |  |  |  |  |')
    expect(report).toContain('| `less` | **400** | 4.3 / 90.0 ms | unknown | 9.9 µs |  |  |  |  |')
    expect(report).toContain(
      '| `document` | **300** | 4.3 / 90.0 ms | unknown | 9.9 µs | 2.00× 1.00× 2.00× | **2.00×** | 0.50× 1.00× 2.00× | **1.00×** |',
    )
    expect(report).toContain('in 3 rounds')
    expect(report).toContain('publishes each order to Kafka before it answers')
    expect(report).toContain('(here within 2.5 s)')
  })
})

describe('the options', () => {
  it('are those of the command line', () => {
    expect(readOptions(['--seconds', '2', '--servers', '3'], 'here')).toEqual({
      ...{ seconds: 2, rounds: 5, connections: 256, tickets: 1_000, servers: 3, out: 'here' },
    })
  })

  it.each([
    [['--seconds', '0'], '--seconds must be an integer of at least 1, got "0"'],
    [['--servers', 'few'], '--servers must be an integer of at least 1, got "few"'],
    [['--workers', '2'], "Unknown option '--workers'"],
  ])('are refused at once: %j', (args, message) => {
    const read = (): unknown => readOptions(args, '.')
    expect(read).toThrow(OptionsError)
    expect(read).toThrow(message)
  })

  it('end the program with 2 and its help when they are refused', async () => {
    const { code, stderr } = await runToEnd('ticket/compare', ['--rounds', 'few'])
    expect(stderr).toContain('got "few"')
    expect(stderr).toContain('--connections N')
    expect(code).toBe(2)
  })
})
