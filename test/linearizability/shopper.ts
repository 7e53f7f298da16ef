// A process that makes random calls and writes them to a file. Test programs start and kill several.
import { once } from 'node:events'
import { Redis } from 'ioredis'
import { createStock } from '../../src/stock/index.js'
import { redisStock } from '../../src/stock/redis/index.js'
import { recordTo } from './history.js'
import { shop, type Shop } from './shop.js'

interface Settings extends Shop {
  readonly port: number
  readonly prefix: string
  readonly file: string
  readonly gateUnits: number
  /** Whether the client sends again what was under way when it lost its connection. */
  readonly resends: boolean
}

const settings = JSON.parse(process.argv[2] ?? '') as Settings
const { port, prefix, file, gateUnits, resends } = settings
const redis = new Redis(port, { retryStrategy: () => 20, ...(resends ? {} : { maxRetriesPerRequest: 0 }) })
let losses = 0
redis.on('close', () => losses++)
redis.on('error', () => undefined)
const stock = createStock(redisStock(redis, { prefix }), {
  timeoutMs: 20_000,
  ...(gateUnits > 0 ? { local: { mode: 'gate', units: gateUnits } } : {}),
})
const history = recordTo(file, stock, { gated: gateUnits > 0, losses: () => (resends ? losses : 0) })

// All begin together.
while (redis.status !== 'ready') await once(redis, 'ready')
process.stdout.write('ready\n')
await once(process.stdin, 'data')
process.stdin.unref()
await shop(history, settings)
await stock.close()
redis.disconnect()
process.stdout.write('done\n')
