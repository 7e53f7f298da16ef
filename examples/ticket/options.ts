import { parseArgs } from 'node:util'
import { integerOption, nameOption, OptionsError, stackOption, type StackOptions } from '../shared/options.js'

/** The waiting room of a show. */
export interface Room {
  /** People let in each second. */
  readonly perSecond: number
  /** People let in at once when nobody came for a while. */
  readonly burst: number
  /** How long a place can be used after it is due. */
  readonly lapseMs: number
}

/** How the buyers of a show come to their tickets. */
export interface Door {
  /** How long a buyer has to pay for what is held. */
  readonly holdMs: number
  /** Without it everybody is let in at once. */
  readonly room?: Room
}

export interface Options {
  readonly port: number
  readonly host: string
  /** The SQLite file of the embedded service. */
  readonly data: string
  /** The full stack, or `undefined`: everything in this process. */
  readonly stack: StackOptions | undefined
  /** Begins the names of topics, groups and Redis keys, so that several services can share the servers. */
  readonly name: string
  /** Ticketing servers: processes that answer requests. */
  readonly workers: number
  /** Order services: processes that write orders. */
  readonly consumers: number
  /** Units that each server's share lets through to Redis; `undefined`: its part of a show and a fifth more. */
  readonly gate: number | undefined
  /** Signs places in line; `undefined`: one that the database keeps. */
  readonly placeKey: string | undefined
  /** Tickets of the first show, and its door. */
  readonly tickets: number
  readonly door: Door
}

export const usage = `npm run ticket -- [options]

Sells the tickets of shows. Without options everything runs in this process: the stock and the queue in memory, orders,
holds and payments in a SQLite file. With --stack it runs on Redis, Kafka and MySQL, in any number of processes.

  --port N              where to listen; 0 takes a free port            (3000, or PORT)
  --host ADDRESS        which address to listen on                      (127.0.0.1, or HOST)
  --data FILE           the SQLite file of the embedded service         (data/ticket.db, or TICKET_DATA)

  --stack               the full stack, where it is not named at its usual addresses:
  --redis URL[,URL…]    Redis; several addresses make a Cluster         (redis://127.0.0.1:6379, or REDIS_URL)
  --kafka HOST:PORT[,…] Kafka's brokers                                 (127.0.0.1:9092, or KAFKA_BROKERS)
  --mysql URL           MySQL or MariaDB, with the database's name      (mysql://root@127.0.0.1:3306/spillway, or MYSQL_URL)
  --name NAME           begins the names of topics and Redis keys       (ticket, or TICKET_NAME)
  --servers N           ticketing servers: processes that answer requests  (2, or TICKET_SERVERS)
  --consumers N         order services: processes that write orders     (1)
  --share UNITS         tickets that each server lets through to Redis before it asks what is
                        left                                            (its part of the tickets and a fifth more)
  --preset document     as in the document, with --stack: --servers 10 --share 120 --tickets 1000
  --place-key TEXT      signs the places in line, at least 16 characters; the same on every server
                        (one that the database keeps, or TICKET_PLACE_KEY)

  --tickets N           tickets of the first show                       (1000)
  --hold SECONDS        how long a buyer has to pay                     (120)
  --room R,B,L          the first show's waiting room: lets R people in each second, B at
                        once, and a place lapses L seconds after it is due; or none  (50,100,60)
  --help
`

const defaultStack = {
  redis: 'redis://127.0.0.1:6379',
  kafka: '127.0.0.1:9092',
  mysql: 'mysql://root@127.0.0.1:3306/spillway',
}
const document = { servers: '10', share: '120', tickets: '1000' }

function room(text: string): Room | undefined {
  if (text === 'none') return undefined
  const [perSecond, burst, lapseSeconds, ...rest] = text.split(',').map(Number)
  const wellFormed =
    perSecond !== undefined &&
    perSecond >= 0.001 &&
    perSecond <= 1e6 &&
    Number.isSafeInteger(burst) &&
    lapseSeconds !== undefined
  if (!wellFormed || !burst || burst < 0 || !(lapseSeconds > 0 && lapseSeconds <= 86_400) || rest.length > 0) {
    throw new OptionsError(
      `--room must be none, or rate,burst,seconds: positive numbers, the rate from 0.001 to 1000000, burst whole; got "${text}"`,
    )
  }
  return { perSecond, burst, lapseMs: Math.ceil(lapseSeconds * 1_000) }
}

function placeKey(text: string | undefined): string | undefined {
  if (text === undefined || text.length >= 16) return text
  throw new OptionsError(`--place-key must have at least 16 characters, got ${text.length}`)
}

/** The options, `'help'`, or an OptionsError. */
export function readOptions(
  args: readonly string[],
  env: Readonly<Record<string, string | undefined>> = {},
): Options | 'help' {
  const { stack: usesStack, preset, help, ...given } = parse(args)
  if (help) return 'help'
  if (preset !== undefined && preset !== 'document')
    throw new OptionsError(`--preset must be document, got "${preset}"`)
  const { servers, share, tickets } = { ...(preset && document), ...given }
  const addresses = {
    redis: given.redis ?? env['REDIS_URL'] ?? (usesStack ? defaultStack.redis : undefined),
    kafka: given.kafka ?? env['KAFKA_BROKERS'] ?? (usesStack ? defaultStack.kafka : undefined),
    mysql: given.mysql ?? env['MYSQL_URL'] ?? (usesStack ? defaultStack.mysql : undefined),
  }
  const named = Object.entries(addresses).filter(([, address]) => address !== undefined)
  const stack = stackOption(Object.fromEntries(named), {})
  const workers = integerOption('--servers', servers ?? env['TICKET_SERVERS'] ?? (stack ? '2' : '1'), 1, 256)
  if (!stack) {
    if (workers > 1) throw new OptionsError(`--servers ${workers} needs --stack: memory is not shared by processes`)
    if (given.consumers !== undefined) throw new OptionsError('--consumers needs --stack')
  } else if (given.data !== undefined) {
    throw new OptionsError('--data is for the embedded service; the orders go to --mysql')
  }
  const holdMs = integerOption('--hold', given.hold ?? '120', 1, 86_400) * 1_000
  const firstRoom = room(given.room ?? '50,100,60')
  return {
    name: nameOption('--name', given.name ?? env['TICKET_NAME'] ?? 'ticket'),
    port: integerOption('--port', given.port ?? env['PORT'] ?? '3000', 0, 65_535),
    host: given.host ?? env['HOST'] ?? '127.0.0.1',
    data: given.data ?? env['TICKET_DATA'] ?? 'data/ticket.db',
    stack,
    workers,
    consumers: integerOption('--consumers', given.consumers ?? '1', 1, 64),
    gate: share === undefined ? undefined : integerOption('--share', share, 1),
    placeKey: placeKey(given['place-key'] ?? env['TICKET_PLACE_KEY']),
    tickets: integerOption('--tickets', tickets ?? '1000', 1, 2 ** 31 - 1),
    door: { holdMs, ...(firstRoom && { room: firstRoom }) },
  }
}

const text = { type: 'string' } as const
const flag = { type: 'boolean', default: false } as const

function parse(args: readonly string[]) {
  try {
    return parseArgs({
      args: [...args],
      options: {
        port: text,
        host: text,
        data: text,
        stack: flag,
        redis: text,
        kafka: text,
        mysql: text,
        name: text,
        servers: text,
        consumers: text,
        share: text,
        preset: text,
        'place-key': text,
        tickets: text,
        hold: text,
        room: text,
        help: flag,
      },
    }).values
  } catch (error) {
    throw new OptionsError(error instanceof Error ? error.message : String(error))
  }
}
