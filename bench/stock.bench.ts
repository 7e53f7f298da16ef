import { createHash } from 'node:crypto'
import { Redis } from 'ioredis'
import { createStock } from 'spillway/stock'
import { redisStock } from 'spillway/stock/redis'
import { median, type Row } from './report.js'

/** The peer: what one order costs when each has a script call of its own. It records the id and counts, no more. */
const scriptPerOrder = `
if redis.call('HEXISTS', KEYS[2], ARGV[1]) == 1 then return 2 end
local left = tonumber(redis.call('GET', KEYS[1]))
if left < 1 then return 0 end
redis.call('SET', KEYS[1], left - 1)
redis.call('HSET', KEYS[2], ARGV[1], 1)
return 1
`

/** What a case asks, and what it must be answered. */
interface Rush<Answer> {
  readonly ask: (orderId: string) => Promise<Answer>
  readonly expects: (answer: Answer) => boolean
  readonly idOf: (caller: number, order: number) => string
}

/** Decided orders per second with that many callers, each of which asks again as soon as it is answered. */
async function rate<Answer>(callers: number, seconds: number, rush: Rush<Answer>): Promise<number> {
  const { ask, expects, idOf } = rush
  const startedMs = performance.now()
  const untilMs = startedMs + seconds * 1_000
  let decided = 0
  const caller = async (name: number): Promise<void> => {
    // The clock is read now and then: it costs as much as an answer of the gate.
    for (let order = 0; order % 16 > 0 || performance.now() < untilMs; order++) {
      if (!expects(await ask(idOf(name, order)))) throw new Error('the bench sells what it should not')
      decided++
      // Answers that need no trip come without leaving the turn of the event loop; a server's process does leave it.
      if (order % 1_024 === 1_023) await new Promise((resolve) => setImmediate(resolve))
    }
  }
  await Promise.all(Array.from({ length: callers }, (_, name) => caller(name)))
  return (decided * 1_000) / (performance.now() - startedMs)
}

const newId = (caller: number, order: number): string => `order-${caller}-${order}`

// Nothing remembers an id that was refused. These are flat strings, as a parser of requests makes them.
const lateIds = Array.from({ length: 65_536 }, (_, i) => Buffer.from(`late-${i}`).toString())
const lateId = (caller: number, order: number): string => lateIds[(caller * 131 + order) & 65_535] as string

const plenty = 1e12
let made = 0
const freshName = (): string => `bench-${process.pid}-${++made}`

async function ours(redis: Redis, callers: number, seconds: number, soldOut: boolean): Promise<number> {
  await using stock = createStock(redisStock(redis), soldOut ? { local: { mode: 'gate', units: 1_200 } } : {})
  const sku = freshName()
  await stock.open(sku, soldOut ? 1_000 : plenty)
  for (let i = 0; soldOut && i < 1_002; i++) await stock.sell({ sku, orderId: `buyer-${i}` })
  const result = await rate(callers, seconds, {
    ask: (orderId) => stock.sell({ sku, orderId }),
    expects: ({ ok }) => ok !== soldOut,
    idOf: soldOut ? lateId : newId,
  })
  await stock.remove(sku)
  return result
}

async function theirs(redis: Redis, callers: number, seconds: number, soldOut: boolean): Promise<number> {
  const name = freshName()
  const [stock, orders] = [`{${name}}:stock`, `{${name}}:orders`]
  const sha1 = createHash('sha1').update(scriptPerOrder).digest('hex')
  await redis.script('LOAD', scriptPerOrder)
  await redis.set(stock, soldOut ? 0 : plenty)
  const result = await rate(callers, seconds, {
    ask: (orderId) => redis.evalsha(sha1, 2, stock, orders, orderId),
    expects: (reply) => reply === (soldOut ? 0 : 1),
    idOf: soldOut ? lateId : newId,
  })
  await redis.unlink(stock, orders)
  return result
}

/** Stock against one EVALSHA per order, in turns. */
export async function stockRows(env: { readonly redisUrl: string; readonly seconds: number }): Promise<Row[]> {
  const redis = new Redis(env.redisUrl)
  const turns = 5
  const seconds = env.seconds / turns
  const compare = async (name: string, callers: number, soldOut: boolean, note: string): Promise<Row> => {
    const rates: { ours: number; theirs: number }[] = []
    for (let turn = 0; turn <= turns; turn++) {
      rates.push({
        ours: await ours(redis, callers, seconds, soldOut),
        theirs: await theirs(redis, callers, seconds, soldOut),
      })
    }
    // The first turn warms both up.
    const counted = rates.slice(1)
    return {
      name,
      ours: median(counted.map((one) => one.ours)),
      theirs: median(counted.map((one) => one.theirs)),
      peer: 'one EVALSHA per order',
      unit: 'orders/s',
      note,
    }
  }
  try {
    return [
      await compare('stock, selling, 64 callers', 64, false, 'one SKU, every order id recorded'),
      await compare('stock, selling, 512 callers', 512, false, 'one SKU, every order id recorded'),
      await compare('stock, sold out, gate, 512 callers', 512, true, '1,000 recorded ids in the filter'),
    ]
  } finally {
    redis.disconnect()
  }
}
