import { mkdir, writeFile } from 'node:fs/promises'
import { loadavg } from 'node:os'
import { join } from 'node:path'
import {
  createDatabase,
  ServiceUnavailable,
  startKafka,
  startMysql,
  startRedis,
  startZooKeeper,
} from '../../../test/services/index.js'
import { projectPath } from '../../shared/files.js'
import { progressBar } from '../../shared/load/terminal.js'
import { progressLine } from '../../shared/rush/report.js'
import type { RushProgress } from '../../shared/rush/types.js'
import type { Strategy } from '../strategies/seller.js'
import { measure, type Measured } from './measure.js'
import { HELP, readOptions, type CompareOptions } from './options.js'
import { renderPlot } from './plot.js'
import { renderReport, type Comparison } from './report.js'
import { startService } from './service.js'
import { describeMachine, type Servers } from '../../shared/measure/versions.js'

const say = (line: string): void => void process.stderr.write(`${line}\n`)
const stamp = Date.now().toString(36)

async function runStrategy(strategy: Strategy, servers: Servers, options: CompareOptions): Promise<Measured> {
  const name = `compare_${strategy.replaceAll('-', '_')}_${stamp}`
  // A database of its own, or the next strategy would take over the sales of the one before.
  const mysql = await createDatabase({ url: servers.mysql }, name)
  const zookeeper = strategy === 'zookeeper-lock' ? ['--zookeeper', servers.zookeeper ?? ''] : []
  await using service = await startService([
    ...['--redis', servers.redis, '--kafka', servers.kafka, '--mysql', mysql, '--name', name],
    ...['--workers', `${options.workers}`, '--strategy', strategy, ...zookeeper],
  ])
  const bar = progressBar(process.stderr)
  let shown = ''
  const draw = (load: string, progress: RushProgress): void => {
    if (load !== shown) {
      bar.end()
      say(`${strategy}, ${load}`)
      shown = load
    }
    bar.draw(progressLine(progress))
  }
  const measured = await measure(strategy, service, options, draw)
  bar.end()
  for (const problem of measured.problems) say(`  ✘ ${problem}`)
  return measured
}

async function compare(options: CompareOptions, command: string): Promise<Comparison> {
  const locksInZooKeeper = options.only.includes('zookeeper-lock')
  say('Starting the servers…')
  await using redis = await startRedis()
  await using kafka = await startKafka()
  await using mysql = await startMysql()
  await using zookeeper = locksInZooKeeper ? await startZooKeeper() : undefined
  const servers: Servers = {
    redis: redis.url,
    kafka: kafka.brokers.join(),
    mysql: mysql.url,
    zookeeper: zookeeper?.servers.join(),
  }
  const machine = await describeMachine(servers)
  const before = loadavg()[0] ?? 0
  const measured: Measured[] = []
  for (const strategy of options.only) measured.push(await runStrategy(strategy, servers, options))
  const loadAverage = { before, after: loadavg()[0] ?? 0 }
  const date = new Date().toISOString().slice(0, 10)
  return { command, date, connections: options.connections, machine, loadAverage, measured }
}

async function main(args: readonly string[]): Promise<number> {
  let options: CompareOptions | 'help'
  try {
    options = readOptions(args, projectPath('examples', 'seckill', 'compare'))
  } catch (error) {
    process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n\n${HELP}`)
    return 2
  }
  if (options === 'help') {
    process.stdout.write(HELP)
    return 0
  }
  const comparison = await compare(options, ['npm run compare', ...(args.length > 0 ? ['--', ...args] : [])].join(' '))
  await mkdir(options.out, { recursive: true })
  await writeFile(join(options.out, 'report.json'), `${JSON.stringify(comparison, null, 2)}\n`)
  await writeFile(join(options.out, 'report.svg'), renderPlot(comparison.measured))
  await writeFile(join(options.out, 'REPORT.md'), renderReport(comparison))
  say(`Written to ${options.out}`)
  return comparison.measured.every(({ problems }) => problems.length === 0) ? 0 : 1
}

main(process.argv.slice(2)).then(
  (code) => process.exit(code),
  (error: unknown) => {
    say(
      error instanceof ServiceUnavailable
        ? error.message
        : error instanceof Error
          ? (error.stack ?? error.message)
          : String(error),
    )
    process.exit(2)
  },
)
