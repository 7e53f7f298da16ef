import { shown } from '../../core/check.js'
import type { Server } from './client.js'
import { checkedPath } from './paths.js'

/** Reads a connect string of ZooKeeper: `host:port,host:port/path`. An IPv6 address stands in brackets. */
export function parseServers(value: unknown): { readonly servers: readonly Server[]; readonly chroot: string } {
  if (typeof value !== 'string') throw new TypeError(`servers must be a string, got ${shown(value)}`)
  const slash = value.indexOf('/')
  const hosts = slash < 0 ? value : value.slice(0, slash)
  const path = slash < 0 ? '/' : value.slice(slash)
  const servers = hosts.split(',').map((text) => {
    const parts = /^\s*(?:\[([0-9a-fA-F:.]+(?:%[\w.-]+)?)\]|([^\s:[\]]+))(?::(\d{1,5}))?\s*$/.exec(text)
    const port = Number(parts?.[3] ?? 2181)
    if (!parts || port < 1 || port > 65_535) {
      throw new RangeError(`servers must be host:port, separated by commas, got ${JSON.stringify(value)}`)
    }
    return { host: (parts[1] ?? parts[2]) as string, port }
  })
  return { servers, chroot: path === '/' ? '' : checkedPath('the path of servers', path) }
}
