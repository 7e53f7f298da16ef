import fc from 'fast-check'
import { Redis } from 'ioredis'
import { afterAll, expect, it } from 'vitest'
import type { Trip } from '../../src/core/group-commit.js'
import type { Settlement } from '../../src/stock/driver.js'
import {
  memoryStock,
  type SaleRequest,
  type StockChange,
  type StockChanged,
  type StockDriver,
} from '../../src/stock/index.js'
import { redisStock } from '../../src/stock/redis/index.js'
import { describeWithServices, uniqueName } from '../services/vitest.js'
import { setRedisTime, timedClient } from '../support/redis-time.js'
import { inLanes } from '../support/together.js'
import { virtualClock } from '../support/virtual-clock.js'

type Ordered = Omit<SaleRequest, 'sku'>
type Command =
  | { readonly verb: 'adjust'; readonly sku: string; readonly changes: readonly StockChange[] }
  | { readonly verb: 'sell'; readonly sku: string; readonly orders: readonly Ordered[] }
  | { readonly verb: 'sellTogether'; readonly baskets: readonly (readonly SaleRequest[])[] }
  | { readonly verb: 'settle'; readonly sku: string; readonly settlements: readonly Settlement[] }
  | { readonly verb: 'level'; readonly sku: string; readonly below: number }
  | { readonly verb: 'orders' | 'find'; readonly sku: string }
  | { readonly verb: 'pass'; readonly ms: number }

const names = ['one', 'two']
const orderIds = ['a', 'b', 'c', 'd', 'e', 'f', 'g', 'h']
const forMs = 250
const trip: Trip = { signal: new AbortController().signal, sending: () => undefined }

const skus = fc.constantFrom(...names)
const units = fc.oneof(fc.constant(1), fc.integer({ min: 1, max: 4 }))
const epochs = fc.constantFrom('e1', 'e2', 'e3')
/** Redis ends holds of less than 2,048 ms as exactly as memory does. */
const holds = fc.constantFrom(undefined, undefined, 1, 60, 249, 250, 251, 2_047)
const order = fc.record({
  orderId: fc.constantFrom(...orderIds),
  quantity: units,
  buyer: fc.option(fc.record({ id: fc.constantFrom('ann', 'bob 1@2'), limit: units }), { nil: undefined }),
})
const held = fc.tuple(order, holds).map(([one, holdMs]) => ({ ...one, holdMs }))
const opening = fc.record({
  kind: fc.constant('open' as const),
  epoch: epochs,
  quantity: fc.integer({ min: 1, max: 12 }),
})
const restocking = fc.record({
  kind: fc.constant('restock' as const),
  id: fc.constantFrom('r1', 'r2', 'r3', 'r4', 'r5', 'r6'),
  quantity: fc.integer({ min: -6, max: 6 }).filter((quantity) => quantity !== 0),
})
const removing = fc.record({ kind: fc.constant('remove' as const), epoch: epochs })
const some = <T>(one: fc.Arbitrary<T>, maxLength = 3) => fc.array(one, { minLength: 1, maxLength })
// Those of a trip are of one kind.
const changes: fc.Arbitrary<readonly StockChange[]> = fc.oneof(
  { weight: 3, arbitrary: some(opening) },
  { weight: 3, arbitrary: some(restocking) },
  { weight: 1, arbitrary: some(removing) },
)
const settlements: fc.Arbitrary<readonly Settlement[]> = fc
  .constantFrom('confirm' as const, 'confirm' as const, 'cancel' as const, 'refund' as const)
  .chain((kind) =>
    some(
      fc
        .record({ orderId: fc.constantFrom(...orderIds, 'stranger'), quantity: fc.option(units, { nil: undefined }) })
        .map(({ orderId, quantity }) => ({ kind, orderId, quantity: kind === 'confirm' ? quantity : undefined })),
    ),
  )
const basket = fc
  .record({ orders: fc.array(order, { minLength: 1, maxLength: 3 }), order: fc.boolean(), holdMs: holds })
  .map(({ orders, order, holdMs }) =>
    // The third is of a SKU that is never on sale.
    [...names, 'never'].slice(0, orders.length).map((sku, i) => ({ ...(orders[i] as Ordered), sku, holdMs, order })),
  )
  .map((orders) => {
    const plain = orders.map(({ order: _, ...request }) => request)
    return orders[0]?.order ? plain : plain.toReversed()
  })
const ofVerb = <V extends string>(verb: V) => fc.constant(verb)
const command: fc.Arbitrary<Command> = fc.oneof(
  { weight: 3, arbitrary: fc.record({ verb: ofVerb('adjust'), sku: skus, changes }) },
  { weight: 6, arbitrary: fc.record({ verb: ofVerb('sell'), sku: skus, orders: some(held, 6) }) },
  { weight: 4, arbitrary: fc.record({ verb: ofVerb('sellTogether'), baskets: some(basket) }) },
  { weight: 6, arbitrary: fc.record({ verb: ofVerb('settle'), sku: skus, settlements }) },
  { weight: 3, arbitrary: fc.record({ verb: ofVerb('level'), sku: skus, below: fc.constantFrom(0, 1, 3) }) },
  { weight: 2, arbitrary: fc.record({ verb: fc.constantFrom('orders' as const, 'find' as const), sku: skus }) },
  { weight: 4, arbitrary: fc.record({ verb: ofVerb('pass'), ms: fc.constantFrom(1, 59, 60, 190, 250, 2_047) }) },
)

const plain = (reply: unknown): unknown => (reply instanceof Error ? `${reply.name}: ${reply.message}` : reply)

async function ordersOf(driver: StockDriver, sku: string) {
  let page = await driver.orders(sku, undefined, trip)
  if (!page) return undefined
  const { epoch } = page
  const orders = [...page.orders]
  while (page?.next !== undefined) {
    page = await driver.orders(sku, page.next, trip)
    orders.push(...(page?.orders ?? []))
  }
  return { epoch, orders: orders.toSorted((a, b) => (a.orderId < b.orderId ? -1 : 1)) }
}

/** A change of a sharded SKU says what is left in its first shard, where nobody asks for it. */
const outcomesOf = (reply: unknown) => (reply as StockChanged[]).map(({ outcome }) => outcome)

/** What of a command shards answer as one sale does: a trip has no order among them, and each is closed by itself. */
function alone(command: Command): Command[] {
  if (command.verb === 'sell') return command.orders.map((order) => ({ ...command, orders: [order] }))
  if (command.verb === 'level') return [{ ...command, below: 0 }]
  return command.verb === 'sellTogether' ? [] : [command]
}

/** What a driver says to a command; a list of orders has no order of its own. */
async function answer(driver: StockDriver, command: Command): Promise<unknown> {
  switch (command.verb) {
    case 'adjust':
      return driver.adjust(command.sku, command.changes, trip)
    case 'sell': {
      const requests = command.orders.map((order) => ({ ...order, sku: command.sku }))
      return (await driver.sell(command.sku, requests, trip)).map(plain)
    }
    case 'sellTogether':
      return (await driver.sellTogether(command.baskets, trip)).map(plain)
    case 'settle':
      return (await driver.settle(command.sku, command.settlements, trip)).map(plain)
    case 'level':
      return driver.level(command.sku, command.below > 0 ? { below: command.below, forMs } : undefined, trip)
    case 'orders':
      return ordersOf(driver, command.sku)
    case 'find':
      return driver.find(command.sku, orderIds, trip)
    case 'pass':
      return undefined
  }
}

/** Fails unless the units of every SKU add up, and are those of its recorded orders. */
async function checkUnits(driver: StockDriver): Promise<void> {
  await Promise.all(
    names.map(async (sku) => {
      const [state, page] = await Promise.all([driver.level(sku, undefined, trip), ordersOf(driver, sku)])
      if (!state || !page) return expect([state, page]).toEqual([undefined, undefined])
      const { total, available, held, sold, recorded } = state
      expect(total).toBe(available + held + sold)
      expect(Math.min(available, held, sold)).toBeGreaterThanOrEqual(0)
      const sum = { held: 0, sold: 0, spent: 0 }
      for (const order of page.orders) sum[order.state] += 'quantity' in order ? order.quantity : 0
      expect([sum.held, sum.sold, page.orders.length]).toEqual([held, sold, recorded])
    }),
  )
}

/** What the commands are to meet with, all of it. */
const outcomes = [
  ...['"sold-out"', '"buyer-limit"', '"not-open"', '"spent"', '"replayed":true', '"replayed":false', '"refused"'],
  ...['another quantity', 'another buyer', 'is sold already', 'is held already', 'holds fewer units'],
  ...['confirm done', 'confirm already', 'confirm expired', 'confirm cancelled', 'confirm unknown'],
  ...['cancel done', 'cancel already', 'cancel expired', 'cancel confirmed', 'cancel unknown'],
  ...['refund done', 'refund already', 'refund expired', 'refund cancelled', 'refund unknown'],
  ...['basket taken', 'basket replayed', 'basket refused by the second', 'basket in conflict'],
  ...['closed for long', 'closed until a hold ends', 'units wait', 'nothing waits', '"expiresInMs"'],
]

/** Commands that meet with all of it, so that no run depends on what is drawn. Both SKUs begin with 8 units. */
function everything(): { readonly command: Command; readonly twice: boolean }[] {
  const [one, two] = names as [string, string]
  const sell = (orderId: string, quantity: number, more: Partial<Ordered> = {}, sku = one): Command => ({
    ...{ verb: 'sell', sku, orders: [{ orderId, quantity, buyer: undefined, ...more }] },
  })
  const settle = (orderId: string, kinds: readonly Settlement['kind'][], quantity?: number): Command[] =>
    kinds.map((kind) => ({ verb: 'settle', sku: one, settlements: [{ kind, orderId, quantity }] }))
  const adjust = (sku: string, change: StockChange): Command => ({ verb: 'adjust', sku, changes: [change] })
  const together = (orderId: string, ofTwo: number): Command => {
    const request = { orderId, buyer: undefined, holdMs: undefined }
    const basket = [
      { ...request, sku: one, quantity: 1 },
      { ...request, sku: two, quantity: ofTwo },
    ]
    return { verb: 'sellTogether', baskets: [basket] }
  }
  const buyer = (id: string) => ({ buyer: { id, limit: 1 } })
  const verbs = ['confirm', 'cancel', 'refund'] as const
  const commands: Command[] = [
    ...[sell('a', 1), sell('a', 2), sell('a', 1, { holdMs: 60 })],
    ...[sell('b', 2, { holdMs: 2_047 }), sell('b', 2), { verb: 'find', sku: one } as const],
    ...[...settle('b', ['confirm'], 3), ...settle('b', verbs), sell('b', 2)],
    ...[sell('c', 1, { holdMs: 60 }), ...settle('c', ['cancel', 'confirm', 'refund'])],
    ...[sell('d', 1, { holdMs: 60 }), { verb: 'level', sku: one, below: 100 } as const],
    ...[{ verb: 'pass', ms: 60 } as const, ...settle('d', verbs), ...settle('stranger', verbs)],
    ...[sell('e', 1, buyer('ann')), sell('e', 1, buyer('bob')), sell('f', 1, buyer('ann')), sell('f', 100)],
    ...[together('g', 1), together('g', 2), together('h', 100), sell('a', 1, {}, 'two')],
    ...[
      adjust(one, { kind: 'open', epoch: 'e2', quantity: 1 }),
      adjust(one, { kind: 'restock', id: 'r1', quantity: 1 }),
    ],
    ...[{ verb: 'level', sku: one, below: 100 } as const, adjust(one, { kind: 'restock', id: 'r2', quantity: 1 })],
    ...[adjust(two, { kind: 'remove', epoch: 'e1' }), sell('b', 1, {}, two)],
  ]
  return commands.map((command) => ({ command, twice: true }))
}

function met(command: Command, reply: unknown): string[] {
  const text = JSON.stringify(reply ?? '')
  const found = outcomes.filter((what) => text.includes(what))
  if (command.verb === 'settle') {
    for (const [, outcome] of text.matchAll(/"outcome":"(\w+)"/g))
      found.push(`${command.settlements[0]?.kind} ${outcome}`)
  }
  if (command.verb === 'sellTogether') {
    if (text.includes('"replayed":false')) found.push('basket taken')
    if (text.includes('"replayed":true')) found.push('basket replayed')
    if (text.includes('"refusedBy":1')) found.push('basket refused by the second')
    if (text.includes('OrderConflictError')) found.push('basket in conflict')
  }
  const closedForMs = Number(/"closedForMs":(\d+)/.exec(text)?.[1] ?? 0)
  if (closedForMs > 0) found.push(closedForMs === forMs ? 'closed for long' : 'closed until a hold ends')
  if (text.includes('onSaleInMs')) found.push(/"onSaleInMs":[1-9]/.test(text) ? 'units wait' : 'nothing waits')
  return found
}

const seed = process.env['SEED'] === undefined ? Date.now() % 2 ** 31 : Number(process.env['SEED'])

describeWithServices('memory and Redis', ['redis'], (services) => {
  const redis = new Redis(services.redis.url)
  afterAll(() => redis.disconnect())

  it.each([
    [1, 200],
    [3, 80],
  ])(`answer the same to every command, with shards: %i (SEED=${seed} repeats it)`, async (shards, numRuns) => {
    const seen = new Set<string>()
    const steps = fc.array(fc.record({ command, twice: fc.constantFrom(false, false, true) }), {
      minLength: 20,
      maxLength: 60,
    })
    // To read a sale ends the holds in memory whose time has passed, so in some runs nothing is read unasked.
    const property = (nowKey: string) =>
      fc.asyncProperty(steps, fc.boolean(), async (steps, readsMemory) => {
        const clock = virtualClock()
        const memory = memoryStock({ clock })
        const real = redisStock(timedClient(redis, nowKey), { prefix: `${uniqueName('model')}:`, shards })
        await setRedisTime(redis, nowKey, clock.wallMs())
        for (const sku of names) {
          const changes = [{ kind: 'open', epoch: 'e1', quantity: 8 }] as const
          await Promise.all([memory, real].map((driver) => driver.adjust(sku, changes, trip)))
        }
        const commands = steps.flatMap(({ command, twice }) =>
          (shards === 1 ? [command] : alone(command)).map((one) => ({ command: one, twice })),
        )
        for (const { command, twice } of commands) {
          if (command.verb === 'pass') {
            await clock.advance(command.ms)
            await setRedisTime(redis, nowKey, clock.wallMs())
          }
          for (let i = 0; i < (twice && command.verb !== 'pass' ? 2 : 1); i++) {
            const [expected, got] = await Promise.all([answer(memory, command), answer(real, command)])
            const compared = shards > 1 && command.verb === 'adjust' ? outcomesOf : (reply: unknown) => reply
            expect(compared(got)).toEqual(compared(expected))
            for (const what of met(command, expected)) seen.add(what)
          }
          await checkUnits(real)
          if (readsMemory) await checkUnits(memory)
        }
        await checkUnits(memory)
      })
    const nowKeys = uniqueName('now')
    await inLanes((lane, lanes) =>
      fc.assert(property(`${nowKeys}:${lane}`), {
        ...{ seed: seed + lane, numRuns: numRuns / lanes, examples: lane === 0 ? [[everything(), true]] : [] },
      }),
    )
    const unmet = outcomes.filter((what) => !seen.has(what))
    const notOfShards = /basket|closed|units wait/
    expect(unmet.filter((what) => shards === 1 || !notOfShards.test(what))).toEqual([])
  })
})
