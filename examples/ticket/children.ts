import { runOfficeProcess } from '../shared/selling/office-process.js'
import { runWebProcess } from '../shared/selling/web-process.js'
import { outcomes } from './board.js'
import { createTicketWeb } from './http.js'
import { startOrderService } from './office.js'
import type { Options } from './options.js'
import { createService } from './service.js'
import { openStores } from './stores.js'

/** A ticketing server: a process that answers requests. */
export const runWeb = (options: Options): Promise<void> =>
  runWebProcess(
    options,
    outcomes,
    () => openStores(options),
    (stores, publisher) => createService(stores, publisher, options),
    createTicketWeb,
  )

/** An order service: a process that writes orders. */
export const runOffice = (options: Options): Promise<void> =>
  runOfficeProcess(() => openStores(options), startOrderService)
