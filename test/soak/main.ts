import { fork, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { Kafka, logLevel } from 'kafkajs'
import { Kysely, MysqlDialect, sql } from 'kysely'
import { createPool } from 'mysql2'
import { sqlInbox } from 'spillway/queue/sql'
import { startKafka, startMysql, startRedis, startZooKeeper } from '../services/index.js'
import { chanceOf } from '../support/chance.js'
import { startProxy } from '../support/proxy.js'
import { makeFaults } from './faults.js'
import { brokenEffects, overGranted } from './invariants.js'
import { csvOf, plotOf, verdictOf, type Sample } from './memory.js'
import type { WorkerMessage, WorkerSetting } from './messages.js'
import { help, optionsOf, type Options } from './options.js'

const program = fileURLToPath(new URL('./worker.js', import.meta.url))
const sleep = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms))

/** The sums of the messages of all workers. */
interface Account {
  readonly complaints: string[]
  readonly samples: Sample[]
  calls: number
  failures: number
  published: number
  granted: number
}

interface Worker {
  readonly process: ChildProcess
  /** It is to end now; before that its end is a defect. */
  dismissed: boolean
}

function startWorker(setting: WorkerSetting, account: Account, observe?: (sample: Sample) => void): Worker {
  const startedMs = performance.now()
  const child = fork(program, [JSON.stringify(setting)], { execArgv: ['--expose-gc'], stdio: 'inherit' })
  const worker: Worker = { process: child, dismissed: false }
  let told = { calls: 0, failures: 0 }
  child.on('message', (message: WorkerMessage) => {
    if (message.kind === 'complaint') account.complaints.push(message.text)
    else if (message.kind === 'published') account.published += message.count
    else if (message.kind === 'granted') account.granted += message.tokens
    else if (message.kind === 'sample') {
      account.calls += message.calls - told.calls
      account.failures += message.failures - told.failures
      told = message
      observe?.({ atMs: performance.now() - startedMs, heapMb: message.heapMb, rssMb: message.rssMb })
    }
  })
  child.once('exit', (code, signal) => {
    if (!worker.dismissed) account.complaints.push(`a worker ended by itself: ${code ?? signal}`)
  })
  return worker
}

/** How long a worker that was told to stop may take until it has closed everything. */
const closeMs = 60_000

async function end(worker: Worker, account: Account, signal: NodeJS.Signals = 'SIGTERM'): Promise<void> {
  worker.dismissed = true
  const child = worker.process
  if (child.exitCode !== null || child.signalCode !== null) return
  const ended = once(child, 'exit')
  child.kill(signal)
  const late = setTimeout(() => {
    account.complaints.push(`a worker had not closed everything after ${closeMs} ms`)
    child.kill('SIGKILL')
  }, closeMs)
  await ended
  clearTimeout(late)
}

async function soak(options: Options): Promise<readonly string[]> {
  const random = chanceOf(options.seed)
  const name = `soak_${options.seed}_${Date.now().toString(36)}`
  process.stderr.write(`seed ${options.seed}: starting Redis, ZooKeeper, Kafka and MariaDB\n`)
  await using redis = await startRedis({ private: true, durable: true })
  await using zookeeper = await startZooKeeper({ private: true })
  await using kafka = await startKafka({ private: true })
  await using mysql = await startMysql({ private: true })
  await using redisProxy = await startProxy(redis)
  const [host = '', port = ''] = (zookeeper.servers[0] ?? '').split(':')
  await using zookeeperProxy = await startProxy({ host, port: Number(port) })

  const pool = createPool({ uri: mysql.url, connectionLimit: 2 })
  await using db = new Kysely<{ effects: { id: string } }>({ dialect: new MysqlDialect({ pool }) })
  await sql`create table effects (id varchar(200) not null)`.execute(db)
  await sqlInbox(db).migrate()
  const topic = `${name}.messages`
  const admin = new Kafka({ brokers: [...kafka.brokers], logLevel: logLevel.NOTHING }).admin()
  await admin.connect()
  await admin.createTopics({ topics: [topic, `${topic}.dead`].map((one) => ({ topic: one, numPartitions: 4 })) })
  await admin.disconnect()

  const account: Account = { complaints: [], samples: [], calls: 0, failures: 0, published: 0, granted: 0 }
  const setting = (): WorkerSetting => ({
    name,
    redisPort: redisProxy.port,
    checkPort: redis.port,
    zookeeper: zookeeperProxy.address,
    brokers: kafka.brokers,
    topic,
    databaseUrl: mysql.url,
    seed: Math.floor(random() * 2 ** 31),
  })
  const startedMs = performance.now()
  const steady = startWorker(setting(), account, (sample) => account.samples.push(sample))
  const workers = Array.from({ length: options.workers }, () => startWorker(setting(), account))

  const choose = (): number => Math.floor(random() * workers.length)
  async function replace(signal: NodeJS.Signals): Promise<void> {
    const i = choose()
    await end(workers[i] as Worker, account, signal)
    workers[i] = startWorker(setting(), account)
  }
  const over = new AbortController()
  let fault = ''
  const faults = makeFaults(
    {
      redis: redisProxy,
      zookeeper: zookeeperProxy,
      restartRedis: () => redis.restart(),
      restartWorker: () => replace('SIGTERM'),
      killWorker: () => replace('SIGKILL'),
      async stopWorker(ms) {
        const { process: child } = workers[choose()] as Worker
        child.kill('SIGSTOP')
        await sleep(ms)
        child.kill('SIGCONT')
      },
    },
    random,
    over.signal,
    (what) => (fault = what),
  )
  const lengthMs = options.minutes * 60_000
  while (performance.now() - startedMs < lengthMs && account.complaints.length === 0) {
    await sleep(1_000)
    progress(performance.now() - startedMs, lengthMs, account, fault)
    const broken = overGranted(account.granted, performance.now() - startedMs)
    if (broken !== undefined) account.complaints.push(broken)
  }
  over.abort()
  const counts = await faults
  process.stderr.write('\n')
  await Promise.all([steady, ...workers].map((worker) => end(worker, account)))
  await allHandled(setting(), account, db)
  const verdict = verdictOf(account.samples)
  await report(options, account, counts)
  if (!verdict.isFlat)
    account.complaints.push(`the heap grew from ${verdict.earlierMb.toFixed(1)} to ${verdict.laterMb.toFixed(1)} MB`)
  return account.complaints
}

/** Lets a last worker handle what is left, and looks at the effects. */
async function allHandled(
  setting: WorkerSetting,
  account: Account,
  db: Kysely<{ effects: { id: string } }>,
): Promise<void> {
  const last = startWorker(setting, account)
  let broken: string | undefined
  for (let i = 0; i < 120; i++) {
    await sleep(1_000)
    const acknowledged = account.published
    broken = await brokenEffects(db, acknowledged)
    if (broken === undefined) break
  }
  if (broken !== undefined) account.complaints.push(broken)
  await end(last, account)
}

function progress(ms: number, lengthMs: number, { calls, failures, samples }: Account, fault: string): void {
  const share = Math.min(1, ms / lengthMs)
  const bar = '#'.repeat(Math.round(share * 20)).padEnd(20, '.')
  const heap = samples.at(-1)?.heapMb.toFixed(0) ?? '-'
  const line = `[${bar}] ${Math.floor(ms / 1_000)} s, ${calls} rounds, ${failures} failed, heap ${heap} MB, ${fault}`
  if (process.stderr.isTTY) process.stderr.write(`\r${line.slice(0, 118).padEnd(118)}`)
  else if (Math.floor(ms / 1_000) % 30 === 0) process.stderr.write(`${line}\n`)
}

async function report(options: Options, account: Account, counts: ReadonlyMap<string, number>): Promise<void> {
  const { samples } = account
  const title = `Memory of one process: ${options.minutes} min, seed ${options.seed}, Node ${process.version}`
  await mkdir(options.out, { recursive: true })
  await writeFile(join(options.out, 'memory.csv'), csvOf(samples))
  await writeFile(join(options.out, 'memory.svg'), plotOf(samples, title))
  const { earlierMb, laterMb } = verdictOf(samples)
  console.log(
    `${account.calls} rounds of load, ${account.failures} of them met a fault; ${account.published} messages acknowledged`,
  )
  for (const [what, count] of counts) console.log(`  ${String(count).padStart(4)} × ${what}`)
  console.log(
    `heap in the second quarter ${earlierMb.toFixed(1)} MB, in the last ${laterMb.toFixed(1)} MB; ${options.out}/memory.svg`,
  )
}

async function main(): Promise<void> {
  let options: Options | undefined
  try {
    options = optionsOf(process.argv.slice(2))
  } catch (error) {
    console.error(`${(error as Error).message}\n\n${help}`)
    process.exitCode = 2
    return
  }
  if (!options) return console.log(help)
  const complaints = await soak(options)
  for (const complaint of complaints.slice(0, 10)) console.error(complaint)
  if (complaints.length > 10) console.error(`and ${complaints.length - 10} more`)
  console.log(
    complaints.length === 0
      ? 'Nothing was broken, and the memory is flat.'
      : `${complaints.length} complaints (seed ${options.seed})`,
  )
  process.exitCode = complaints.length === 0 ? 0 : 1
}

await main()
