import { Cluster, Redis } from 'ioredis'
import { describe, expect, it, onTestFinished } from 'vitest'
import { createStock, memoryStock, type Stock, type StockDriver } from '../../src/stock/index.js'
import { redisStock } from '../../src/stock/redis/index.js'
import { sleep } from '../services/net.js'
import { describeWithServices, uniqueName } from '../services/vitest.js'
import { suiteProgram } from '../support/bundle.js'
import { startLineProcess, type LineProcess } from '../support/line-process.js'
import { startProxy } from '../support/proxy.js'
import { until } from '../support/until.js'
import { audit, watch } from './stock-rush.js'
import { limit, skus, trade, type Told } from './stock-trade.js'
import type { TraderSettings } from './stock-trader.js'

const units = 300
const restocks = 10

/** Opens the SKUs, polls the invariant while `work` runs and units are added, and says that it could look. */
async function whileWatched(truth: Stock, work: () => Promise<unknown>): Promise<void> {
  const watching = await Promise.all(
    skus.map(async (sku) => {
      expect(await truth.open(sku, units)).toBe(true)
      return watch(truth, sku, { refunds: true })
    }),
  )
  const restocking = (async () => {
    for (let i = 0; i < restocks; i++) {
      for (const sku of skus) await truth.restock(sku, i % 2 ? -5 : 10, { id: `r${i}` }).catch(isTooLate)
      await sleep(20)
    }
  })()
  await work()
  await restocking
  for (const one of watching) expect(await one.stop()).toBeGreaterThan(3)
}

/** Units that are sold cannot be taken away. */
function isTooLate(error: unknown): void {
  if (!(error instanceof RangeError)) throw error
}

/**
 * In the end holds have lapsed, what is left is sold to those who still want it, and what is recorded is what callers were
 * told. `unsure`: orders whose callers were killed.
 */
async function settleUp(truth: Stock, told: readonly Told[], unsure: (orderId: string) => boolean): Promise<void> {
  for (const sku of skus) {
    await until(async () => {
      // Those of a process that was killed are held for an hour.
      for await (const { orderId, state } of truth.orders(sku)) {
        if (state === 'held' && unsure(orderId)) await truth.cancel(orderId, sku)
      }
      return (await truth.level(sku)).held === 0
    }, 'the end of all holds')
    const left = (await truth.level(sku)).available
    const last = Array.from({ length: left + 1 }, (_, i) => truth.sell({ sku, orderId: `last ${i}` }))
    expect((await Promise.all(last)).filter(({ ok }) => ok)).toHaveLength(left)
    const level = await truth.level(sku)
    expect(level).toEqual({ total: level.total, available: 0, held: 0, sold: level.total })

    const recorded = await audit(truth, sku)
    const byBuyer = new Map<string, number>()
    const quantities = new Map<string, number>()
    for await (const { orderId, quantity, buyerId } of truth.orders(sku)) {
      quantities.set(orderId, quantity)
      if (buyerId !== undefined) byBuyer.set(buyerId, (byBuyer.get(buyerId) ?? 0) + quantity)
    }
    for (const [buyer, has] of byBuyer) expect(has, buyer).toBeLessThanOrEqual(limit)
    const here = told.filter((one) => one.sku === sku)
    for (const { orderId, sold } of here) expect(quantities.get(orderId) ?? 0, orderId).toBe(sold)
    const known = new Set(here.map(({ orderId }) => orderId))
    for (const id of recorded) expect(known.has(id) || unsure(id) || id.startsWith('last '), id).toBe(true)
  }
}

interface Traders {
  readonly told: () => Told[]
  readonly victim: LineProcess
  /** Resolves when all but the victim have done. */
  readonly done: Promise<unknown>
}

const orders = 600

/** Starts four processes, every second one with a gate; the first is to be killed. */
async function startTraders(
  program: string,
  settings: Pick<TraderSettings, 'nodes' | 'prefix' | 'shards'>,
): Promise<Traders> {
  const processes = [0, 1, 2, 3].map((i) => {
    const all: TraderSettings = { ...settings, gateUnits: i % 2 ? 100 : 0, name: `process ${i}`, orders }
    const child = startLineProcess(process.execPath, [program, JSON.stringify(all)])
    onTestFinished(() => child[Symbol.asyncDispose]())
    return child
  })
  await Promise.all(processes.map((child) => child.hear(/ready/)))
  for (const child of processes) child.say('go')
  const [victim, ...others] = processes as [LineProcess, ...LineProcess[]]
  const told = (): Told[] =>
    processes.flatMap(({ lines }) =>
      lines.filter((line) => line.startsWith('{')).map((line) => JSON.parse(line) as Told),
    )
  return { told, victim, done: Promise.all(others.map((child) => child.hear(/done/))) }
}

const isVictims = (orderId: string): boolean => orderId.startsWith('process 0-')

describe('holds in memory', () => {
  it('are settled once, and strand nothing', async () => {
    const driver = memoryStock()
    await using truth = createStock(driver)
    const told: Told[] = []
    await whileWatched(truth, () =>
      Promise.all(
        [0, 1, 2, 3].map(async (i) => {
          const gate = i % 2 ? { local: { mode: 'gate', units: 100 } as const } : {}
          await using stock = createStock(driver, { timeoutMs: 30_000, ...gate })
          await trade(stock, { name: `front ${i}`, orders, callers: 16, tell: (one) => void told.push(one) })
        }),
      ),
    )
    await settleUp(truth, told, () => false)
  })
})

const group = (): string => 'shop'
const connected = (redis: Redis | Cluster, prefix: string, shards?: number): { truth: Stock; driver: StockDriver } => {
  redis.on('error', () => undefined)
  onTestFinished(() => redis.disconnect())
  const driver = redisStock(redis, { prefix, ...(shards ? { shards } : { group }) })
  return { driver, truth: createStock(driver, { timeoutMs: 30_000 }) }
}

describeWithServices(
  'holds in Redis',
  ['redis'],
  ({ redis: server }) => {
    const program = suiteProgram(new URL('./stock-trader.ts', import.meta.url))

    it('are settled once by four processes, whatever happens to them, and strand nothing', async () => {
      const prefix = `${uniqueName('holds')}:`
      const { truth } = connected(new Redis(server.url), prefix)
      await using proxy = await startProxy(server)
      let traders: Traders | undefined
      await whileWatched(truth, async () => {
        const nodes = [{ host: proxy.host, port: proxy.port }]
        traders = await startTraders(program.path, { nodes, prefix })
        let running = true
        const done = traders.done.finally(() => (running = false))
        for (let turn = 1; running && turn <= 15; turn++) {
          await sleep(30)
          if (turn === 5) traders.victim.signal('SIGKILL')
          if (turn % 5 === 0) {
            await server.pause()
            await sleep(100)
            await server.unpause()
          } else if (turn % 2) proxy.cut()
          else proxy.dropReplies(1)
        }
        await done
        traders.victim.signal('SIGKILL')
        await traders.victim.ended
      })
      expect(proxy.counters.cuts).toBeGreaterThan(4)
      await settleUp(truth, traders?.told() ?? [], isVictims)
    })
  },
  { private: true },
)

describeWithServices(
  'holds in a Cluster',
  ['redis-cluster'],
  ({ 'redis-cluster': server }) => {
    const program = suiteProgram(new URL('./stock-trader.ts', import.meta.url))

    it.each([
      ['in one slot', undefined],
      ['over 4 shards', 4],
      ['over 8 shards', 8],
    ])('are settled once by four processes, one of them killed, and strand nothing: %s', async (_name, shards) => {
      const prefix = `${uniqueName('holds')}:`
      const { truth } = connected(new Cluster([...server.nodes]), prefix, shards)
      let traders: Traders | undefined
      await whileWatched(truth, async () => {
        traders = await startTraders(program.path, { nodes: server.nodes, prefix, shards })
        await sleep(150)
        traders.victim.signal('SIGKILL')
        await server.pause()
        await sleep(200)
        await server.unpause()
        await traders.done
        await traders.victim.ended
      })
      await settleUp(truth, traders?.told() ?? [], isVictims)
    })
  },
  { private: true },
)
