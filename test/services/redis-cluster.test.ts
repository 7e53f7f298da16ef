import { Cluster } from 'ioredis'
import { describe, expect, it } from 'vitest'
import { clusterMasters } from './index.js'
import { eventually } from './redis-fleet.js'
import { mastersIn, slotsOf } from './redis-cluster.js'
import { describeWithServices } from './vitest.js'

describeWithServices(
  'startRedisCluster',
  ['redis-cluster'],
  ({ 'redis-cluster': cluster }) => {
    it('serves keys of every slot', async () => {
      const client = new Cluster([...cluster.nodes])
      const keys = Array.from({ length: 200 }, (_, n) => `key-${n}`)
      await Promise.all(keys.map((key) => client.set(key, key)))
      expect(await Promise.all(keys.map((key) => client.get(key)))).toEqual(keys)
      client.disconnect()
    })

    it('has three masters and puts a replica in the place of a killed one', async () => {
      const ports = cluster.nodes.map(({ port }) => port)
      const witness = ports.at(-1) as number
      let before: readonly number[] = []
      // One that was slow to answer is not counted for a moment, or has been replaced by its replica.
      await eventually(async () => (before = await clusterMasters(witness)).length === 3, 'three masters')
      expect(new Set(before.map((port) => ports.indexOf(port) % 3))).toEqual(new Set([0, 1, 2]))
      const victim = before.find((port) => port !== witness) as number
      await cluster.node(victim).kill()
      const replaced = async (): Promise<boolean> => {
        const masters = await clusterMasters(witness)
        return masters.length === 3 && !masters.includes(victim)
      }
      await eventually(replaced, 'a failover')
      await cluster.node(victim).restart()
      await eventually(async () => (await clusterMasters(victim)).length === 3, 'that the killed one is a replica')
      expect(() => cluster.node(1)).toThrow('listens on 1')
    })
  },
  { private: true },
)

describe('the plan of a cluster', () => {
  it('gives every slot to one master', () => {
    const slots = [slotsOf(0), slotsOf(1), slotsOf(2)]
    expect(slots.flat()).toEqual(Array.from({ length: 16_384 }, (_, slot) => slot))
    for (const { length } of slots) expect(Math.abs(length - 16_384 / 3)).toBeLessThan(1)
  })

  it('reads the living masters', () => {
    const said = [
      'a 127.0.0.1:7001@17001 myself,master - 0 0 1 connected 0-5460',
      'b 127.0.0.1:7002@17002,host master,fail - 0 0 2 connected',
      'c 127.0.0.1:7003@17003 slave a 0 0 1 connected',
      'd 127.0.0.1:7004@17004,host master - 0 0 3 connected 5461-16383',
      '',
    ].join('\n')
    expect(mastersIn(said)).toEqual([7001, 7004])
  })
})
