import { startOffice } from '../shared/selling/office.js'
import { runOfficeProcess } from '../shared/selling/office-process.js'
import { recordOrders } from '../shared/selling/orders.js'
import { runWebProcess } from '../shared/selling/web-process.js'
import { outcomes } from './board.js'
import { createSeckillWeb, type SeckillWeb } from './http.js'
import type { Options } from './options.js'
import { createService } from './service.js'
import { openStores } from './stores.js'

/** A process that answers requests. */
export const runWeb = (options: Options): Promise<void> =>
  runWebProcess(
    options,
    outcomes,
    () => openStores(options),
    (stores, publisher) => createService(stores, publisher, options),
    (parts, ask) => {
      const rush = ask('rush') as SeckillWeb['backstage']['rush']
      return createSeckillWeb({ ...parts, backstage: { ...parts.backstage, rush } })
    },
  )

/** A process that writes orders. */
export const runOffice = (options: Options): Promise<void> =>
  runOfficeProcess(
    () => openStores(options),
    (stores) => startOffice(stores, recordOrders),
  )
