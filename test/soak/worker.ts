import { Redis } from 'ioredis'
import { Kafka, logLevel } from 'kafkajs'
import { Kysely, MysqlDialect } from 'kysely'
import { createPool } from 'mysql2'
import { SpillwayError } from 'spillway'
import { kafkaQueue } from 'spillway/queue/kafka'
import { chanceOf } from '../support/chance.js'
import { drains, loads, type Load, type LoadContext } from './loads.js'
import { closeMs, type WorkerMessage, type WorkerSetting, type WorkerStep } from './messages.js'

const setting = JSON.parse(process.argv[2] ?? '') as WorkerSetting

const tell = (message: WorkerMessage): void => {
  if (process.connected) process.send?.(message)
}
const complain = (what: string, error: unknown): void =>
  tell({
    kind: 'complaint',
    text: `${what}: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}`,
  })

/** Whoever ends this process learns by these what it waits for. */
const enter = (part: string, step: WorkerStep): void => tell({ kind: 'step', part, step })

process.on('warning', (warning) => complain('a warning', warning))
process.on('unhandledRejection', (error) => complain('an unhandled rejection', error))
process.on('uncaughtException', (error) => {
  complain('an uncaught exception', error)
  process.exit(1)
})

const connect = (port: number): Redis => {
  const redis = new Redis({ port, host: '127.0.0.1' })
  // The client says what the faults do to its connection.
  redis.on('error', () => undefined)
  return redis
}
const redis = connect(setting.redisPort)
const check = connect(setting.checkPort)
const kafka = new Kafka({ brokers: [...setting.brokers], logLevel: logLevel.NOTHING, connectionTimeout: 2_000 })
const pool = createPool({ uri: setting.databaseUrl, connectionLimit: 6 })
const db = new Kysely<{ effects: { id: string } }>({ dialect: new MysqlDialect({ pool }) })

let calls = 0
let failures = 0
const context: LoadContext = {
  ...setting,
  redis,
  check,
  db,
  queue: kafkaQueue(kafka),
  process: `${process.pid}.${Date.now().toString(36)}`,
  random: chanceOf(setting.seed),
  broken: (what) => complain('a broken promise', what),
  granted: (tokens) => tell({ kind: 'granted', tokens }),
  published: (ids) => tell({ kind: 'published', ids }),
  left: (messages) => tell({ kind: 'left', messages }),
}

const stopping = new AbortController()
const sleep = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms))

/** Faults make calls fail, with errors of the library, of a client or by the signal of the call; anything else is a defect. */
function met(what: string, error: unknown): void {
  failures++
  const expected = SpillwayError.is(error) || (error instanceof DOMException && error.name === 'TimeoutError')
  if (!expected && !/Connection is closed|closed state|ECONN|EPIPE/.test(String(error))) complain(what, error)
}

/** Calls of one kind, two at a time, until the process is to stop; then closes what they were made on. */
async function drive(name: string, start: (context: LoadContext) => Promise<Load>): Promise<void> {
  let load: Load | undefined
  enter(name, 'starting')
  while (!load && !stopping.signal.aborted) {
    load = await start(context).catch(async (error: unknown) => {
      met(`starting ${name}`, error)
      await sleep(200)
      return undefined
    })
  }
  if (!load) return enter(name, 'closed')
  enter(name, 'running')
  const { run, close } = load
  const repeat = async (): Promise<void> => {
    while (!stopping.signal.aborted) {
      await run().then(
        () => calls++,
        (error: unknown) => met(name, error),
      )
      await sleep(10)
    }
  }
  await Promise.all([repeat(), repeat()])
  enter(name, 'closing')
  await close().catch((error: unknown) => met(`closing ${name}`, error))
  enter(name, 'closed')
}

const driving = Object.entries(setting.drains ? drains : loads).map(([name, start]) => drive(name, start))

const sampling = setting.drains
  ? undefined
  : setInterval(() => {
      globalThis.gc?.()
      const { heapUsed, rss } = process.memoryUsage()
      tell({ kind: 'sample', heapMb: heapUsed / 2 ** 20, rssMb: rss / 2 ** 20, calls, failures })
    }, 5_000)

/** As a deployment does it: the calls under way end, everything is closed, the process ends by itself. */
async function stop(): Promise<void> {
  if (stopping.signal.aborted) return
  stopping.abort()
  clearInterval(sampling)
  await Promise.all(driving)
  enter('database', 'closing')
  await db.destroy()
  enter('database', 'closed')
  redis.disconnect()
  check.disconnect()
  process.disconnect()
  setTimeout(
    () => console.error(`worker ${process.pid} is kept alive by`, process.getActiveResourcesInfo()),
    10_000,
  ).unref()
}

/** Whoever watches over the end of this process is gone with the channel. */
function stopAlone(): void {
  setTimeout(() => process.exit(1), closeMs).unref()
  void stop()
}

process.on('SIGTERM', () => void stop())
process.on('disconnect', stopAlone)
