import { parseArgs } from 'node:util'
import { strategies, type Strategy } from '../strategies/seller.js'

export const HELP = `npm run compare -- [options]

Runs the strategies one after the other under the same load and the same audit, on servers that it starts, and writes
REPORT.md with a plot (report.svg) and the figures (report.json).

  --only a,b        some of: ${strategies.join(', ')}  (all)
  --seconds N       how long each load lasts               (10)
  --requests N      orders of each load, instead of a time
  --connections N   connections, each with one order under way  (256)
  --units N         units of the sale that is sold out     (1000)
  --workers N       processes that answer requests         (2)
  --out DIR         where the report goes                  (examples/seckill/compare)
  --help

Exit code: 0 every sale held; 1 one did not; 2 wrong options, or a server that cannot be had.
`

/** The load that every strategy gets. */
export interface CompareOptions {
  readonly only: readonly Strategy[]
  readonly load: { readonly durationSeconds: number } | { readonly requests: number }
  readonly connections: number
  readonly units: number
  readonly workers: number
  readonly out: string
}

function positive(name: string, text: string): number {
  const value = Number(text)
  if (text.trim() !== '' && Number.isSafeInteger(value) && value > 0) return value
  throw new RangeError(`--${name} must be a positive whole number, got "${text}"`)
}

function chosen(text: string | undefined): readonly Strategy[] {
  const wanted = text?.split(',')
  const unknown = wanted?.find((name) => !strategies.some((known) => known === name))
  if (unknown !== undefined) throw new RangeError(`--only knows ${strategies.join(', ')}, got "${unknown}"`)
  return wanted ? strategies.filter((known) => wanted.includes(known)) : strategies
}

/** Reads the command line. Throws a TypeError or RangeError that names what is wrong. */
export function readOptions(args: readonly string[], defaultOut: string): CompareOptions | 'help' {
  const text = { type: 'string' } as const
  const { values } = parseArgs({
    args: [...args],
    options: {
      only: text,
      seconds: text,
      requests: text,
      connections: { ...text, default: '256' },
      units: { ...text, default: '1000' },
      workers: { ...text, default: '2' },
      out: { ...text, default: defaultOut },
      help: { type: 'boolean', default: false },
    },
  })
  if (values.help) return 'help'
  const { seconds, requests } = values
  if (seconds !== undefined && requests !== undefined) throw new TypeError('give either --seconds or --requests')
  return {
    only: chosen(values.only),
    load:
      requests === undefined
        ? { durationSeconds: positive('seconds', seconds ?? '10') }
        : { requests: positive('requests', requests) },
    connections: positive('connections', values.connections),
    units: positive('units', values.units),
    workers: positive('workers', values.workers),
    out: values.out,
  }
}
