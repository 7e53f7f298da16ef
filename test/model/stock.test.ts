import fc from 'fast-check'
import { Redis } from 'ioredis'
import { afterAll, expect, it } from 'vitest'
import type { Trip } from '../../src/core/group-commit.js'
import { memoryStock, type SaleRequest, type StockChange, type StockDriver } from '../../src/stock/index.js'
import { redisStock } from '../../src/stock/redis/index.js'
import { describeWithServices, uniqueName } from '../services/vitest.js'
import { inLanes } from '../support/together.js'
import { virtualClock, type VirtualClock } from '../support/virtual-clock.js'

type Command =
  | { readonly verb: 'adjust'; readonly sku: string; readonly changes: readonly StockChange[] }
  | { readonly verb: 'sell'; readonly sku: string; readonly orders: readonly Omit<SaleRequest, 'sku'>[] }
  | { readonly verb: 'level'; readonly sku: string; readonly below: number }
  | { readonly verb: 'orders' | 'find' | 'reopen'; readonly sku: string }

/** So long that no gate's right to say sold out ends by itself: the command `reopen` ends it, in both stores at once. */
const forMs = 1_000_000
const orderIds = ['a', 'b', 'c', 'd', 'e', 'f']
const trip: Trip = { signal: new AbortController().signal, sending: () => undefined }

const skus = fc.constantFrom('one', 'two')
const units = fc.oneof(fc.constant(1), fc.integer({ min: 1, max: 4 }))
const epochs = fc.constantFrom('e1', 'e2', 'e3')
const order = fc.record({
  orderId: fc.constantFrom(...orderIds),
  quantity: units,
  buyer: fc.option(fc.record({ id: fc.constantFrom('ann', 'bob lee'), limit: units }), { nil: undefined }),
})
const opening = fc.record({
  kind: fc.constant('open' as const),
  epoch: epochs,
  quantity: fc.integer({ min: 1, max: 12 }),
})
const restocking = fc.record({
  kind: fc.constant('restock' as const),
  id: fc.constantFrom('r1', 'r2', 'r3', 'r4'),
  quantity: fc.integer({ min: -6, max: 6 }).filter((quantity) => quantity !== 0),
})
const removing = fc.record({ kind: fc.constant('remove' as const), epoch: epochs })
const some = <T>(one: fc.Arbitrary<T>) => fc.array(one, { minLength: 1, maxLength: 3 })
// Those of a trip are of one kind.
const changes: fc.Arbitrary<readonly StockChange[]> = fc.oneof(some(opening), some(restocking), some(removing))
const command: fc.Arbitrary<Command> = fc.oneof(
  { weight: 3, arbitrary: fc.record({ verb: fc.constant('adjust' as const), sku: skus, changes }) },
  {
    weight: 6,
    arbitrary: fc.record({
      verb: fc.constant('sell' as const),
      sku: skus,
      orders: fc.array(order, { minLength: 1, maxLength: 6 }),
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({ verb: fc.constant('level' as const), sku: skus, below: fc.constantFrom(0, 1, 3) }),
  },
  {
    weight: 2,
    arbitrary: fc.record({ verb: fc.constantFrom('orders' as const, 'find' as const, 'reopen' as const), sku: skus }),
  },
)

/** What a driver says to a command, without what may differ: the order of a list, the milliseconds that pass meanwhile. */
async function answer(driver: StockDriver, command: Command): Promise<unknown> {
  const { sku } = command
  switch (command.verb) {
    case 'adjust': {
      const changes = await driver.adjust(sku, command.changes, trip)
      return changes.map((changed) => ({ ...changed, onSaleInMs: changed.onSaleInMs > 0 ? 'later' : 'now' }))
    }
    case 'sell': {
      const requests = command.orders.map((order) => ({ ...order, sku }))
      const replies = await driver.sell(sku, requests, trip)
      return replies.map((reply) => (reply instanceof Error ? `${reply.name}: ${reply.message}` : reply))
    }
    case 'level': {
      const close = command.below > 0 ? { below: command.below, forMs } : undefined
      const state = await driver.level(sku, close, trip)
      if (state) expect(state.total).toBe(state.available + state.held + state.sold)
      return state
    }
    case 'orders': {
      const page = await driver.orders(sku, undefined, trip)
      return page && { ...page, orders: page.orders.toSorted((a, b) => (a.orderId < b.orderId ? -1 : 1)) }
    }
    case 'find':
      return driver.find(sku, orderIds, trip)
    case 'reopen':
      return undefined
  }
}

const seed = process.env['SEED'] === undefined ? Date.now() % 2 ** 31 : Number(process.env['SEED'])

describeWithServices('memory and Redis', ['redis'], (services) => {
  const redis = new Redis(services.redis.url)
  afterAll(() => redis.disconnect())

  const setUp = (): { memory: StockDriver; clock: VirtualClock; real: StockDriver; prefix: string } => {
    const clock = virtualClock()
    const prefix = `${uniqueName('model')}:`
    return { memory: memoryStock({ clock }), clock, real: redisStock(redis, { prefix }), prefix }
  }

  it(`answer the same to every command (SEED=${seed} repeats it)`, async () => {
    const seen = new Map<string, number>()
    const note = (what: string): void => void seen.set(what, (seen.get(what) ?? 0) + 1)
    const property = fc.asyncProperty(fc.array(command, { minLength: 20, maxLength: 60 }), async (commands) => {
      const { memory, clock, real, prefix } = setUp()
      for (const command of commands) {
        if (command.verb === 'reopen') {
          await redis.del(`${prefix}{one}:closed`, `${prefix}{two}:closed`).catch(() => undefined)
          await clock.advance(forMs)
        }
        const [expected, got] = await Promise.all([answer(memory, command), answer(real, command)])
        expect(got).toEqual(expected)
        for (const [, what] of JSON.stringify(expected ?? '').matchAll(
          /(sold-out|buyer-limit|not-open|"replayed":true|another \w+|"closed":true|later|refused)/g,
        )) {
          note(what as string)
        }
      }
    })
    await inLanes((lane, lanes) => fc.assert(property, { seed: seed + lane, numRuns: 200 / lanes }))
    // The commands did get everywhere.
    const places = ['sold-out', 'buyer-limit', 'not-open', '"replayed":true', '"closed":true', 'later', 'refused']
    for (const what of [...places, 'another quantity', 'another buyer']) expect(seen.get(what), what).toBeGreaterThan(0)
  })
})
