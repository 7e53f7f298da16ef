import { Cluster, Redis, type ClusterOptions, type RedisOptions } from 'ioredis'
import * as ioredis5 from 'ioredis5'
import type { Address } from '../services/address.js'

// What callers set on the clients that they hand to a driver. A driver works with each of these, or turns the client
// away with a TypeError when it is made.

/** Settings of a client, and what they are called in a test's title. */
export interface ClientSettings<Options> {
  readonly title: string
  readonly options: Options
}

export type ClientLibrary = 'ioredis 6' | 'ioredis 5'

export const clientLibraries: readonly ClientLibrary[] = ['ioredis 6', 'ioredis 5']

/** For a client of one server. `protocol` and `replyMapping` mean something to ioredis 6 only. */
export const serverSettings: readonly ClientSettings<RedisOptions>[] = [
  { title: 'no settings', options: {} },
  { title: 'keyPrefix', options: { keyPrefix: 'app:' } },
  { title: 'keyPrefix with a hash tag', options: { keyPrefix: '{app}:' } },
  { title: 'enableAutoPipelining', options: { enableAutoPipelining: true } },
  { title: 'enableAutoPipelining and keyPrefix', options: { enableAutoPipelining: true, keyPrefix: 'app:' } },
  { title: 'stringNumbers', options: { stringNumbers: true } },
  { title: 'RESP2', options: { protocol: 2 } },
  { title: 'RESP3', options: { protocol: 3 } },
  { title: 'RESP3 with replies as they are', options: { protocol: 3, replyMapping: 'resp3' } },
  { title: 'db', options: { db: 3 } },
  { title: 'lazyConnect', options: { lazyConnect: true } },
  { title: 'no offline queue', options: { enableOfflineQueue: false } },
  { title: 'lazyConnect and no offline queue', options: { lazyConnect: true, enableOfflineQueue: false } },
  { title: 'no ready check', options: { enableReadyCheck: false } },
  { title: 'unlimited retries', options: { maxRetriesPerRequest: null } },
  {
    title: 'all of them',
    options: {
      ...{ keyPrefix: '{app}:', enableAutoPipelining: true, stringNumbers: true, protocol: 3, replyMapping: 'resp3' },
      ...{ db: 3, lazyConnect: true, enableOfflineQueue: false, maxRetriesPerRequest: null },
    },
  },
]

/** For a client of a Cluster, whose replicas may be asked for what only reads. */
export const clusterSettings: readonly ClientSettings<ClusterOptions>[] = [
  { title: 'no settings', options: {} },
  { title: 'keyPrefix', options: { keyPrefix: 'app:' } },
  { title: 'keyPrefix of its connections', options: { redisOptions: { keyPrefix: 'app:' } } },
  { title: 'keyPrefix with a hash tag', options: { keyPrefix: '{app}:' } },
  { title: 'enableAutoPipelining', options: { enableAutoPipelining: true } },
  { title: 'enableAutoPipelining and keyPrefix', options: { enableAutoPipelining: true, keyPrefix: 'app:' } },
  { title: 'stringNumbers', options: { redisOptions: { stringNumbers: true } } },
  { title: 'RESP2', options: { redisOptions: { protocol: 2 } } },
  { title: 'RESP3', options: { redisOptions: { protocol: 3 } } },
  { title: 'RESP3 with replies as they are', options: { redisOptions: { protocol: 3, replyMapping: 'resp3' } } },
  { title: 'lazyConnect', options: { lazyConnect: true } },
  { title: 'no offline queue, lazily connected', options: { lazyConnect: true, enableOfflineQueue: false } },
  { title: 'scaleReads: slave', options: { scaleReads: 'slave' } },
  { title: 'scaleReads: all', options: { scaleReads: 'all' } },
  { title: 'scaleReads: all and enableAutoPipelining', options: { scaleReads: 'all', enableAutoPipelining: true } },
  {
    title: 'all of them but stringNumbers',
    options: {
      ...{ keyPrefix: '{app}:', enableAutoPipelining: true, lazyConnect: true, scaleReads: 'all' },
      // Not stringNumbers: with it ioredis compares slot numbers as text, loses those of the second master, and its own
      // automatic pipelining throws for them.
      redisOptions: { protocol: 3, replyMapping: 'resp3' },
    },
  },
]

const silenced = <Client extends Redis | Cluster>(client: Client): Client => {
  client.on('error', () => undefined)
  return client
}

/** A client of one server. Whoever asked for it disconnects it. Clients of ioredis 5 have the type of ioredis 6 here. */
export function serverClient(
  { host, port }: Address,
  options: RedisOptions,
  library: ClientLibrary = 'ioredis 6',
): Redis {
  const Client = library === 'ioredis 6' ? Redis : (ioredis5.Redis as unknown as typeof Redis)
  // Its own type of options does not fit its constructor with exactOptionalPropertyTypes.
  return silenced(new Client({ ...options, host, port } as never))
}

/** A client of a Cluster, as `serverClient` makes one of a server. */
export function clusterClient(
  nodes: readonly Address[],
  options: ClusterOptions,
  library: ClientLibrary = 'ioredis 6',
): Cluster {
  const Client = library === 'ioredis 6' ? Cluster : (ioredis5.Cluster as unknown as typeof Cluster)
  const startNodes = nodes.map(({ host, port }) => ({ host, port }))
  return silenced(new Client(startNodes, options as never))
}
