import { parseArgs } from 'node:util'
import { integerOption, listOption, nameOption, OptionsError, urlOption } from '../shared/options.js'

export interface Options {
  readonly port: number
  readonly host: string
  /** The shop that the catalogue comes from, or `undefined`: one of its own in this process. */
  readonly upstream: string | undefined
  /** Requests a second that all servers together may send to the shop. */
  readonly upstreamRate: number
  /** How old a product may be. */
  readonly ttlMs: number
  /** Requests that a server makes to itself before it is ready. */
  readonly rehearse: number
  /** None, one server, or several nodes of a Cluster. */
  readonly redis: readonly string[]
  readonly mysql: string | undefined
  readonly sessions: 'memory' | 'redis' | 'mysql'
  /** Begins the names of Redis keys, so that several services can share the servers. */
  readonly name: string
  /** Signs the cookies; `undefined`: one that the servers agree on in their store. */
  readonly secret: string | undefined
}

export const usage = `npm run pos -- [options]

A till over the catalogue of a shop that is slow and cuts connections. Without options everything is in this process:
the shop, the products, the sessions. With --redis any number of servers are one till.

  --port N             where to listen; 0 takes a free port              (3000, or PORT)
  --host ADDRESS       which address to listen on                        (127.0.0.1, or HOST)
  --upstream URL       the shop that the catalogue comes from            (POS_UPSTREAM; else one of its own)
  --upstream-rate N    requests a second that all servers together may
                       send to it                                        (20)
  --ttl SECONDS        how old a product may be                          (600)
  --rehearse N         products that a server rings up at itself before
                       it is ready, so that its code is compiled; 0: none (1000)

  --redis URL[,URL…]   Redis; several addresses make a Cluster           (REDIS_URL)
  --mysql URL          MySQL or MariaDB, with the database's name        (MYSQL_URL)
  --sessions WHERE     memory, redis or mysql                            (redis if there is one, else mysql, else memory)
  --name NAME          begins the names of Redis keys                    (pos, or POS_NAME)
  --secret TEXT        signs the cookies; 32 characters or more          (POS_SECRET; else the servers agree on one)
  --help
`

/** The options, `'help'`, or an OptionsError. */
export function readOptions(
  args: readonly string[],
  env: Readonly<Record<string, string | undefined>> = {},
): Options | 'help' {
  const given = parse(args)
  if (given.help) return 'help'
  const redis = listOption(given.redis ?? env['REDIS_URL']).map((one) =>
    urlOption('--redis', one, ['redis:', 'rediss:']),
  )
  const mysqlText = given.mysql ?? env['MYSQL_URL'] ?? ''
  const mysql = mysqlText === '' ? undefined : urlOption('--mysql', mysqlText, ['mysql:', 'mariadb:'])
  const upstream = given.upstream ?? env['POS_UPSTREAM']
  const secret = given.secret ?? env['POS_SECRET']
  if (secret !== undefined && secret.length < 32) {
    throw new OptionsError(`--secret must be 32 characters or more, got ${secret.length}`)
  }
  return {
    port: integerOption('--port', given.port ?? env['PORT'] ?? '3000', 0, 65_535),
    host: given.host ?? env['HOST'] ?? '127.0.0.1',
    upstream: upstream === undefined ? undefined : urlOption('--upstream', upstream, ['http:', 'https:']),
    upstreamRate: integerOption('--upstream-rate', given['upstream-rate'] ?? '20', 1, 1_000_000),
    ttlMs: 1_000 * integerOption('--ttl', given.ttl ?? '600', 1, 1_000_000),
    rehearse: integerOption('--rehearse', given.rehearse ?? '1000', 0, 100_000),
    redis,
    mysql,
    sessions: sessionsIn(given.sessions, redis.length > 0, mysql !== undefined),
    name: nameOption('--name', given.name ?? env['POS_NAME'] ?? 'pos'),
    secret,
  }
}

function sessionsIn(wish: string | undefined, redis: boolean, mysql: boolean): Options['sessions'] {
  const sessions = wish ?? (redis ? 'redis' : mysql ? 'mysql' : 'memory')
  if (sessions !== 'memory' && sessions !== 'redis' && sessions !== 'mysql') {
    throw new OptionsError(`--sessions must be memory, redis or mysql, got "${sessions}"`)
  }
  if ((sessions === 'redis' && !redis) || (sessions === 'mysql' && !mysql)) {
    throw new OptionsError(`--sessions ${sessions} needs --${sessions}`)
  }
  return sessions
}

const text = { type: 'string' } as const

function parse(args: readonly string[]) {
  try {
    return parseArgs({
      args: [...args],
      options: {
        ...{
          port: text,
          host: text,
          upstream: text,
          'upstream-rate': text,
          ttl: text,
          rehearse: text,
          redis: text,
          mysql: text,
        },
        ...{ sessions: text, name: text, secret: text },
        help: { type: 'boolean', default: false },
      },
    }).values
  } catch (error) {
    throw new OptionsError(error instanceof Error ? error.message : String(error))
  }
}
