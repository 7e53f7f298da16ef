import { parseArgs } from 'node:util'
import { integerOption, listOption, OptionsError, urlOption } from '../../shared/options.js'

export const places = ['memory', 'redis', 'redis-cluster', 'mysql'] as const
export type SessionsIn = (typeof places)[number]

/** One run. */
export interface Run {
  readonly servers: number
  readonly sessions: SessionsIn
  readonly users: number
  /** Whether a master of the Cluster is killed when all users are there. */
  readonly killMaster?: boolean
}

export interface ScaleOptions {
  readonly runs: readonly Run[]
  readonly rampSeconds: number
  readonly adds: number
  readonly pauseMs: number
  readonly timeoutMs: number
  /** The folder of the report, its plot and all figures; `undefined`: none are written. */
  readonly out: string | undefined
  /** The folder of a page with plots for each run. */
  readonly plots: string | undefined
  /** Runs against a service that is there, instead of starting one for each run. */
  readonly url: string | undefined
  readonly command: string
}

export const usage = `npm run pos:scale -- [options]

Sends users at the till, each adding products to a cart of their own, one a second, and writes down what they met.
Starts what it needs: the shop, the servers, HAProxy in front of more than one, Redis or a Redis Cluster (3 masters and
3 replicas) for sessions.

  --servers N[,N…]     servers of the till, up to 4                      (1,4)
  --sessions WHERE[,…] memory, redis, redis-cluster or mysql             (memory,redis,redis-cluster; one server: memory)
  --users N[,N…]       users of a run                                    (500,2000)
  --kill-master        in runs with a Redis Cluster, kill a master when all users are there; they then ask again
                       (one more run when all runs are made as they are)
  --ramp SECONDS       they arrive evenly within this time               (10)
  --adds N             products that each adds                           (10)
  --pause MS           from one addition to the next                     (1000)
  --timeout MS         an answer later than this counts as none          (30000)
  --url URL            use a service that runs; --servers and --sessions then only name it
  --out FOLDER         write REPORT.md with a plot (report.svg), and all figures (report.json)
                       (examples/pos/scale when all runs are made as they are; else nothing is written)
  --plots FOLDER       write a page with plots for each run
  --help

Several servers with sessions in memory stand behind a balancer that brings everybody back to the same one.
Exit code: 0 every request was answered and every cart is complete; 1 not so; 2 wrong options, nothing could start,
or it was stopped.
`

/** The options, `'help'`, or an OptionsError. `reportFolder` is where the report of all runs goes. */
export function readScaleOptions(args: readonly string[], reportFolder?: string): ScaleOptions | 'help' {
  const given = parse(args)
  if (given.help) return 'help'
  const numbers = (flag: string, text: string, highest: number): number[] =>
    listOption(text).map((one) => integerOption(flag, one, 1, highest))
  const servers = numbers('--servers', given.servers ?? '1,4', 4)
  const users = numbers('--users', given.users ?? '500,2000', 100_000)
  const sessions = listOption(given.sessions ?? 'memory,redis,redis-cluster').map(place)
  if (servers.length * users.length * sessions.length === 0) {
    throw new OptionsError('--servers, --users and --sessions need a value each')
  }
  const { out, plots, help: _help, ...measured } = given
  const asItIs = Object.values(measured).every((value) => value === undefined)
  // One server needs no store to share: unless it was asked for, only memory is measured.
  const worth = (one: number, where: SessionsIn): boolean =>
    one > 1 || where === 'memory' || given.sessions !== undefined
  const runs = sessions
    .flatMap((where) =>
      servers
        .filter((one) => worth(one, where))
        .flatMap((one) => users.map((count) => ({ servers: one, sessions: where, users: count }))),
    )
    .map((run) =>
      given['kill-master'] === true && run.sessions === 'redis-cluster' ? { ...run, killMaster: true } : run,
    )
  if (given['kill-master'] === true && (given.url !== undefined || !sessions.includes('redis-cluster'))) {
    throw new OptionsError('--kill-master needs a Redis Cluster that is started for the run: --sessions redis-cluster')
  }
  return {
    runs: asItIs ? [...runs, theKill] : runs,
    rampSeconds: integerOption('--ramp', given.ramp ?? '10', 0, 3_600),
    adds: integerOption('--adds', given.adds ?? '10', 1, 10_000),
    pauseMs: integerOption('--pause', given.pause ?? '1000', 0, 3_600_000),
    timeoutMs: integerOption('--timeout', given.timeout ?? '30000', 1, 3_600_000),
    out: out ?? (asItIs ? reportFolder : undefined),
    plots,
    url: given.url === undefined ? undefined : originOf(given.url),
    command: ['npm run pos:scale', ...(args.length > 0 ? ['--', ...args] : [])].join(' '),
  }
}

function originOf(text: string): string {
  const { origin, pathname } = new URL(urlOption('--url', text, ['http:', 'https:']))
  if (pathname !== '/') throw new OptionsError(`--url must be the address of a till without a path, got "${text}"`)
  return origin
}

function place(text: string): SessionsIn {
  const found = places.find((one) => one === text)
  if (found === undefined) throw new OptionsError(`--sessions must be of ${places.join(', ')}, got "${text}"`)
  return found
}

const theKill: Run = { servers: 4, sessions: 'redis-cluster', users: 2_000, killMaster: true }

const text = { type: 'string' } as const

function parse(args: readonly string[]) {
  try {
    return parseArgs({
      args: [...args],
      options: {
        ...{ servers: text, sessions: text, users: text, ramp: text, adds: text, pause: text, timeout: text },
        ...{ url: text, out: text, plots: text },
        'kill-master': { type: 'boolean' },
        help: { type: 'boolean', default: false },
      },
    }).values
  } catch (error) {
    throw new OptionsError(error instanceof Error ? error.message : String(error))
  }
}
