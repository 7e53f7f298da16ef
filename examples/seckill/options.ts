import { parseArgs } from 'node:util'
import {
  addressOption,
  integerOption,
  listOption,
  nameOption,
  OptionsError,
  stackOption,
  type StackOptions,
} from '../shared/options.js'
import { strategies, type Strategy } from './strategies/seller.js'

/** A token bucket in front of a sale. */
export interface Door {
  readonly capacity: number
  readonly refill: number
  readonly perMs: number
  readonly initial: number
}

export interface Options {
  readonly port: number
  readonly host: string
  /** The SQLite file of the embedded service. */
  readonly data: string
  /** The full stack, or `undefined`: everything in this process. */
  readonly stack: StackOptions | undefined
  /** How orders are decided. */
  readonly strategy: Strategy
  /** ZooKeeper's servers, for the strategy that locks there. */
  readonly zookeeper: string | undefined
  /** Begins the names of topics, groups and Redis keys, so that several services can share the servers. */
  readonly name: string
  readonly workers: number
  readonly consumers: number
  /** Units that each worker's gate lets through; `undefined`: its part of a sale and a fifth more. */
  readonly gate: number | undefined
  /** Run this many orders in the terminal and end. */
  readonly rush: number | undefined
  readonly units: number
  readonly door: Door
  readonly title: string
}

export const usage = `npm start -- [options]

Sells a limited stock to a rush of buyers. Without options everything runs in this process: the stock and the queue in
memory, the orders in a SQLite file. With --redis, --kafka and --mysql it runs on those, in any number of processes.

  --port N            where to listen; 0 takes a free port            (3000, or PORT)
  --host ADDRESS      which address to listen on                      (127.0.0.1, or HOST)
  --data FILE         the SQLite file of the embedded service         (data/seckill.db, or SECKILL_DATA)

  --redis URL[,URL…]  Redis; several addresses make a Cluster         (REDIS_URL)
  --kafka HOST:PORT[,…]  Kafka's brokers                              (KAFKA_BROKERS)
  --mysql URL         MySQL or MariaDB, with the database's name      (MYSQL_URL)
  --strategy NAME     how orders are decided: stock, or as the designs that came
                      before it, optimistic, redis-lock, zookeeper-lock  (stock, or SECKILL_STRATEGY)
  --zookeeper HOST:PORT[,…]  ZooKeeper, for zookeeper-lock            (ZOOKEEPER_SERVERS)
  --name NAME         begins the names of topics and Redis keys       (seckill, or SECKILL_NAME)
  --workers N         processes that answer requests                  (2)
  --consumers N       processes that write orders                     (1)

  --units N           units of the first sale                         (1000)
  --title TEXT        title of the first sale
  --gate UNITS        orders that each worker lets through to Redis   (its part of the units and a fifth more)
  --door C,R,MS,I     the first sale's token bucket: capacity, tokens
                      gained every MS milliseconds, tokens at first   (500000,1,1,50000)
  --rush N            open a sale, send N orders, audit, and end: with 0 if all is well, else with 1
  --help
`

const defaultDoor: Door = { capacity: 500_000, refill: 1, perMs: 1, initial: 50_000 }

function door(text: string): Door {
  const numbers = text.split(',').map(Number)
  const [capacity, refill, perMs, initial] = numbers
  const wellFormed =
    numbers.length === 4 &&
    numbers.every((number) => Number.isFinite(number) && number >= 0) &&
    Number.isSafeInteger(capacity) &&
    Number.isSafeInteger(initial)
  if (!wellFormed || !capacity || !refill || !perMs || initial === undefined || initial > capacity) {
    const wanted =
      'capacity,refill,perMs,initial: positive numbers, capacity and initial whole, initial not above capacity'
    throw new OptionsError(`--door must be ${wanted}; got "${text}"`)
  }
  return { capacity, refill, perMs, initial }
}

/** The options, `'help'`, or an OptionsError. */
export function readOptions(
  args: readonly string[],
  env: Readonly<Record<string, string | undefined>> = {},
): Options | 'help' {
  const given = parse(args)
  if (given.help) return 'help'
  const stack = stackOption(given, env)
  const strategy = chooseStrategy(given.strategy ?? env['SECKILL_STRATEGY'] ?? 'stock')
  if (given.gate !== undefined && strategy !== 'stock') throw new OptionsError('--gate is for --strategy stock')
  if (given.zookeeper !== undefined && strategy !== 'zookeeper-lock') {
    throw new OptionsError('--zookeeper is for --strategy zookeeper-lock')
  }
  const zookeeper = listOption(given.zookeeper ?? env['ZOOKEEPER_SERVERS']).map(addressOption('--zookeeper'))
  if (strategy === 'zookeeper-lock' && (zookeeper.length === 0 || !stack)) {
    const missing = [
      ...(zookeeper.length === 0 ? ['--zookeeper'] : []),
      ...(stack ? [] : ['--redis', '--kafka', '--mysql']),
    ]
    throw new OptionsError(`--strategy zookeeper-lock also needs ${missing.join(' and ')}`)
  }
  const workers = integerOption('--workers', given.workers ?? env['SECKILL_WORKERS'] ?? (stack ? '2' : '1'), 1, 256)
  if (!stack) {
    if (workers > 1) {
      throw new OptionsError(
        `--workers ${workers} needs --redis, --kafka and --mysql: memory is not shared by processes`,
      )
    }
    if (given.consumers !== undefined) throw new OptionsError('--consumers needs --redis, --kafka and --mysql')
  } else if (given.data !== undefined) {
    throw new OptionsError('--data is for the embedded service; the orders go to --mysql')
  }
  return {
    name: nameOption('--name', given.name ?? env['SECKILL_NAME'] ?? 'seckill'),
    port: integerOption('--port', given.port ?? env['PORT'] ?? '3000', 0, 65_535),
    host: given.host ?? env['HOST'] ?? '127.0.0.1',
    data: given.data ?? env['SECKILL_DATA'] ?? 'data/seckill.db',
    stack,
    strategy,
    zookeeper: strategy === 'zookeeper-lock' ? zookeeper.join(',') : undefined,
    workers,
    consumers: integerOption('--consumers', given.consumers ?? '1', 1, 64),
    gate: given.gate === undefined ? undefined : integerOption('--gate', given.gate, 1),
    rush: given.rush === undefined ? undefined : integerOption('--rush', given.rush, 1),
    units: integerOption('--units', given.units ?? '1000', 1, 2 ** 31 - 1),
    door: given.door === undefined ? defaultDoor : door(given.door),
    title: given.title ?? 'Spring flood kettle, first edition',
  }
}

const text = { type: 'string' } as const

function parse(args: readonly string[]) {
  try {
    return parseArgs({
      args: [...args],
      options: {
        port: text,
        host: text,
        data: text,
        redis: text,
        kafka: text,
        mysql: text,
        strategy: text,
        zookeeper: text,
        name: text,
        workers: text,
        consumers: text,
        gate: text,
        rush: text,
        units: text,
        door: text,
        title: text,
        help: { type: 'boolean', default: false },
      },
    }).values
  } catch (error) {
    throw new OptionsError(error instanceof Error ? error.message : String(error))
  }
}

function chooseStrategy(text: string): Strategy {
  const known = strategies.find((name) => name === text)
  if (!known) throw new OptionsError(`--strategy must be one of ${strategies.join(', ')}, got "${text}"`)
  return known
}
