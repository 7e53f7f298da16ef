import { parseArgs } from 'node:util'
import { integerOption, OptionsError } from '../../shared/options.js'

export const HELP = `npm run ticket:compare -- [options]

Builds the document's ticketing server (Go, Hertz), starts it and the ticket service on one Redis (the service also on Kafka and
MariaDB), loads them by turns with wrk, once while there are tickets and once when they are sold out, and writes REPORT.md
and report.json. Needs Go 1.23 or newer.

  --seconds N       how long each load lasts                    (5)
  --rounds N        loads of each server; the median counts     (5)
  --connections N   connections, each with one request under way  (256)
  --tickets N       tickets of the show that is sold out        (1000)
  --servers N       ticketing servers of ours                   (2)
  --out DIR         where the report goes                       (examples/ticket/compare)
  --help

Exit code: 0 measured; 1 a server answered what it should not; 2 wrong options, or a program that cannot be had.
`

/** The load that each server gets. */
export interface CompareOptions {
  readonly seconds: number
  readonly rounds: number
  readonly connections: number
  readonly tickets: number
  readonly servers: number
  readonly out: string
}

/** Reads the command line. Throws an OptionsError that names what is wrong. */
export function readOptions(args: readonly string[], defaultOut: string): CompareOptions | 'help' {
  const text = { type: 'string' } as const
  const defaults = { seconds: '5', rounds: '5', connections: '256', tickets: '1000', servers: '2', out: defaultOut }
  const { values } = parse(args)
  if (values.help) return 'help'
  const given = { ...defaults, ...values }
  const whole = (name: keyof typeof defaults): number => integerOption(`--${name}`, given[name], 1)
  return {
    seconds: whole('seconds'),
    rounds: whole('rounds'),
    connections: whole('connections'),
    tickets: whole('tickets'),
    servers: whole('servers'),
    out: given.out,
  }

  function parse(args: readonly string[]) {
    try {
      return parseArgs({
        args: [...args],
        options: {
          ...{ seconds: text, rounds: text, connections: text, tickets: text, servers: text, out: text },
          help: { type: 'boolean', default: false },
        },
      })
    } catch (error) {
      throw new OptionsError((error as Error).message)
    }
  }
}
