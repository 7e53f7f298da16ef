// A process that trades and prints what it was told. Test programs start and kill several.
import { once } from 'node:events'
import { Cluster, Redis } from 'ioredis'
import { createStock } from '../../src/stock/index.js'
import { redisStock } from '../../src/stock/redis/index.js'
import { trade } from './stock-trade.js'

export interface TraderSettings {
  /** The nodes of a Cluster, or one server. */
  readonly nodes: readonly { readonly host: string; readonly port: number }[]
  readonly prefix: string
  readonly gateUnits: number
  readonly name: string
  readonly orders: number
  /** Without it both SKUs are in one group. */
  readonly shards?: number | undefined
}

const { nodes, prefix, gateUnits, shards, ...rest } = JSON.parse(process.argv[2] ?? '') as TraderSettings
const [node] = nodes
const redis = nodes.length > 1 ? new Cluster([...nodes]) : new Redis({ ...node, retryStrategy: () => 20 })
redis.on('error', () => undefined)
const stock = createStock(redisStock(redis, { prefix, ...(shards ? { shards } : { group: () => 'shop' }) }), {
  timeoutMs: 2_000,
  ...(gateUnits > 0 ? { local: { mode: 'gate', units: gateUnits } } : {}),
})

// All begin together.
while (redis.status !== 'ready') await once(redis, 'ready')
process.stdout.write('ready\n')
await once(process.stdin, 'data')
process.stdin.unref()
await trade(stock, {
  ...rest,
  callers: 16,
  baskets: !shards,
  tell: (told) => process.stdout.write(`${JSON.stringify(told)}\n`),
})
await stock.close()
redis.disconnect()
process.stdout.write('done\n')
