import { Redis } from 'ioredis'
import { onTestFinished } from 'vitest'
import type { RedisService } from '../services/index.js'
import { startProxy, type FaultProxy } from '../support/proxy.js'
import { until } from '../support/until.js'

/** A server, a client of it behind a proxy of its own, and one that no fault reaches. */
export interface Place {
  readonly server: RedisService
  readonly proxy: FaultProxy
  readonly node: Redis
  readonly admin: Redis
}

export const open = (port: number, options: { autoResendUnfulfilledCommands?: boolean } = {}): Redis => {
  const redis = new Redis({ host: '127.0.0.1', port, ...options })
  // What it says of lost connections is what the tests provoke.
  redis.on('error', () => undefined)
  onTestFinished(() => redis.disconnect())
  return redis
}

/** Connects to servers through proxies. */
export const placesOf = (servers: readonly RedisService[]): Promise<Place[]> =>
  Promise.all(
    servers.map(async (server) => {
      const proxy = await startProxy(server)
      onTestFinished(() => proxy.stop())
      const [node, admin] = [open(proxy.port), open(server.port)]
      await Promise.all([node.ping(), admin.ping()])
      return { server, proxy, node, admin }
    }),
  )

/** What the nodes have at a key. */
export const contents = (places: readonly Place[], key: string): Promise<(string | null)[]> =>
  Promise.all(places.map(({ admin }) => admin.get(key)))

/** Refuses connections, and has ended those that there were. */
export const fail = async ({ proxy, node }: Place): Promise<void> => {
  await proxy.refuse()
  proxy.cut()
  await until(() => node.status !== 'ready')
}

/** Takes every fault back, and waits until all that was under way has been carried out. */
export const heal = async (places: readonly Place[]): Promise<void> => {
  await Promise.all(
    places.map(async ({ proxy, node }) => {
      proxy.thaw()
      await proxy.accept()
      await until(() => node.status === 'ready')
      await node.ping()
    }),
  )
}
