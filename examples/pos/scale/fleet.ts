import { randomUUID } from 'node:crypto'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { requireProgram } from '../../../test/services/apt.js'
import {
  clusterMasters,
  createDatabase,
  startMysql,
  startRedis,
  startRedisCluster,
  type Service,
} from '../../../test/services/index.js'
import { freePort } from '../../../test/services/net.js'
import { redisCommand } from '../../../test/services/redis-fleet.js'
import { projectPath } from '../../shared/files.js'
import type { SessionsIn } from './options.js'
import { cpuSeconds, startProgram, type Program } from '../../shared/measure/programs.js'

/** The servers of one or more runs, which keep their sessions in the same place. */
export interface Backend extends AsyncDisposable {
  readonly args: readonly string[]
  /** Seconds of CPU that its servers have used so far, where they say. */
  readonly cpu?: () => Promise<number>
  /** Ends one of the masters of a Cluster, as a power failure would; resolves when its replica has taken its place. */
  readonly killMaster?: () => Promise<void>
}

export interface CpuSeconds {
  readonly servers: number
  readonly balancer: number
  /** What sessions are kept in, where that is Redis. */
  readonly stores: number
}

/** Everything that a run is against, ready for customers. */
export interface Fleet extends AsyncDisposable {
  /** Where customers come in: the balancer, or the only server. */
  readonly url: string
  readonly servers: readonly string[]
  readonly pids: readonly number[]
  /** Where the shop is. */
  readonly upstream: string
  /** Seconds of CPU used so far. */
  readonly cpu: () => Promise<CpuSeconds>
}

const program = (name: string): string => projectPath('build/examples/pos', `${name}.js`)
const readyMs = 120_000

/** Starts what sessions are kept in. */
export async function startBackend(sessions: SessionsIn): Promise<Backend> {
  const on = (service: Service, args: readonly string[], ports: readonly number[] = []): Backend => ({
    args,
    cpu: () => redisCpuSeconds(ports),
    [Symbol.asyncDispose]: () => service.stop(),
  })
  switch (sessions) {
    case 'memory':
      return { args: [], [Symbol.asyncDispose]: async () => undefined }
    case 'redis': {
      const redis = await startRedis({ private: true })
      return on(redis, ['--redis', redis.url], [redis.port])
    }
    case 'redis-cluster': {
      const cluster = await startRedisCluster({ private: true })
      const ports = cluster.nodes.map(({ port }) => port)
      return {
        ...on(cluster, ['--redis', cluster.urls.join()], ports),
        async killMaster() {
          const [victim = 0, witness = 0] = await clusterMasters(ports[0] as number)
          await cluster.node(victim).kill()
          for (;;) {
            const masters = await clusterMasters(witness)
            if (masters.length === 3 && !masters.includes(victim)) return
            await sleep(100)
          }
        },
      }
    }
    case 'mysql': {
      const mysql = await startMysql({ private: true })
      const database = await createDatabase(mysql, `pos_${randomUUID().slice(0, 8)}`)
      return on(mysql, ['--mysql', database])
    }
  }
}

/** One that was killed does not say. */
async function redisCpuSeconds(ports: readonly number[]): Promise<number> {
  const texts = await Promise.all(ports.map((port) => redisCommand(port, 'INFO', 'cpu').catch(() => '')))
  const used = texts.flatMap((text) => [...String(text).matchAll(/used_cpu_(?:sys|user):([\d.]+)/g)])
  return used.reduce((sum, [, seconds]) => sum + Number(seconds), 0)
}

export interface FleetOptions {
  readonly servers: number
  readonly sessions: SessionsIn
  readonly backend: Backend
  /** Further arguments of the shop and of every server. */
  readonly shopArgs?: readonly string[]
  readonly tillArgs?: readonly string[]
}

/** Starts the shop, so many servers, and a balancer in front of them if there are several. */
export async function startFleet(options: FleetOptions): Promise<Fleet> {
  const { servers, sessions, backend, shopArgs = [], tillArgs = [] } = options
  const programs: Program[] = []
  const folder = await mkdtemp(join(tmpdir(), 'spillway-pos-'))
  const stop = async (): Promise<void> => {
    // The balancer goes first, and whatever the servers need goes last.
    for (const one of programs.toReversed()) await one.stop()
    await rm(folder, { recursive: true, force: true })
  }
  try {
    const shop = startProgram(process.execPath, [program('upstream'), '--port', '0', ...shopArgs])
    programs.push(shop)
    const upstream = await shop.printed(/listening on (http:\S+)/)
    const name = `scale-${randomUUID().slice(0, 8)}`
    const tills = Array.from({ length: servers }, () =>
      startProgram(process.execPath, [
        ...[program('main'), '--port', '0', '--upstream', upstream, '--name', name],
        ...backend.args,
        ...tillArgs,
      ]),
    )
    programs.push(...tills)
    const urls = await Promise.all(tills.map((till) => till.printed(/listening on (http:\S+)/)))
    await Promise.race([Promise.all(urls.map(answersReady)), ...tills.map(({ end }) => end)])
    const balancer = servers > 1 ? await startBalancer(folder, urls, sessions === 'memory') : undefined
    if (balancer) programs.push(balancer.program)
    const used = async (some: readonly Program[]): Promise<number> =>
      (await Promise.all(some.map(({ pid }) => cpuSeconds(pid)))).reduce<number>((sum, one) => sum + (one ?? 0), 0)
    return {
      url: balancer?.url ?? (urls[0] as string),
      servers: urls,
      pids: tills.map(({ pid }) => pid),
      upstream,
      cpu: async () => ({
        servers: await used(tills),
        balancer: balancer ? await used([balancer.program]) : 0,
        stores: (await backend.cpu?.()) ?? 0,
      }),
      [Symbol.asyncDispose]: stop,
    }
  } catch (error) {
    await stop()
    throw error
  }
}

async function answersReady(url: string): Promise<void> {
  const endsAt = performance.now() + readyMs
  for (;;) {
    const answer = await fetch(`${url}/ready`).catch(() => undefined)
    await answer?.body?.cancel()
    if (answer?.status === 200) return
    if (performance.now() > endsAt) throw new Error(`${url} was not ready within ${readyMs / 1_000} s`)
    await sleep(100)
  }
}

/** HAProxy with the configuration that ships; sessions in memory need everybody to come back to the same server. */
async function startBalancer(folder: string, urls: readonly string[], sticky: boolean) {
  const command = await requireProgram('haproxy', 'haproxy')
  const shipped = await readFile(projectPath('examples/pos/haproxy.cfg'), 'utf8')
  const file = join(folder, 'haproxy.cfg')
  // Until the balancer has noticed that a server is not there, it would send customers to it.
  const wanted = shipped.replace(/^ {2}server .*\n?/gm, (line) => {
    const number = Number(/POS_SERVER_(\d)/.exec(line)?.[1])
    return number <= urls.length ? line : ''
  })
  await writeFile(file, sticky ? wanted.replace('# cookie SERVER', 'cookie SERVER') : wanted)
  const listen = `127.0.0.1:${await freePort()}`
  const servers = urls.map((one, at) => [`POS_SERVER_${at + 1}`, new URL(one).host] as const)
  const balancer = startProgram(command, ['-db', '-f', file], { POS_LISTEN: listen, ...Object.fromEntries(servers) })
  const url = `http://${listen}`
  await Promise.race([answersReady(url), balancer.end])
  return { program: balancer, url }
}
