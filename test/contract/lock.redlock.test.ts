import { Redis } from 'ioredis'
import { describe, it } from 'vitest'
import { lockContract } from '../../src/lock/contract.js'
import { redlockLock } from '../../src/lock/redlock/index.js'
import type { RedisService } from '../services/index.js'
import { sleep } from '../services/net.js'
import { describeWithNodes } from '../support/redis-nodes.js'

/** The layout has no prefix that would keep the cases apart, so each begins with empty servers. */
const onRealTime = (servers: readonly RedisService[]): void =>
  lockContract(it, async () => {
    const clients: Redis[] = []
    const open = (): Redis[] => {
      const nodes = servers.map(({ url }) => new Redis(url))
      clients.push(...nodes)
      return nodes
    }
    await Promise.all(open().map((node) => node.flushall()))
    return {
      // A busy machine is no fault here.
      driver: () => redlockLock(open(), { nodeTimeoutMs: 10_000 }),
      advance: (ms) => sleep(ms),
      [Symbol.asyncDispose]: async () => clients.forEach((node) => node.disconnect()),
    }
  })

describeWithNodes('redlockLock', 4, (servers) => {
  describe('over three servers', () => onRealTime(servers.slice(0, 3)))
  describe('over four servers', () => onRealTime(servers))
  describe('over one server', () => onRealTime(servers.slice(0, 1)))
})
