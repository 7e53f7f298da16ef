import fc from 'fast-check'
import { Redis } from 'ioredis'
import { afterAll, describe, expect, it } from 'vitest'
import { ClosedError, OrderConflictError, StoreUnavailableError } from '../../src/index.js'
import { createStock, memoryStock, type RecordedOrder, type Stock, type StockDriver } from '../../src/stock/index.js'
import { redisStock } from '../../src/stock/redis/index.js'
import { sleep } from '../services/net.js'
import { describeWithServices, uniqueName } from '../services/vitest.js'
import { chanceOf } from '../support/chance.js'
import { setRedisTime, timedClient } from '../support/redis-time.js'
import { inLanes } from '../support/together.js'
import { settle, virtualClock, type VirtualClock } from '../support/virtual-clock.js'

const skus = ['one', 'two']
const ids = ['a', 'b', 'c', 'd', 'e', 'f']
const openedUnits = 6
const longMs = 1e9

type Verb = 'sell' | 'reserve' | 'confirm' | 'cancel' | 'refund' | 'sell basket' | 'hold basket' | 'restock'
interface Call {
  readonly verb: Verb
  readonly sku: string
  readonly orderId: string
  readonly units: number
  readonly holdMs: number
  /** Which of the processes calls. */
  readonly front: number
  /** Its process ends while the call is under way; another one repeats it. */
  readonly crashes: boolean
}
interface Step {
  readonly calls: readonly Call[]
  readonly passMs: number
}

const call: fc.Arbitrary<Call> = fc.record({
  verb: fc.constantFrom<Verb[]>(
    ...(['sell', 'sell', 'reserve', 'reserve', 'confirm', 'confirm', 'cancel', 'refund'] as const),
    ...(['sell basket', 'hold basket', 'restock'] as const),
  ),
  sku: fc.constantFrom(...skus),
  orderId: fc.constantFrom(...ids),
  units: fc.constantFrom(1, 1, 2),
  holdMs: fc.constantFrom(60, 400, longMs),
  front: fc.nat({ max: 2 }),
  crashes: fc.constantFrom(false, false, true),
})
const steps: fc.Arbitrary<Step[]> = fc.array(
  fc.record({
    calls: fc.array(call, { minLength: 1, maxLength: 5 }),
    passMs: fc.constantFrom(0, 0, 59, 61, 400),
  }),
  { minLength: 5, maxLength: 30 },
)

/** A driver that loses requests before they are sent, and replies. */
function lossy(driver: StockDriver, chance: () => number): StockDriver {
  const losing =
    <Args extends unknown[], Reply>(run: (...args: Args) => Promise<Reply>) =>
    async (...args: Args): Promise<Reply> => {
      if (chance() < 0.1) throw new Error('connection refused')
      const reply = await run(...args)
      if (chance() < 0.15) throw new Error('connection lost')
      return reply
    }
  return {
    adjust: losing(driver.adjust.bind(driver)),
    sell: losing(driver.sell.bind(driver)),
    sellTogether: losing(driver.sellTogether.bind(driver)),
    settle: losing(driver.settle.bind(driver)),
    level: losing(driver.level.bind(driver)),
    orders: losing(driver.orders.bind(driver)),
    find: losing(driver.find.bind(driver)),
  }
}

const make = (stock: Stock, { verb, sku, orderId, units, holdMs }: Call): Promise<unknown> => {
  const basket = skus.map((name) => ({ sku: name, orderId, quantity: units }))
  switch (verb) {
    case 'sell':
      return stock.sell({ sku, orderId, quantity: units, buyer: { id: 'ann', limit: 4 } })
    case 'reserve':
      return stock.reserve({ sku, orderId, quantity: units, holdMs })
    case 'confirm':
      return stock.confirm(orderId, sku, { quantity: units })
    case 'cancel':
      return stock.cancel(orderId, sku)
    case 'refund':
      return stock.refund(orderId, sku)
    case 'sell basket':
      return stock.sellTogether(basket)
    case 'hold basket':
      return stock.sellTogether(basket, { holdMs })
    case 'restock':
      // Its id is the order's, so that few are made, and each is asked for often.
      return stock.restock(sku, 1, { id: orderId })
  }
}

/** Whether the process or its connection ended, so that the call has to be repeated. */
const wasLost = (error: unknown): boolean => error instanceof StoreUnavailableError || error instanceof ClosedError

/** What the answers said of an order of a SKU. */
interface Told {
  taken: number
  confirmed: number
  givenBack: number
}

interface World {
  readonly driver: StockDriver
  readonly clock: VirtualClock
  /** Lets time pass for the driver and for the fronts. */
  readonly pass: (ms: number) => Promise<void>
  /** Lets what is under way arrive, if it can without time passing. */
  readonly arrive: () => Promise<void>
}

async function play(
  { driver, clock, pass, arrive }: World,
  steps: readonly Step[],
  seed: number,
): Promise<Set<string>> {
  const faulty = lossy(driver, chanceOf(seed))
  const timeoutMs = 1e9
  const started = (index: number): Stock =>
    createStock(faulty, {
      ...{ clock, timeoutMs, onBackgroundError: () => undefined },
      ...(index > 0 ? { local: { mode: 'gate' as const, units: index } } : {}),
    })
  const fronts = [0, 1, 2].map(started)
  const audit = createStock(driver, { clock, timeoutMs })
  const told = new Map<string, Told>()
  const toldOf = (sku: string, orderId: string): Told => {
    const key = `${sku} ${orderId}`
    const known = told.get(key) ?? { taken: 0, confirmed: 0, givenBack: 0 }
    told.set(key, known)
    return known
  }
  const restocked = new Set<string>()
  /** Orders that a refund was asked for. The answer that says that it was done may have been lost. */
  const refunds = new Set<string>()
  const seen = new Set<string>()

  /** Waits, and lets time pass for as long as the call waits for it. */
  async function finished<T>(work: Promise<T>): Promise<T> {
    let pending = true
    const done = work.finally(() => (pending = false))
    done.catch(() => undefined)
    for (await arrive(); pending; await arrive()) await pass(10)
    return done
  }

  /** Makes a call until it has an answer, by one process after the other. */
  async function answered(call: Call): Promise<unknown> {
    for (let attempt = 0; attempt < 200; attempt++) {
      const front = fronts[call.front] as Stock
      const work = make(front, call)
      if (call.crashes && attempt === 0) {
        void front.close()
        fronts[call.front] = started(call.front)
      }
      try {
        return await work
      } catch (error) {
        if (!wasLost(error)) return error
        seen.add('lost')
      }
    }
    throw new Error(`no answer to ${call.verb}`)
  }

  /** Takes note of an answer. */
  function note(call: Call, answer: unknown): void {
    const { verb, sku, orderId } = call
    if (answer instanceof Error) {
      expect(answer instanceof OrderConflictError || answer instanceof RangeError, String(answer)).toBe(true)
      seen.add(answer instanceof OrderConflictError ? 'conflict' : 'too much')
    } else if (verb === 'restock') {
      restocked.add(`${sku} ${orderId}`)
    } else if (typeof answer === 'string') {
      seen.add(`${verb} ${answer}`)
      if (answer === 'done') toldOf(sku, orderId)[verb === 'confirm' ? 'confirmed' : 'givenBack']++
    } else {
      const { ok, replayed, reason } = answer as { ok: boolean; replayed?: boolean; reason?: string }
      seen.add(ok ? (replayed ? 'replayed' : 'taken') : String(reason))
      if (!ok || replayed) return
      // A new basket may have one order that was known.
      if (verb === 'sell' || verb === 'reserve') toldOf(sku, orderId).taken++
    }
  }

  async function checkAll(): Promise<void> {
    for (const sku of skus) {
      const listed: RecordedOrder[] = []
      for await (const order of audit.orders(sku)) listed.push(order)
      const { total, available, held, sold } = await audit.level(sku)
      expect(total).toBe(available + held + sold)
      expect(Math.min(available, held, sold)).toBeGreaterThanOrEqual(0)
      const restocks = ids.filter((id) => restocked.has(`${sku} ${id}`)).length
      expect(total).toBe(openedUnits + restocks)
      const sumOf = (state: string): number =>
        listed.reduce((sum, order) => sum + (order.state === state ? order.quantity : 0), 0)
      expect([sumOf('held'), sumOf('sold')]).toEqual([held, sold])
      expect(new Set(listed.map(({ orderId }) => orderId)).size).toBe(listed.length)
      for (const orderId of ids) {
        const { taken, confirmed, givenBack } = toldOf(sku, orderId)
        expect([taken <= 1, confirmed <= 1, givenBack <= 1], `${sku} ${orderId}`).toEqual([true, true, true])
        const order = listed.find((one) => one.orderId === orderId)
        expect(await audit.find(orderId, sku)).toEqual(order)
        if (givenBack > 0) expect(order, `${sku} ${orderId} was given back`).toBeUndefined()
        else if (confirmed > 0) expect(order?.state === 'sold' || refunds.has(`${sku} ${orderId}`)).toBe(true)
      }
    }
  }

  for (const sku of skus) await finished(audit.open(sku, openedUnits))
  for (const { calls, passMs } of steps) {
    for (const { verb, sku, orderId } of calls) if (verb === 'refund') refunds.add(`${sku} ${orderId}`)
    const answers = await finished(Promise.all(calls.map(answered)))
    calls.forEach((call, i) => note(call, answers[i]))
    await finished(checkAll())
    await pass(passMs)
    await finished(checkAll())
  }
  // All that is left is on sale, in every process.
  await pass(1_000)
  for (const sku of skus) {
    const { available } = await audit.level(sku)
    if (available === 0) continue
    const rest = { verb: 'reserve', sku, orderId: 'rest', units: available, holdMs: longMs, crashes: false } as const
    expect(await finished(answered({ ...rest, front: available % 3 }))).toMatchObject({ ok: true })
    expect(await audit.level(sku)).toMatchObject({ available: 0 })
  }
  await Promise.all([...fronts, audit].map((stock) => finished(stock.close())))
  return seen
}

/** What the sequences are to meet with, all of it. */
const outcomes = [
  ...['lost', 'conflict', 'too much', 'taken', 'replayed', 'sold-out', 'buyer-limit', 'spent'],
  ...['done', 'already', 'expired', 'cancelled', 'unknown'].map((outcome) => `confirm ${outcome}`),
  ...['done', 'already', 'expired', 'confirmed', 'unknown'].map((outcome) => `cancel ${outcome}`),
  ...['done', 'already', 'expired', 'cancelled', 'unknown'].map((outcome) => `refund ${outcome}`),
]

/**
 * Steps that meet with the rare ones, whatever is lost on the way: a call that is repeated is answered by what its order
 * has become.
 */
function rareOutcomes(): Step[] {
  const step = (verb: Verb, orderId: string, more: Partial<Call> = {}, passMs = 0): Step => ({
    calls: [{ verb, orderId, sku: 'one', units: 1, holdMs: longMs, front: 0, crashes: false, ...more }],
    passMs,
  })
  const settlements = ['confirm', 'cancel', 'refund'] as const
  const all = (orderId: string): Step[] => settlements.map((verb) => step(verb, orderId))
  return [
    ...[step('reserve', 'a'), step('cancel', 'a'), ...all('a'), step('reserve', 'a')],
    ...[step('sell', 'b'), step('sell', 'b', { units: 2 }), ...all('b'), step('refund', 'b')],
    ...[step('reserve', 'c', { holdMs: 60 }, 400), ...all('c')],
    ...[step('reserve', 'd'), step('confirm', 'd', { units: 2 })],
    ...all('e'),
    step('sell', 'f', { units: 100 }),
    ...['a', 'b'].map((orderId) => step('sell', orderId, { sku: 'two', units: 2 })),
    step('sell', 'c', { sku: 'two' }),
  ]
}

const seed = process.env['SEED'] === undefined ? Date.now() % 2 ** 31 : Number(process.env['SEED'])
const title = `adds up, and every id has one outcome (SEED=${seed} repeats it)`

async function search(numRuns: number, lane: number, world: () => Promise<World>, seen: Set<string>): Promise<void> {
  const property = fc.asyncProperty(steps, fc.nat(), async (steps, chance) => {
    for (const what of await play(await world(), steps, chance)) seen.add(what)
  })
  const examples: [Step[], number][] = lane === 0 ? [[rareOutcomes(), 1]] : []
  await fc.assert(property, { seed: seed + lane, numRuns, examples })
}

describe('stock in memory, with crashes', () => {
  it(title, async () => {
    const seen = new Set<string>()
    const world = async (): Promise<World> => {
      const clock = virtualClock()
      return { driver: memoryStock({ clock }), clock, pass: (ms) => clock.advance(ms), arrive: settle }
    }
    await search(150, 0, world, seen)
    expect(outcomes.filter((what) => !seen.has(what))).toEqual([])
  })
})

describeWithServices('stock in Redis, with crashes', ['redis'], (services) => {
  const redis = new Redis(services.redis.url)
  afterAll(() => redis.disconnect())

  it(title, async () => {
    const seen = new Set<string>()
    const nowKeys = uniqueName('now')
    await inLanes((lane, lanes) => {
      const nowKey = `${nowKeys}:${lane}`
      const world = async (): Promise<World> => {
        const clock = virtualClock()
        const pass = async (ms: number): Promise<void> => {
          await setRedisTime(redis, nowKey, clock.wallMs() + ms)
          await clock.advance(ms)
        }
        await pass(0)
        let underWay = 0
        const counted = new Proxy(redisStock(timedClient(redis, nowKey), { prefix: `${uniqueName('crash')}:` }), {
          get(target, name) {
            const value = Reflect.get(target, name) as ((...args: unknown[]) => Promise<unknown>) | undefined
            if (typeof value !== 'function') return value
            return (...args: unknown[]): Promise<unknown> => {
              underWay++
              return value.apply(target, args).finally(() => underWay--)
            }
          },
        })
        const arrive = async (): Promise<void> => {
          for (await settle(); underWay > 0; await settle()) await sleep(1)
        }
        return { driver: counted, clock, pass, arrive }
      }
      return search(60 / lanes, lane, world, seen)
    })
    expect(outcomes.filter((what) => !seen.has(what))).toEqual([])
  })
})
