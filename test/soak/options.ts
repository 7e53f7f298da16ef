import { parseArgs } from 'node:util'

export const help = `Runs a mixed load on all modules for a long time, with made-up keys, faults and rolling restarts, and watches the memory.

  npm run soak                          5 minutes
  npm run soak -- --minutes 30 --seed 7

  --minutes N   how long the load runs (default 5, at least 1)
  --seed N      which faults come when (default: by chance; the seed is printed)
  --workers N   processes that are restarted in turn, beside one that is not (default 2)
  --out DIR     where memory.csv and memory.svg are written (default data/soak)
  --help        this text

It starts a Redis, a ZooKeeper, a Kafka and a MariaDB of its own. It ends with 1 if an invariant was broken, if a process warned,
left a rejection unhandled or ended by itself, or if the memory of the process that is not restarted grew.
`

export interface Options {
  readonly minutes: number
  readonly seed: number
  readonly workers: number
  readonly out: string
}

function wholeNumber(name: string, text: string, atLeast: number): number {
  const value = Number(text)
  if (text.trim() !== '' && Number.isSafeInteger(value) && value >= atLeast) return value
  throw new RangeError(`--${name} takes a whole number of at least ${atLeast}, got ${JSON.stringify(text)}`)
}

/** What the command line asks for; `undefined` for the help. Throws an error that says which word is wrong. */
export function optionsOf(args: readonly string[]): Options | undefined {
  const { values } = parseArgs({
    args: [...args],
    options: {
      minutes: { type: 'string', default: '5' },
      seed: { type: 'string', default: String(Math.floor(Math.random() * 1_000_000)) },
      workers: { type: 'string', default: '2' },
      out: { type: 'string', default: 'data/soak' },
      help: { type: 'boolean', default: false },
    },
  })
  if (values.help) return undefined
  return {
    minutes: wholeNumber('minutes', values.minutes, 1),
    seed: wholeNumber('seed', values.seed, 0),
    workers: wholeNumber('workers', values.workers, 1),
    out: values.out,
  }
}
