import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { Kafka, logLevel } from 'kafkajs'
import { Kysely, MysqlDialect, sql } from 'kysely'
import { createPool } from 'mysql2'
import { sqlInbox } from 'spillway/queue/sql'
import { startKafka, startMysql, startRedis, startZooKeeper } from '../services/index.js'
import { chanceOf } from '../support/chance.js'
import { startProxy } from '../support/proxy.js'
import { makeFaults } from './faults.js'
import { brokenEffects, overGranted } from './invariants.js'
import { csvOf, plotOf, verdictOf } from './memory.js'
import type { WorkerSetting } from './messages.js'
import { help, optionsOf, type Options } from './options.js'
import { phase } from './progress.js'
import { endWorker, isOver, openParts, startWorker, type Account, type Worker } from './workers.js'

/** How long the messages that are there when the load ends may take. */
const drainMs = 120_000

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

  const account: Account = {
    complaints: [],
    samples: [],
    calls: 0,
    failures: 0,
    granted: 0,
    acknowledged: new Set(),
    left: undefined,
  }
  const setting = (drains = false): WorkerSetting => ({
    name,
    redisPort: redisProxy.port,
    checkPort: redis.port,
    zookeeper: zookeeperProxy.address,
    brokers: kafka.brokers,
    topic,
    databaseUrl: mysql.url,
    seed: Math.floor(random() * 2 ** 31),
    drains,
  })
  const startedMs = performance.now()
  const steady = startWorker(setting(), account, (sample) => account.samples.push(sample))
  const workers = Array.from({ length: options.workers }, () => startWorker(setting(), account))

  const choose = (): number => Math.floor(random() * workers.length)
  async function replace(signal: NodeJS.Signals): Promise<void> {
    const i = choose()
    await endWorker(workers[i] as Worker, account, signal)
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
  const forMs = (): number => performance.now() - startedMs
  async function load(): Promise<void> {
    while (forMs() < lengthMs && account.complaints.length === 0) {
      await sleep(1_000)
      const broken = overGranted(account.granted, forMs())
      if (broken !== undefined) account.complaints.push(broken)
    }
  }
  await phase('load', load(), () => `${bar(forMs() / lengthMs)} ${stateOf(account)}, ${fault}`)
  over.abort()
  const counts = await phase('waiting for the end of the last fault', faults, () => fault)
  const all = [steady, ...workers]
  const ended = Promise.all(all.map((worker) => endWorker(worker, account)))
  await phase(`ending ${all.length} workers`, ended, () => openParts(...all))
  await drain(setting(true), account)
  const effects = await db.selectFrom('effects').select('id').execute()
  account.complaints.push(...brokenEffects(effects, account.acknowledged))
  const verdict = verdictOf(account.samples)
  await report(options, account, counts)
  if (!verdict.isFlat)
    account.complaints.push(`the heap grew from ${verdict.earlierMb.toFixed(1)} to ${verdict.laterMb.toFixed(1)} MB`)
  return account.complaints
}

/** Lets a last worker, which makes no load, handle the messages that are left. */
async function drain(setting: WorkerSetting, account: Account): Promise<void> {
  const last = startWorker(setting, account)
  async function untilNoneIsLeft(): Promise<void> {
    const lateMs = performance.now() + drainMs
    while (account.left !== 0 && !isOver(last)) {
      if (performance.now() > lateMs) {
        account.complaints.push(
          `queue: ${account.left ?? 'all'} messages were left after ${drainMs} ms: ${openParts(last)}`,
        )
        return
      }
      await sleep(100)
    }
  }
  await phase('waiting for the last messages', untilNoneIsLeft(), () => `${account.left ?? 'unknown'} left`)
  await phase('ending the last worker', endWorker(last, account), () => openParts(last))
}

const bar = (share: number): string => `[${'#'.repeat(Math.round(Math.min(1, share) * 20)).padEnd(20, '.')}]`

function stateOf({ calls, failures, samples }: Account): string {
  return `${calls} rounds, ${failures} failed, heap ${samples.at(-1)?.heapMb.toFixed(0) ?? '-'} MB`
}

async function report(options: Options, account: Account, counts: ReadonlyMap<string, number>): Promise<void> {
  const { samples } = account
  const title = `Memory of one process: ${options.minutes} min, seed ${options.seed}, Node ${process.version}`
  await mkdir(options.out, { recursive: true })
  await writeFile(join(options.out, 'memory.csv'), csvOf(samples))
  await writeFile(join(options.out, 'memory.svg'), plotOf(samples, title))
  const { earlierMb, laterMb } = verdictOf(samples)
  console.log(
    `${account.calls} rounds of load, ${account.failures} of them met a fault; ${account.acknowledged.size} messages acknowledged`,
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
