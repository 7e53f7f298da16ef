import { createLock, memoryLock } from 'spillway/lock'
import { memoryStock } from 'spillway/stock'
import { OptionsError } from '../../shared/options.js'
import type { Database } from '../../shared/selling/tables.js'
import { lockedSeller } from './locked.js'
import { memoryCounts } from './memory-counts.js'
import { migrateOptimistic, optimisticSeller } from './optimistic.js'
import { stockSeller } from '../../shared/selling/seller.js'
import type { Selling, Strategy } from './seller.js'

const nothing = async (): Promise<void> => undefined
// The file is of one process, and so of one strategy.
const alone = { prepare: nothing, retire: nothing, close: nothing }

/** A strategy within one process. `redis-lock` has a lock and counts in memory. */
export function sellEmbedded(strategy: Strategy, db: Database): Selling {
  switch (strategy) {
    case 'stock':
      return { ...alone, seller: stockSeller(memoryStock()) }
    case 'optimistic': {
      const seller = optimisticSeller(db)
      return { ...alone, seller: () => seller, prepare: () => migrateOptimistic(db, 'sqlite') }
    }
    case 'redis-lock': {
      const lock = createLock(memoryLock())
      const seller = lockedSeller(lock, memoryCounts(), (sku) => sku)
      return { ...alone, seller: () => seller, close: () => lock.close() }
    }
    case 'zookeeper-lock':
      throw new OptionsError('--strategy zookeeper-lock needs --zookeeper, --redis, --kafka and --mysql')
  }
}
