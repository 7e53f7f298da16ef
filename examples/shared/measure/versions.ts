import { readFile } from 'node:fs/promises'
import { Redis } from 'ioredis'
import { sql } from 'kysely'
import { parseAddress } from '../../../test/services/address.js'
import { ask } from '../../../test/services/net.js'
import { openDatabase } from '../database.js'
import { projectPath } from '../files.js'
import { machine } from '../load/summary.js'

/** Where the servers are. */
export interface Servers {
  readonly redis: string
  readonly kafka: string
  readonly mysql: string
  /** `undefined` where no strategy needs it. */
  readonly zookeeper: string | undefined
}

async function redisVersion(url: string): Promise<string> {
  const redis = new Redis(url)
  const found = /redis_version:(\S+)/.exec(await redis.info('server'))?.[1]
  redis.disconnect()
  return `Redis ${found ?? 'of an unknown version'}`
}

async function mysqlVersion(url: string): Promise<string> {
  const db = openDatabase<object>({ url })
  const { rows } = await sql<{ version: string }>`select version() as version`.execute(db)
  await db.destroy()
  return rows[0]?.version ?? 'MySQL of an unknown version'
}

async function zooKeeperVersion(servers: string): Promise<string> {
  const { host, port } = parseAddress(servers.split(',')[0] as string)
  const found = /Zookeeper version: ([\d.]+)/.exec(await ask(host, port, 'srvr').catch(() => ''))?.[1]
  return `ZooKeeper ${found ?? 'of an unknown version'}`
}

async function packageVersion(name: string): Promise<string> {
  const text = await readFile(projectPath('node_modules', name, 'package.json'), 'utf8')
  return `${name} ${(JSON.parse(text) as { version: string }).version}`
}

const packages = ['ioredis', 'kafkajs', 'mysql2', 'kysely', 'fastify', 'node-zookeeper-client', 'undici']

/** The machine and the versions of what runs on it, a line each. */
export async function describeMachine({ redis, mysql, zookeeper }: Servers): Promise<string[]> {
  const { machine: hardware, node } = machine()
  const servers = [
    redisVersion(redis),
    mysqlVersion(mysql),
    ...(zookeeper === undefined ? [] : [zooKeeperVersion(zookeeper)]),
  ]
  return [
    hardware,
    `Node.js ${node}; ${(await Promise.all(servers)).join('; ')}; Kafka with one broker`,
    (await Promise.all(packages.map(packageVersion))).join('; '),
  ]
}
