import { readFile } from 'node:fs/promises'
import { cpus, release, totalmem, type } from 'node:os'
import { Kafka, logLevel } from 'kafkajs'
import { Redis } from 'ioredis'
import { createConnection } from 'mysql2/promise'

const peers = ['rate-limiter-flexible'] as const
const clients = ['ioredis', 'kafkajs', 'kysely', 'mysql2', 'fastify'] as const

async function versionOf(name: string, root: string): Promise<string> {
  const text = await readFile(new URL(`${root}node_modules/${name}/package.json`, import.meta.url), 'utf8')
  return `${name} ${(JSON.parse(text) as { version: string }).version}`
}

async function serverVersions(env: {
  readonly redisUrl: string
  readonly kafkaBrokers: string
  readonly mysqlUrl: string
}): Promise<string[]> {
  const redis = new Redis(env.redisUrl)
  const redisVersion = /redis_version:(\S+)/.exec(await redis.info('server'))?.[1] ?? 'unknown'
  redis.disconnect()
  const mysql = await createConnection(env.mysqlUrl)
  const [rows] = await mysql.query('select version() as version')
  await mysql.end()
  const admin = new Kafka({ brokers: env.kafkaBrokers.split(','), logLevel: logLevel.NOTHING }).admin()
  await admin.connect()
  const { brokers } = await admin.describeCluster()
  await admin.disconnect()
  return [
    `Redis ${redisVersion}`,
    `${(rows as { version: string }[])[0]?.version ?? 'MySQL'}`,
    `Kafka with ${brokers.length} broker`,
  ]
}

/** Machine, operating system and versions, for the head of the results. */
export async function describeMachine(env: {
  readonly redisUrl: string
  readonly kafkaBrokers: string
  readonly mysqlUrl: string
}): Promise<string[]> {
  const processors = cpus()
  const repository = '../../'
  return [
    `${processors.length} × ${processors[0]?.model.trim() ?? 'unknown processor'}, ${Math.round(totalmem() / 2 ** 30)} GiB, ${type()} ${release()}`,
    `Node.js ${process.versions.node}; ${(await serverVersions(env)).join('; ')}`,
    (
      await Promise.all([
        ...clients.map((name) => versionOf(name, repository)),
        ...peers.map((name) => versionOf(name, '../')),
      ])
    ).join('; '),
  ]
}
