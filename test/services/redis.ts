import { requireProgram } from './apt.js'
import { parseAddress } from './address.js'
import { startContainer } from './container.js'
import { startDaemon, temporaryFolder } from './daemon.js'
import { fromEnvironment } from './environment.js'
import { ask, freePort } from './net.js'
import { firstThatStarts, retried } from './resolve.js'
import { asService, notOurs, type Service } from './service.js'

export interface RedisOptions {
  /** Never the server that the environment names, so that the faults are there. @defaultValue false */
  readonly private?: boolean
  /** Writes every command to disk before it answers, so that `kill` loses nothing. @defaultValue false */
  readonly durable?: boolean
  /** Further arguments of redis-server. */
  readonly args?: readonly string[]
}

export interface RedisService extends Service {
  readonly host: string
  readonly port: number
  readonly url: string
}

/** The configuration of a test's Redis, as arguments. Without `durable` it keeps nothing over its end. */
export const redisArguments = ({ durable = false, args = [] }: RedisOptions): string[] => [
  ...['--save', '', '--appendonly', durable ? 'yes' : 'no', '--appendfsync', 'always'],
  ...args,
]

/** Throws unless a Redis serves there. */
export const redisAnswers = async (host: string, port: number): Promise<void> => {
  const answer = await ask(host, port, 'PING\r\n', 2_000)
  // A server with a password is up, too.
  if (!/^(\+PONG|-NOAUTH)/.test(answer)) throw new Error(`Redis at ${host}:${port} answered ${answer.trim()}`)
}

const addresses = (host: string, port: number) => ({ host, port, url: `redis://${host}:${port}` })

const given = fromEnvironment<RedisService>('SPILLWAY_REDIS_URL', async (url) => {
  const { host, port } = parseAddress(url, 6379)
  await redisAnswers(host, port)
  return asService('redis', 'environment', { host, port, url }, notOurs('SPILLWAY_REDIS_URL names this Redis'))
})

const contained = async (options: RedisOptions): Promise<RedisService> => {
  const { host, ports, running } = await startContainer({
    image: 'redis:7',
    ports: [6379],
    command: ['redis-server', ...redisArguments(options)],
    ready: (host, [port]) => redisAnswers(host, port as number),
  })
  return asService('redis', 'container', addresses(host, ports[0] as number), running)
}

const native = async (options: RedisOptions): Promise<RedisService> => {
  const command = await requireProgram('redis-server', 'redis-server', 'valkey-server')
  return retried(async () => {
    const port = await freePort()
    const running = await startDaemon({
      name: 'redis-server',
      folder: await temporaryFolder('redis'),
      command,
      args: ['--port', `${port}`, '--bind', '127.0.0.1', ...redisArguments(options)],
      ready: () => redisAnswers('127.0.0.1', port),
    })
    return asService('redis', 'native', addresses('127.0.0.1', port), running)
  })
}

/** A Redis: the one that `SPILLWAY_REDIS_URL` names, or else one of our own. */
export const startRedis = (options: RedisOptions = {}): Promise<RedisService> => {
  const own = options.private ?? (options.durable === true || options.args !== undefined)
  return firstThatStarts<RedisService>('redis', [
    ...(own ? [] : [given]),
    { name: 'container', start: () => contained(options) },
    { name: 'native', start: () => native(options) },
  ])
}
