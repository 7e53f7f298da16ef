import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { loadavg, tmpdir } from 'node:os'
import { join } from 'node:path'
import { Redis } from 'ioredis'
import { ServiceUnavailable, startKafka, startMysql, startRedis } from '../../../test/services/index.js'
import { projectPath } from '../../shared/files.js'
import { describeMachine } from '../../shared/measure/versions.js'
import { OptionsError } from '../../shared/options.js'
import { contenders } from './contenders.js'
import { prepareWrk } from './load.js'
import { measure, median, ratios, WrongAnswers, type Measured } from './measure.js'
import { HELP, readOptions, type CompareOptions } from './options.js'
import { buildDocumentServer } from './programs.js'
import { renderReport, type Comparison } from './report.js'

const say = (line: string): void => void process.stderr.write(`${line}\n`)
async function compare(options: CompareOptions, command: string, folder: string): Promise<Comparison> {
  say('Building the document’s server, starting Redis, Kafka and MariaDB…')
  const { program, go } = await buildDocumentServer(folder)
  const wrk = await prepareWrk(folder)
  await using service = await startRedis({ private: true })
  await using kafka = await startKafka({ private: true })
  await using mysql = await startMysql({ private: true })
  const addresses = { redis: service.url, kafka: kafka.brokers.join(), mysql: mysql.url }
  const redis = new Redis(service.url)
  const bench = { wrk, redis, say }
  const all = contenders({ ...addresses, servers: options.servers, documentServer: program })
  const before = loadavg()[0] ?? 0
  say('While there are tickets')
  const selling = await measure(all, bench, options, false)
  say('Sold out')
  const soldOut = await measure(all, bench, options, true)
  redis.disconnect()
  const { connections, tickets, rounds } = options
  return {
    ...{ command, connections, tickets, rounds, selling, soldOut },
    date: new Date().toISOString().slice(0, 10),
    machine: [...(await describeMachine({ ...addresses, zookeeper: undefined })), go],
    loadAverage: { before, after: loadavg()[0] ?? 0 },
    servers: all.map(({ name, about }) => ({ name, about })),
  }
}

async function main(args: readonly string[]): Promise<void> {
  const options = readOptions(args, projectPath('examples', 'ticket', 'compare'))
  if (options === 'help') return void process.stdout.write(HELP)
  const command = ['npm run ticket:compare', ...(args.length > 0 ? ['--', ...args] : [])].join(' ')
  const folder = await mkdtemp(join(tmpdir(), 'spillway-ticket-compare-'))
  try {
    const comparison = await compare(options, command, folder)
    await mkdir(options.out, { recursive: true })
    await writeFile(join(options.out, 'report.json'), `${JSON.stringify(comparison, null, 2)}\n`)
    await writeFile(join(options.out, 'REPORT.md'), renderReport(comparison))
    for (const phase of ['selling', 'soldOut'] as const) {
      const [whole, asLittle, ...others] = comparison[phase] as [Measured, Measured, ...Measured[]]
      for (const ours of [asLittle, whole]) {
        for (const other of others)
          say(`${phase}: ${ours.name} ${median(ratios(ours, other)).toFixed(2)}× ${other.name}`)
      }
    }
    say(`Written to ${options.out}`)
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
}

main(process.argv.slice(2)).then(
  () => process.exit(0),
  (error: unknown) => {
    const expected =
      error instanceof OptionsError || error instanceof ServiceUnavailable || error instanceof WrongAnswers
    say(expected ? error.message : error instanceof Error ? (error.stack ?? error.message) : String(error))
    if (error instanceof OptionsError) say(`\n${HELP}`)
    process.exit(error instanceof WrongAnswers ? 1 : 2)
  },
)
