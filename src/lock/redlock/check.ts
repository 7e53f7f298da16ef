import { shown } from '../../core/check.js'
import { checkRedisClient, type RedisClient } from '../../core/redis-client.js'
import { LockNode } from './node.js'

function nameOf(client: RedisClient, index: number): string {
  const { host, port } = ((client as { options?: unknown }).options ?? {}) as { host?: unknown; port?: unknown }
  return typeof host === 'string' && typeof port === 'number' ? `${host}:${port}` : `nodes[${index}]`
}

/** At least one client, each of one server and none twice. */
export function checkedNodes(nodes: unknown): LockNode[] {
  if (!Array.isArray(nodes)) {
    const got = typeof nodes === 'object' && nodes !== null ? Object.prototype.toString.call(nodes) : shown(nodes)
    throw new TypeError(`nodes must be an array of Redis clients, got ${got}`)
  }
  if (nodes.length === 0) throw new RangeError('nodes must be at least one Redis client, got none')
  return (nodes as RedisClient[]).map((client, index) => {
    checkRedisClient(`nodes[${index}]`, client)
    if (client.isCluster === true) throw new TypeError(`nodes[${index}] must be one server, got a Cluster`)
    const first = nodes.indexOf(client)
    if (first < index) throw new RangeError(`nodes must be different servers, got nodes[${first}] again at ${index}`)
    return new LockNode(client, nameOf(client, index))
  })
}
