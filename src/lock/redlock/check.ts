import type { RedisClient } from '../../core/redis-client.js'
import { LockNode } from './node.js'

const verbs = ['evalsha', 'eval', 'connect', 'on', 'off'] as const satisfies readonly (keyof RedisClient)[]

function isClient(value: unknown): value is RedisClient {
  if (typeof value !== 'object' || value === null) return false
  const client = value as Partial<Record<keyof RedisClient, unknown>>
  return typeof client.status === 'string' && verbs.every((verb) => typeof client[verb] === 'function')
}

function nameOf(client: RedisClient, index: number): string {
  const { host, port } = ((client as { options?: unknown }).options ?? {}) as { host?: unknown; port?: unknown }
  return typeof host === 'string' && typeof port === 'number' ? `${host}:${port}` : `nodes[${index}]`
}

/** At least one client, each of one server and none twice. */
export function checkedNodes(nodes: unknown): LockNode[] {
  if (!Array.isArray(nodes)) throw new TypeError(`nodes must be an array of Redis clients, got ${typeof nodes}`)
  if (nodes.length === 0) throw new RangeError('nodes must be at least one Redis client, got none')
  return nodes.map((client: unknown, index) => {
    if (!isClient(client))
      throw new TypeError(`nodes[${index}] must be a Redis client, got ${client === null ? 'null' : typeof client}`)
    if (client.isCluster === true) throw new TypeError(`nodes[${index}] must be one server, got a Cluster`)
    const first = nodes.indexOf(client)
    if (first < index) throw new RangeError(`nodes must be different servers, got nodes[${first}] again at ${index}`)
    return new LockNode(client, nameOf(client, index))
  })
}
