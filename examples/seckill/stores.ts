import { embeddedStores, openFile, type Stores } from '../shared/selling/stores.js'
import type { Options } from './options.js'
import { sellEmbedded } from './strategies/embedded.js'

/** Opens them; the clients of the full stack are loaded only for the full stack. */
export async function openStores(options: Options): Promise<Stores> {
  return options.stack ? (await import('./stack.js')).openSeckillStack(options.stack, options) : embedded(options)
}

function embedded({ data, name, strategy }: Options): Stores {
  const db = openFile(data)
  const selling = sellEmbedded(strategy, db)
  const stores = embeddedStores(db, name)
  return {
    ...stores,
    strategy,
    seller: selling.seller,
    retire: (sale) => selling.retire(sale),
    async prepare() {
      await stores.prepare()
      await selling.prepare()
    },
    async close() {
      await selling.close()
      await stores.close()
    },
  }
}
