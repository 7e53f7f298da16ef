import { writeFile } from 'node:fs/promises'
import { Redis } from 'ioredis'
import { requireProgram } from './apt.js'
import { startContainer, type ContainerHandle } from './container.js'
import { startDaemon, temporaryFolder } from './daemon.js'
import { sleep } from './net.js'
import { redisAnswers } from './redis.js'
import type { Faults, Running } from './service.js'

/** One redis-server of several that belong together. */
export interface Member {
  readonly port: number
  readonly args: readonly string[]
  /** A file `redis.conf` of its own, which the server may rewrite. */
  readonly configuration?: string
}

const HOST = '127.0.0.1'

/** Asks one server one thing. */
export const redisCommand = async (port: number, command: string, ...args: readonly string[]): Promise<unknown> => {
  const client = new Redis({ host: HOST, port, retryStrategy: null, lazyConnect: true, enableOfflineQueue: false })
  client.on('error', () => undefined)
  try {
    await client.connect()
    return await client.call(command, ...args)
  } finally {
    client.disconnect()
  }
}

/** Resolves when `holds` does; throws what it threw last when that takes over two minutes. */
export const eventually = async (holds: () => Promise<boolean>, what: string): Promise<void> => {
  const deadline = Date.now() + 120_000
  for (;;) {
    let problem: unknown
    try {
      if (await holds()) return
    } catch (error) {
      problem = error
    }
    if (Date.now() > deadline) throw new Error(`${what} has not come true within two minutes`, { cause: problem })
    await sleep(50)
  }
}

/** Joins servers into one service: its faults strike all of them. */
const together = (members: ReadonlyMap<number, Running>, end: () => Promise<void>): Running => {
  const nodes = new Map([...members].map(([port, { faults }]) => [port, faults]))
  const all = (verb: keyof Faults) => async (): Promise<void> => {
    await Promise.all([...nodes.values()].map((faults) => faults[verb]()))
  }
  return {
    faults: { kill: all('kill'), pause: all('pause'), unpause: all('unpause'), restart: all('restart') },
    nodes,
    stop: async () => {
      await Promise.all([...members.values()].map((member) => member.stop()))
      await end()
    },
  }
}

const startMembers = async (
  members: readonly Member[],
  start: (member: Member) => Promise<Running>,
  end: () => Promise<void> = async () => undefined,
): Promise<Running> => {
  const outcomes = await Promise.allSettled(members.map(async (member) => [member.port, await start(member)] as const))
  const started = outcomes.flatMap((outcome) => (outcome.status === 'fulfilled' ? [outcome.value] : []))
  const running = together(new Map(started), end)
  const failed = outcomes.find((outcome) => outcome.status === 'rejected')
  if (!failed) return running
  await running.stop()
  throw failed.reason
}

const argumentsOf = ({ port, args, configuration }: Member): string[] => [
  ...(configuration === undefined ? [] : ['redis.conf']),
  ...['--port', `${port}`, ...args],
]

/** Starts the servers as processes of this machine. */
export const startNativeFleet = async (members: readonly Member[]): Promise<Running> => {
  const command = await requireProgram('redis-server', 'redis-server', 'valkey-server')
  return startMembers(members, async (member) => {
    const folder = await temporaryFolder('redis')
    return startDaemon({
      name: `redis-server on port ${member.port}`,
      folder,
      command,
      args: [...argumentsOf(member), '--bind', HOST],
      prepare: async () => {
        if (member.configuration !== undefined) await writeFile(`${folder}/redis.conf`, member.configuration)
      },
      ready: () => redisAnswers(HOST, member.port),
    })
  })
}

const startInside = async (container: ContainerHandle, member: Member): Promise<Running> => {
  const { port, configuration } = member
  const shell = (script: string, ...args: readonly string[]) => container.exec(['sh', '-c', script, 'sh', ...args])
  const folder = `/tmp/redis-${port}`
  const signal = (name: string) => async (): Promise<void> => {
    await shell(`kill -${name} "$(cat ${folder}/pid)"`)
  }
  const background = ['--daemonize', 'yes', '--pidfile', `${folder}/pid`, '--logfile', `${folder}/log`]
  const up = async (): Promise<void> => {
    const args = [...argumentsOf(member), ...background, '--bind', '0.0.0.0', '--protected-mode', 'no']
    await shell(`cd ${folder} && exec redis-server "$@"`, ...args)
    await eventually(() => redisAnswers(HOST, port).then(() => true), `Redis on port ${port}`)
  }
  await shell(`mkdir -p ${folder} && printf %s "$1" >${folder}/redis.conf`, configuration ?? '')
  await up()
  return {
    stop: async () => undefined,
    faults: {
      kill: signal('KILL'),
      pause: signal('STOP'),
      unpause: signal('CONT'),
      restart: async () => {
        // What was killed stays a zombie: the container's first process does not reap.
        const alive = 'grep -qs "^State:.[^ZX]" /proc/$p/status'
        const end = `kill -CONT "$p"; kill "$p"; while ${alive}; do sleep 0.05; done`
        await shell(`p=$(cat ${folder}/pid) && { ${end}; } 2>/dev/null; true`)
        await up()
      },
    },
  }
}

/** Starts the servers inside one container, in which each has the port it has outside: they tell each other's ports. */
export const startContainedFleet = async (members: readonly Member[]): Promise<Running> => {
  const ports = members.map(({ port }) => port)
  const container = await startContainer({
    image: 'redis:7',
    ports,
    hostPorts: ports,
    command: ['redis-server'],
    ready: async () => undefined,
  })
  return startMembers(
    members,
    (member) => startInside(container, member),
    () => container.running.stop(),
  )
}
