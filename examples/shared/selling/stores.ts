import { sql } from 'kysely'
import { memoryQueue, type QueueDriver } from 'spillway/queue'
import { memoryTokenBucket, type RateLimitDriver } from 'spillway/ratelimit'
import { DatabaseInUse, inTime, openDatabase } from '../database.js'
import { OptionsError } from '../options.js'
import type { Sale } from './sales.js'
import type { OpenSeller, Seller } from './seller.js'
import { migrate, type Database, type Tables } from './tables.js'

/** What a service that sells stands on, embedded or not. */
export interface Stores<S extends Seller = Seller> {
  readonly embedded: boolean
  readonly db: Database
  /** What decides orders. A sale is sold by one strategy at a time, the last that took it over. */
  readonly strategy: string
  readonly seller: OpenSeller<S>
  readonly buckets: RateLimitDriver
  readonly queue: QueueDriver
  readonly names: Names
  /** The time that all servers go by, in milliseconds since 1970. */
  nowMs(): number
  /** Which of them answer now. */
  check(): Promise<Record<string, boolean>>
  /** Ends what other strategies sell of this life of a sale. */
  retire(sale: Sale): Promise<void>
  /** Puts into a rebuilt stock what the database knows beside the recorded orders, before anybody buys in it. */
  readonly restore?: Restore
  /** Makes tables and topics where they are missing. */
  prepare(): Promise<void>
  close(): Promise<void>
}

/** All but what sells. */
export type CommonStores = Omit<Stores, 'strategy' | 'seller' | 'retire' | 'restore'>

/** By the name of the rebuilt stock. */
export interface Restore {
  /** Ids that sell no more, while all units are on sale. */
  spent(sale: Sale, sku: string): Promise<void>
  /** Holds, after the recorded orders have their units. */
  holds(sale: Sale, sku: string): Promise<void>
}

/** What the parts are called on servers that others may use as well. */
export interface Names {
  readonly topic: string
  /** Where messages go that the database will never take. */
  readonly deadLetterTopic: string
  readonly group: string
  readonly redisPrefix: string
}

export const namesOf = (name: string): Names => ({
  topic: `${name}-orders`,
  deadLetterTopic: `${name}-orders.dead`,
  group: name,
  redisPrefix: `${name}:`,
})

export const partitions = 8

/** Whether `work` succeeds within a second. */
export const answers = async (work: () => Promise<unknown>): Promise<boolean> =>
  inTime(Promise.resolve().then(work), 1_000).then(
    () => true,
    () => false,
  )

/** The SQLite file of an embedded service, or an OptionsError that says what is wrong with `--data`. */
export function openFile(file: string): Database {
  try {
    return openDatabase<Tables>({ file })
  } catch (error) {
    const hint = error instanceof DatabaseInUse ? '. Is one running? Choose another with --data, and with --port' : ''
    throw new OptionsError(`--data ${error instanceof Error ? error.message : String(error)}${hint}`)
  }
}

/** Everything in this process, and the orders in a SQLite file. */
export function embeddedStores(db: Database, name: string): CommonStores {
  return {
    embedded: true,
    db,
    buckets: memoryTokenBucket(),
    queue: memoryQueue({ partitions }),
    names: namesOf(name),
    nowMs: () => Date.now(),
    check: async () => ({ sqlite: await answers(() => sql`select 1`.execute(db)) }),
    prepare: () => migrate(db, 'sqlite'),
    close: () => db.destroy(),
  }
}
