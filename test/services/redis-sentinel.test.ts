import { Redis } from 'ioredis'
import { expect, it } from 'vitest'
import { sentinelMaster } from './index.js'
import { eventually } from './redis-fleet.js'
import { describeWithServices } from './vitest.js'

describeWithServices(
  'startSentinel',
  ['redis-sentinel'],
  ({ 'redis-sentinel': sentinel }) => {
    it('leads to the master, and to another one when that is killed', async () => {
      const client = new Redis({
        sentinels: [...sentinel.sentinels],
        name: sentinel.name,
        maxRetriesPerRequest: null,
        sentinelRetryStrategy: () => 100,
        retryStrategy: () => 100,
      })
      client.on('error', () => undefined)
      await client.set('before', '1')
      // the replicas have it before the master goes
      expect(await client.wait(2, 10_000)).toBe(2)
      const witness = sentinel.sentinels[0]?.port as number
      const master = await sentinelMaster(witness)
      // The first, unless it was silent for a second: then the Sentinels have chosen another.
      expect(sentinel.servers.map(({ port }) => port)).toContain(master)
      await sentinel.node(master).kill()
      await eventually(async () => (await sentinelMaster(witness)) !== master, 'a failover')
      expect(await client.get('before')).toBe('1')
      await client.set('after', '2')
      expect(await client.get('after')).toBe('2')
      client.disconnect()
      await sentinel.node(master).restart()
    })
  },
  { private: true },
)
