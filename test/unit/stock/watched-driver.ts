import { memoryStock, type StockDriver } from '../../../src/stock/index.js'
import type { Clock } from '../../../src/core/clock.js'

type Verb = Exclude<keyof StockDriver, 'lane' | 'basketLane' | 'checkSku'>

export interface WatchedDriver extends StockDriver {
  /** Trips so far. */
  readonly trips: Record<Verb, number>
  /** What happens to the next trips of a verb: they fail before or after they are sent, or are never answered. */
  readonly faults: Partial<Record<Verb, 'refuse' | 'break' | 'hang'>>
}

/** A driver that counts its trips and fails when it is told to. */
export function watchedDriver(clock: Clock, driver: StockDriver = memoryStock({ clock })): WatchedDriver {
  const trips: WatchedDriver['trips'] = { adjust: 0, sell: 0, sellTogether: 0, settle: 0, level: 0, orders: 0, find: 0 }
  const faults: WatchedDriver['faults'] = {}
  const watched =
    <Args extends unknown[], Reply>(verb: Verb, run: (...args: Args) => Promise<Reply>) =>
    async (...args: Args): Promise<Reply> => {
      trips[verb]++
      if (faults[verb] === 'refuse') throw new Error('connection refused')
      if (faults[verb] === 'hang') {
        const trip = args.at(-1) as { sending(): void }
        trip.sending()
        return new Promise<Reply>(() => undefined)
      }
      const reply = await run(...args)
      if (faults[verb] === 'break') throw new Error('connection broken')
      return reply
    }
  return {
    trips,
    faults,
    adjust: watched('adjust', driver.adjust.bind(driver)),
    sell: watched('sell', driver.sell.bind(driver)),
    sellTogether: watched('sellTogether', driver.sellTogether.bind(driver)),
    settle: watched('settle', driver.settle.bind(driver)),
    level: watched('level', driver.level.bind(driver)),
    orders: watched('orders', driver.orders.bind(driver)),
    find: watched('find', driver.find.bind(driver)),
  }
}
