import type { Redis } from 'ioredis'
import { median, type Row } from './report.js'
import type { Seller } from './rush.js'
import { ours, scripts } from './stock-redis.js'

const callers = 512
const turns = 5
const ordersInTurn = 5_000
const sizes = [10_000, 100_000, 1_000_000, 10_000_000]

/** A seller that can also record orders by the quickest way that there is. */
type Growing<Answer> = Seller<Answer> & { readonly record: (orderIds: readonly string[]) => Promise<unknown> }

/** Microseconds that Redis has computed for, in user and in kernel mode. */
async function usedUs(redis: Redis): Promise<number> {
  const info = await redis.info('cpu')
  return ['sys', 'user'].reduce((sum, mode) => {
    return sum + 1e6 * Number(new RegExp(`used_cpu_${mode}:([\\d.]+)`).exec(info)?.[1])
  }, 0)
}

/** What an order costs Redis, at each of the sizes. */
async function costs<Answer>(redis: Redis, start: () => Promise<Growing<Answer>>): Promise<number[]> {
  const seller = await start()
  let recorded = 0
  const nextId = (): string => `order-${recorded++}`

  async function sellTurn(): Promise<number> {
    const [before, until] = [await usedUs(redis), recorded + ordersInTurn]
    const caller = async (): Promise<void> => {
      while (recorded < until) {
        if (!seller.expects(await seller.ask(nextId()))) throw new Error('the bench is refused what it should get')
      }
    }
    await Promise.all(Array.from({ length: callers }, caller))
    return ((await usedUs(redis)) - before) / ordersInTurn
  }

  try {
    const perOrder: number[] = []
    for (const size of sizes) {
      while (recorded < size) await seller.record(Array.from({ length: Math.min(1_000, size - recorded) }, nextId))
      const measured: number[] = []
      for (let turn = 0; turn < turns; turn++) measured.push(await sellTurn())
      perOrder.push(median(measured))
    }
    return perOrder
  } finally {
    await seller.close()
  }
}

/** Redis' processor time for an order, as the recorded orders grow. */
export async function cpuRows(redis: Redis): Promise<Row[]> {
  const mine = await costs(redis, ours(redis).selling)
  const theirs = await costs(redis, scripts(redis).selling)
  return sizes.map((size, i) => ({
    name: `processor time of Redis for an order, ${size.toLocaleString('en')} recorded, ${callers} callers`,
    ours: mine[i] as number,
    theirs: theirs[i] as number,
    peer: 'one EVALSHA per order',
    unit: 'µs',
    note: 'less is better',
  }))
}
