import { openStack } from '../shared/selling/stack.js'
import type { Stores } from '../shared/selling/stores.js'
import type { Options } from './options.js'
import { sellOnServers } from './strategies/servers.js'

/** Redis, Kafka, MySQL or MariaDB, and what the strategy needs beside them. */
export async function openSeckillStack(
  stack: NonNullable<Options['stack']>,
  options: Pick<Options, 'name' | 'strategy' | 'zookeeper'>,
): Promise<Stores> {
  const stores = openStack(stack, options.name, () => selling.check ?? {})
  const { redis, db, names } = stores
  const selling = await sellOnServers(options, { redis, db, prefix: names.redisPrefix })
  return {
    ...stores,
    strategy: options.strategy,
    seller: selling.seller,
    retire: (sale) => selling.retire(sale),
    async prepare() {
      await stores.prepare()
      await selling.prepare()
    },
    async close() {
      await selling.close().catch(() => undefined)
      await stores.close()
    },
  }
}
