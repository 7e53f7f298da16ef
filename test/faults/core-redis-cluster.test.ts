import calculateSlot from 'cluster-key-slot'
import { Cluster as Cluster6 } from 'ioredis'
import { Cluster as Cluster5 } from 'ioredis5'
import { Cluster as ValkeyCluster } from 'iovalkey'
import { expect, it, onTestFinished } from 'vitest'
import { createGroupCommit } from '../../src/core/group-commit.js'
import { redisLane, type RedisClient } from '../../src/core/redis-client.js'
import { redisScript, runScript } from '../../src/core/redis-script.js'
import { describeWithServices, uniqueName } from '../services/vitest.js'

const script = redisScript(`
-- ${uniqueName('script')}
local counts = {}
for i, key in ipairs(KEYS) do counts[i] = redis.call('INCR', key) end
return counts`)

interface Connection extends RedisClient {
  disconnect(): void
  get(key: string): Promise<string | null>
}

const clusters: [string, (nodes: { host: string; port: number }[]) => Connection][] = [
  ['ioredis 6', (nodes) => new Cluster6(nodes, { lazyConnect: true })],
  ['ioredis 5', (nodes) => new Cluster5(nodes, { lazyConnect: true })],
  ['iovalkey', (nodes) => new ValkeyCluster(nodes, { lazyConnect: true })],
]

describeWithServices('a cluster', ['redis-cluster'], ({ 'redis-cluster': server }) => {
  it.each(clusters)('gets one trip for each slot by %s, lazily connected', async (_, connect) => {
    const redis = connect(server.nodes.map(({ host, port }) => ({ host, port })))
    onTestFinished(() => redis.disconnect())
    const trips: number[][] = []
    const commit = createGroupCommit<string, number>({
      module: 'test',
      verb: 'count',
      timeoutMs: 60_000,
      lane: (key) => redisLane(redis, key),
      run: async (keys, trip) => {
        trips.push(keys.map((key) => calculateSlot(key)))
        return (await runScript(redis, script, keys, [], trip)) as number[]
      },
    })
    const tag = uniqueName('tag')
    const keys = Array.from({ length: 200 }, (_, i) => (i % 4 === 0 ? `{${tag}}:${i}` : `${tag}:${i}`))
    expect(redis.status).toBe('wait')
    expect(await Promise.all(keys.map((key) => commit.call(key)))).toEqual(keys.map(() => 1))
    const slots = new Set(keys.map((key) => calculateSlot(key)))
    expect(slots.size).toBeGreaterThan(100)
    expect(trips.map((slotsOfTrip) => new Set(slotsOfTrip).size)).toEqual(trips.map(() => 1))
    expect(trips).toHaveLength(slots.size)
    expect(await Promise.all(keys.map((key) => redis.get(key)))).toEqual(keys.map(() => '1'))
  })
})
