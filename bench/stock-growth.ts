import { parseArgs } from 'node:util'
import { Redis } from 'ioredis'
import type { StockDriver } from 'spillway/stock'
import { redisStock } from 'spillway/stock/redis'
import { startRedis } from '../test/services/index.js'

const help = `npm run -s build:fast && node bench/build/stock-growth.js [options]

Records orders of one SKU in a Redis of its own. At 1e4, 1e5, … recorded orders it tells Redis' memory and CPU per
order, and for how long a script of each call keeps Redis busy. Orders have ids of 24 characters and one unit.

  --orders N      up to how many orders      (default: 10000000)
  --states a,b    some of: sold, held, spent (default: all)
  --help
`

const batch = 1_000
const hourMs = 3_600_000
const trip = { signal: new AbortController().signal, sending: () => undefined }

type State = 'sold' | 'held' | 'spent'

interface Busy {
  readonly median: number
  /** 99 of 100 are shorter. */
  readonly most: number
  readonly longest: number
}

interface Figures {
  readonly orders: number
  readonly bytesPerOrder: number
  readonly cpuUsPerOrder: number
  readonly busy: Readonly<Record<string, Busy>>
}

const idsFrom = (first: number, count: number): string[] =>
  Array.from({ length: count }, (_, i) => `order-${String(first + i).padStart(18, '0')}`)

/** Records orders `first` to `first + count`, in two trips at once. */
async function record(driver: StockDriver, sku: string, state: State, first: number, count: number): Promise<void> {
  const holdMs = state === 'sold' ? undefined : hourMs
  const add = async (from: number): Promise<void> => {
    const ids = idsFrom(from, Math.min(batch, first + count - from))
    const orders = ids.map((orderId) => ({ sku, orderId, quantity: 1, buyer: undefined, holdMs }))
    const answers = await driver.sell(sku, orders, trip)
    if (!answers.every((answer) => !(answer instanceof Error) && answer.ok)) throw new Error('an order was refused')
    if (state !== 'spent') return
    await driver.settle(
      sku,
      ids.map((orderId) => ({ kind: 'cancel', orderId })),
      trip,
    )
  }
  for (let from = first; from < first + count; from += 2 * batch) {
    await Promise.all([from, from + batch].filter((start) => start < first + count).map(add))
  }
}

const numberIn = async (redis: Redis, section: string, name: string): Promise<number> =>
  Number(new RegExp(`^${name}:([\\d.]+)`, 'm').exec(await redis.info(section))?.[1])

const cpuUs = async (redis: Redis): Promise<number> =>
  1e6 * ((await numberIn(redis, 'cpu', 'used_cpu_user')) + (await numberIn(redis, 'cpu', 'used_cpu_sys')))

/** How long the scripts that `work` runs keep Redis busy, in milliseconds. The longest may have waited for a processor. */
async function busyMs(redis: Redis, work: () => Promise<unknown>): Promise<Busy> {
  await redis.slowlog('RESET')
  await work()
  const entries = (await redis.slowlog('GET', '-1')) as [number, number, number, string[]][]
  const scripts = entries.filter(([, , , [command]]) => /^eval/i.test(command ?? ''))
  const sorted = scripts.map(([, , us]) => us / 1_000).sort((a, b) => a - b)
  const at = (part: number): number => sorted[Math.floor(sorted.length * part)] ?? 0
  return { median: at(0.5), most: at(0.99), longest: sorted.at(-1) ?? 0 }
}

async function measure(redis: Redis, driver: StockDriver, sku: string, state: State, orders: number, bytes: number) {
  // A hash that has just grown has two tables until Redis has moved its entries.
  const bytesPerOrder = ((await numberIn(redis, 'memory', 'used_memory')) - bytes) / orders
  const sample = Math.min(orders, 100_000)
  const some = idsFrom(Math.floor(orders / 2), Math.min(batch, orders / 2))
  const busy: Record<string, Busy> = {}
  const beforeUs = await cpuUs(redis)
  busy[state === 'sold' ? 'sell' : 'reserve'] = await busyMs(redis, () =>
    record(driver, sku, state === 'spent' ? 'held' : state, orders, sample),
  )
  const cpuUsPerOrder = ((await cpuUs(redis)) - beforeUs) / sample
  const ids = idsFrom(orders, batch)
  const kinds = state === 'sold' ? (['confirm', 'refund'] as const) : (['confirm', 'cancel', 'refund'] as const)
  for (const [i, kind] of kinds.entries()) {
    const its = (kind === 'cancel' ? idsFrom(orders + batch * i, batch) : ids).map((orderId) => ({ kind, orderId }))
    busy[kind] = await busyMs(redis, () => driver.settle(sku, its, trip))
  }
  busy['level'] = await busyMs(redis, async () => {
    for (let i = 0; i < 100; i++) await driver.level(sku, { below: 1, forMs: 250 }, trip)
  })
  busy['find'] = await busyMs(redis, () => driver.find(sku, some, trip))
  busy['restock'] = await busyMs(redis, () =>
    driver.adjust(sku, [{ kind: 'restock', id: `r${orders}`, quantity: 1 }], trip),
  )
  busy['orders (page)'] = await busyMs(redis, async () => {
    let cursor: string | undefined
    do cursor = (await driver.orders(sku, cursor, trip))?.next
    while (cursor !== undefined)
  })
  const figures: Figures = { orders, bytesPerOrder, cpuUsPerOrder, busy }
  return { figures, recorded: orders + sample }
}

async function grow(state: State, most: number): Promise<Figures[]> {
  await using server = await startRedis({ private: true })
  const redis = new Redis(server.url)
  try {
    await redis.config('SET', 'slowlog-log-slower-than', '0')
    await redis.config('SET', 'slowlog-max-len', '1000000')
    const driver = redisStock(redis)
    const sku = 'ticket'
    await driver.adjust(sku, [{ kind: 'open', epoch: 'e', quantity: 1e12 }], trip)
    await record(driver, 'warm', 'sold', 0, 0)
    const bytes = await numberIn(redis, 'memory', 'used_memory')
    const rows: Figures[] = []
    let recorded = 0
    for (let orders = 10_000; orders <= most; orders *= 10) {
      process.stderr.write(`${state}: ${orders} orders\n`)
      await record(driver, sku, state, recorded, orders - recorded)
      await redis.slowlog('RESET')
      const { figures, recorded: now } = await measure(redis, driver, sku, state, orders, bytes)
      recorded = now
      rows.push(figures)
    }
    const last = rows.at(-1) as Figures
    const remove = await busyMs(redis, () => driver.adjust(sku, [{ kind: 'remove', epoch: 'e' }], trip))
    rows[rows.length - 1] = { ...last, busy: { ...last.busy, remove } }
    return rows
  } finally {
    redis.disconnect()
  }
}

const shown = ({ median, most, longest }: Busy): string => [median, most, longest].map((ms) => ms.toFixed(1)).join('/')

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      orders: { type: 'string', default: '10000000' },
      states: { type: 'string', default: 'sold,held,spent' },
      help: { type: 'boolean', default: false },
    },
  })
  if (values.help) return void process.stdout.write(help)
  const most = Number(values.orders)
  if (!(most >= 10_000)) throw new RangeError(`--orders must be a number from 10,000, got ${values.orders}`)
  for (const state of values.states.split(',') as State[]) {
    const rows = await grow(state, most)
    process.stdout.write(
      `\n## ${state}\n\nScripts: for how many ms each keeps Redis busy, median/p99/longest.\n\n` +
        '| orders | bytes per order | Redis CPU µs per order | scripts |\n|---|---|---|---|\n',
    )
    for (const { orders, bytesPerOrder, cpuUsPerOrder, busy } of rows) {
      const calls = Object.entries(busy).map(([name, ms]) => `${name} ${shown(ms)}`)
      const figures = [orders.toExponential(0), bytesPerOrder.toFixed(0), cpuUsPerOrder.toFixed(2), calls.join(', ')]
      process.stdout.write(`| ${figures.join(' | ')} |\n`)
    }
  }
}

await main()
