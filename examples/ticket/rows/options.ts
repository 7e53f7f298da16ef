import { parseArgs } from 'node:util'
import { integerOption, listOption, OptionsError } from '../../shared/options.js'
import { documented, short } from './document.js'

/** One row of the table for one number of tickets. */
export interface Row {
  /** Requests of the document's row. */
  readonly row: number
  /** Requests that are sent: those of the row, or fewer. */
  readonly requests: number
  readonly tickets: number
  /** How the number of tickets came about. */
  readonly rule: 'thousand' | 'hundredth'
  /** A ticketing server is killed this often. */
  readonly killEverySeconds?: number
}

export interface RowsOptions {
  readonly rows: readonly Row[]
  readonly servers: number
  readonly connections: number
  readonly again: boolean
  readonly out: string
  readonly command: string
}

export const usage = `npm run ticket:rows -- [options]

Runs the table of the ticket document over HTTP on this machine: for each of its rows it starts Redis, Kafka, MariaDB and the ticket
service, sends that many orders, once for 1,000 tickets and once for a hundredth of the requests, and audits the show.
Each row that ends is written to report.json, REPORT.md and report.svg at once. A run that was stopped goes on where it
was: rows that held, of the same sources and with the same options, are not run again.

  --rows N[,N…]         rows of the table          (${documented.map(({ requests }) => short(requests)).join(',')})
  --fewer N             send at most N requests in a row, which is then marked so
  --kill-every SECONDS  kill a ticketing server with SIGKILL when the load begins, and then this often; of several
                        servers another one serves meanwhile
  --servers N           ticketing servers          (2)
  --connections N       connections of the load, each with one order under way  (256)
  --again               run also the rows that are in the report
  --out DIR             where the report goes      (examples/ticket/rows)
  --help

An order without an answer, or answered 503, is sent again under its key, as a buyer would.
Exit code: 0 every row held; 1 one did not; 2 wrong options, nothing could start, or it was stopped.
`

function rowOption(text: string): number {
  const found = documented.find(({ requests }) => requests === Number(text))
  if (found) return found.requests
  throw new OptionsError(`--rows knows ${documented.map(({ requests }) => short(requests)).join(', ')}, got "${text}"`)
}

function secondsOption(flag: string, text: string): number {
  const seconds = Number(text)
  if (text.trim() !== '' && seconds > 0 && seconds <= 86_400) return seconds
  throw new OptionsError(`${flag} must be a number of seconds above 0 and up to 86400, got "${text}"`)
}

/** A hundredth of the requests may be a thousand: then there is one row. */
function rowsOf(row: number, requests: number, kill: Pick<Row, 'killEverySeconds'>): Row[] {
  const hundredth = Math.max(1, Math.floor(requests / 100))
  const both = [
    { row, requests, tickets: 1_000, rule: 'thousand', ...kill } as const,
    { row, requests, tickets: hundredth, rule: 'hundredth', ...kill } as const,
  ]
  return hundredth === 1_000 ? both.slice(0, 1) : both
}

/** The options, `'help'`, or an OptionsError. */
export function readOptions(args: readonly string[], defaultOut: string): RowsOptions | 'help' {
  const given = parse(args)
  if (given.help) return 'help'
  const fewer = given.fewer === undefined ? Infinity : integerOption('--fewer', given.fewer, 1)
  const chosen =
    given.rows === undefined ? documented.map(({ requests }) => requests) : listOption(given.rows).map(rowOption)
  if (chosen.length === 0) throw new OptionsError('--rows needs a row')
  const killEvery = given['kill-every']
  const kill = killEvery === undefined ? {} : { killEverySeconds: secondsOption('--kill-every', killEvery) }
  return {
    rows: [...new Set(chosen)].flatMap((row) => rowsOf(row, Math.min(row, fewer), kill)),
    servers: integerOption('--servers', given.servers ?? '2', 1, 256),
    connections: integerOption('--connections', given.connections ?? '256', 1, 100_000),
    again: given.again,
    out: given.out ?? defaultOut,
    command: ['npm run ticket:rows', ...(args.length > 0 ? ['--', ...args] : [])].join(' '),
  }
}

const text = { type: 'string' } as const
const flag = { type: 'boolean', default: false } as const

function parse(args: readonly string[]) {
  try {
    return parseArgs({
      args: [...args],
      options: {
        ...{ rows: text, fewer: text, 'kill-every': text, servers: text, connections: text, out: text },
        ...{ again: flag, help: flag },
      },
    }).values
  } catch (error) {
    throw new OptionsError(error instanceof Error ? error.message : String(error))
  }
}
