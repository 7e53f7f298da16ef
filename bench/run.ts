import { writeFile } from 'node:fs/promises'
import { parseArgs } from 'node:util'
import { startKafka, startMysql, startRedis, startZooKeeper } from '../test/services/index.js'
import { describeMachine } from './machine.js'
import { figure, renderResults, type Row } from './report.js'

const help = `npm run bench -- [options]

Measures spillway beside its peers, in one run on this machine, and writes bench/RESULTS.md.

  --only a,b      some of: ratelimit, cache, lock, stock, queue, seckill (default: all)
  --seconds N     how long each measurement lasts                (default: 3)
  --out FILE      where the table goes                           (default: bench/RESULTS.md)
  --help
`

const groups = {
  ratelimit: async (env: Env) => (await import('./ratelimit.bench.js')).ratelimitRows(env),
  cache: async (env: Env) => (await import('./cache.bench.js')).cacheRows(env),
  lock: async (env: Env) => (await import('./lock.bench.js')).lockRows(env),
  stock: async (env: Env) => (await import('./stock.bench.js')).stockRows(env),
  queue: async (env: Env) => (await import('./queue.bench.js')).queueRows(env),
  seckill: async (env: Env) => (await import('./seckill.bench.js')).seckillRows(env),
}
type Group = keyof typeof groups

interface Env {
  readonly redisUrl: string
  readonly kafkaBrokers: string
  readonly mysqlUrl: string
  readonly zooKeeperServers: string
  readonly seconds: number
}

const { values } = parseArgs({
  options: {
    only: { type: 'string' },
    seconds: { type: 'string', default: '3' },
    out: { type: 'string', default: 'bench/RESULTS.md' },
    help: { type: 'boolean', default: false },
  },
})

function chosenGroups(): Group[] {
  const wanted = values.only?.split(',') ?? Object.keys(groups)
  const unknown = wanted.find((name) => !(name in groups))
  if (unknown !== undefined) throw new RangeError(`--only knows ${Object.keys(groups).join(', ')}, got ${unknown}`)
  return wanted as Group[]
}

async function main(): Promise<void> {
  if (values.help) return void process.stdout.write(help)
  const seconds = Number(values.seconds)
  if (!(seconds > 0)) throw new RangeError(`--seconds must be a number above 0, got ${values.seconds}`)
  const chosen = chosenGroups()

  process.stderr.write('Starting Redis, Kafka, ZooKeeper and MariaDB…\n')
  await using redis = await startRedis()
  await using kafka = await startKafka()
  await using mysql = await startMysql()
  await using zooKeeper = await startZooKeeper()
  const env: Env = {
    redisUrl: redis.url,
    kafkaBrokers: kafka.brokers.join(','),
    mysqlUrl: mysql.url,
    zooKeeperServers: zooKeeper.servers.join(','),
    seconds,
  }

  const sections: { readonly title: Group; readonly rows: readonly Row[] }[] = []
  for (const title of chosen) {
    process.stderr.write(`${title}…\n`)
    const rows = await groups[title](env)
    for (const row of rows)
      process.stderr.write(
        `  ${row.name}: ${figure(row.ours)} ${row.unit}, ${(row.ours / row.theirs).toFixed(2)}× ${row.peer}\n`,
      )
    sections.push({ title, rows })
  }
  const command = `npm run bench${process.argv.length > 2 ? ` -- ${process.argv.slice(2).join(' ')}` : ''}`
  await writeFile(values.out, renderResults({ sections, machine: await describeMachine(env), command }))
  process.stderr.write(`Written to ${values.out}\n`)
}

main().catch((error: unknown) => {
  process.stderr.write(`${error instanceof Error ? (error.stack ?? error.message) : String(error)}\n`)
  process.exitCode = 1
})
