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

type Nodes = { host: string; port: number }[]
type Settings = { enableAutoPipelining?: boolean; keyPrefix?: string; scaleReads?: 'slave' }

const clusters: [string, (nodes: Nodes, settings: Settings) => Connection][] = [
  ['ioredis 6', (nodes, settings) => new Cluster6(nodes, { lazyConnect: true, ...settings })],
  ['ioredis 5', (nodes, settings) => new Cluster5(nodes, { lazyConnect: true, ...settings })],
  ['iovalkey', (nodes, settings) => new ValkeyCluster(nodes, { lazyConnect: true, ...settings })],
]

const settings: Settings[] = [
  {},
  { enableAutoPipelining: true },
  { keyPrefix: 'app:' },
  { keyPrefix: '{app}:', enableAutoPipelining: true },
  { scaleReads: 'slave', enableAutoPipelining: true },
]

const cases = clusters.flatMap(([name, connect]) =>
  settings.map((set) => [`${name} with ${JSON.stringify(set)}`, connect, set] as const),
)

describeWithServices('a cluster', ['redis-cluster'], ({ 'redis-cluster': server }) => {
  it.each(cases)('gets one trip for each slot by %s, lazily connected', async (_, connect, set) => {
    const redis = connect(
      server.nodes.map(({ host, port }) => ({ host, port })),
      set,
    )
    onTestFinished(() => redis.disconnect())
    const trips: number[][] = []
    const commit = createGroupCommit<string, number>({
      module: 'test',
      verb: 'count',
      timeoutMs: 60_000,
      lane: (key) => redisLane(redis, key),
      run: async (keys, trip) => {
        trips.push(keys.map((key) => calculateSlot((set.keyPrefix ?? '') + key)))
        return (await runScript(redis, script, keys, [], trip)) as number[]
      },
    })
    const tag = uniqueName('tag')
    const keys = Array.from({ length: 200 }, (_, i) => (i % 4 === 0 ? `{${tag}}:${i}` : `${tag}:${i}`))
    expect(redis.status).toBe('wait')
    expect(await Promise.all(keys.map((key) => commit.call(key)))).toEqual(keys.map(() => 1))
    const slots = new Set(keys.map((key) => calculateSlot((set.keyPrefix ?? '') + key)))
    if (set.keyPrefix?.startsWith('{') === true) expect(slots.size, 'the prefix has the hash tag').toBe(1)
    else expect(slots.size).toBeGreaterThan(50)
    expect(trips.map((slotsOfTrip) => new Set(slotsOfTrip).size)).toEqual(trips.map(() => 1))
    expect(trips).toHaveLength(slots.size)
    expect(await Promise.all(keys.map((key) => redis.get(key)))).toEqual(keys.map(() => '1'))
  })
})
