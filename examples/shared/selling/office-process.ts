import { constants, setPriority } from 'node:os'
import { setTimeout as sleep } from 'node:timers/promises'
import { isStoreAway } from '../away.js'
import { ownMetrics } from '../metrics.js'
import { lineToPrimary } from '../processes.js'
import { ending, every } from '../run.js'
import type { Office } from './office.js'
import type { Stores } from './stores.js'

/** A process that writes orders. It yields to those that answer requests: the queue is there to wait. */
export async function runOfficeProcess<S extends Pick<Stores, 'close'>>(
  open: () => Promise<S>,
  start: (stores: S) => Promise<Office>,
): Promise<void> {
  const { stop, by } = ending()
  const line = lineToPrimary({
    stop,
    metrics: ownMetrics,
    audit: (saleId: string) => office.audit(saleId),
    reconcile: (saleId: string) => office.reconcile(saleId),
    doors: (requestsPerSecond: number) => office.doors(requestsPerSecond),
  })
  const stores = await open()
  const office = await start(stores)
  setPriority(constants.priority.PRIORITY_BELOW_NORMAL)
  const stopTelling = every(500, async () => line.tell('report', await office.report()))
  const stopChecking = every(2_000, () => office.check())
  line.tell('ready')
  void reviveWhatCanBe(office)
  by(async () => {
    await Promise.all([stopTelling(), stopChecking()])
    await office.close()
    await stores.close()
  })
}

/** A sale without a stock sells nothing, so this tries again while a store is away. The end of the process ends it. */
async function reviveWhatCanBe(office: Office): Promise<void> {
  for (;;) {
    try {
      return await office.revive()
    } catch (error) {
      if (!isStoreAway(error)) return void process.stderr.write(`${String(error)}\n`)
      await sleep(1_000)
    }
  }
}
