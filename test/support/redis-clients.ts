import { Cluster, Redis } from 'ioredis'
import * as ioredis5 from 'ioredis5'
import * as iovalkey from 'iovalkey'

export const offline = { lazyConnect: true } as const
const nodes = [{ host: '127.0.0.1', port: 1 }]

/** One of each kind of client that the drivers take, not connected. */
export const offlineClients = () =>
  [
    new Redis(offline),
    new Cluster(nodes, offline),
    new ioredis5.Redis(offline),
    new ioredis5.Cluster(nodes, offline),
    new iovalkey.Redis(offline),
    new iovalkey.Cluster(nodes, offline),
  ] as const
