import { sql } from 'kysely'
import { memoryQueue, type QueueDriver } from 'spillway/queue'
import { memoryTokenBucket, type RateLimitDriver } from 'spillway/ratelimit'
import { DatabaseInUse, inTime, openDatabase } from '../shared/database.js'
import { OptionsError } from '../shared/options.js'
import type { Options } from './options.js'
import { sellEmbedded } from './strategies/embedded.js'
import type { OpenSeller } from './strategies/seller.js'
import { migrate, type Database, type Tables } from './tables.js'

/** What the service stands on, embedded or not. */
export interface Stores {
  readonly embedded: boolean
  readonly db: Database
  readonly seller: OpenSeller
  readonly buckets: RateLimitDriver
  readonly queue: QueueDriver
  readonly names: Names
  /** Which of them answer now. */
  check(): Promise<Record<string, boolean>>
  /** Ends what another strategy sells of a SKU. */
  retire(sku: string): Promise<void>
  /** Makes tables and topics where they are missing. */
  prepare(): Promise<void>
  close(): Promise<void>
}

/** What the parts are called on servers that others may use as well. */
export interface Names {
  readonly topic: string
  /** Where messages go that the database will never take. */
  readonly deadLetterTopic: string
  readonly group: string
  readonly redisPrefix: string
}

const namesOf = (name: string): Names => ({
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

/** Opens them; the clients of the full stack are loaded only for the full stack. */
export async function openStores(options: Options): Promise<Stores> {
  return options.stack
    ? (await import('./stack.js')).openStack(options.stack, namesOf(options.name), options)
    : embedded(options)
}

function openFile(file: string): Database {
  try {
    return openDatabase<Tables>({ file })
  } catch (error) {
    const hint = error instanceof DatabaseInUse ? '. Is one running? Choose another with --data, and with --port' : ''
    throw new OptionsError(`--data ${error instanceof Error ? error.message : String(error)}${hint}`)
  }
}

function embedded({ data, name, strategy }: Options): Stores {
  const db = openFile(data)
  const selling = sellEmbedded(strategy, db)
  return {
    embedded: true,
    db,
    seller: selling.seller,
    retire: (sku) => selling.retire(sku),
    buckets: memoryTokenBucket(),
    queue: memoryQueue({ partitions }),
    names: namesOf(name),
    check: async () => ({ sqlite: await answers(() => sql`select 1`.execute(db)) }),
    async prepare() {
      await migrate(db, 'sqlite')
      await selling.prepare()
    },
    async close() {
      await selling.close()
      await db.destroy()
    },
  }
}
