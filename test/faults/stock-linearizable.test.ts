import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Cluster, Redis } from 'ioredis'
import { describe, expect, it, onTestFinished } from 'vitest'
import { createStock, memoryStock, type StockDriver } from '../../src/stock/index.js'
import { redisStock } from '../../src/stock/redis/index.js'
import { describeWithChecker, type Check, type Verdict } from '../linearizability/checker.js'
import { readHistory, recordTo, type Call } from '../linearizability/history.js'
import { shop, skus } from '../linearizability/shop.js'
import { sleep } from '../services/net.js'
import { describeWithServices, uniqueName } from '../services/vitest.js'
import { suiteProgram } from '../support/bundle.js'
import { startLineProcess } from '../support/line-process.js'
import { startProxy } from '../support/proxy.js'

const newFolder = async (): Promise<string> => {
  const folder = await mkdtemp(join(tmpdir(), 'spillway-history-'))
  onTestFinished(() => rm(folder, { recursive: true, force: true }))
  return folder
}

const newSeed = (): number => Date.now() % 2 ** 20

/**
 * Checks the histories that `make` makes, until all of one are decided: an unlucky one, with many calls at once whose outcome
 * is unknown, has too many orders to try.
 */
async function expectLinearizable(
  check: Check,
  gates: boolean,
  make: (seed: number) => Promise<Call[]>,
): Promise<void> {
  for (let attempt = 1; ; attempt++) {
    const seed = newSeed()
    const verdicts = await check(await make(seed), { gates })
    if (attempt < 5 && [...verdicts.values()].some(({ result }) => result === 'Unknown')) {
      expect([...verdicts.values()].map(({ result }) => result)).not.toContain('Illegal')
      continue
    }
    return expectOk(verdicts, seed)
  }
}

function expectOk(verdicts: ReadonlyMap<string, Verdict>, seed: number): void {
  for (const [sku, verdict] of verdicts) {
    expect(verdict, `${sku} of seed ${seed}: ${JSON.stringify(verdict)}`).toMatchObject({ result: 'Ok' })
  }
  expect([...verdicts.keys()].sort()).toEqual([...skus])
}

interface Fronts {
  readonly seed: number
  readonly gateUnits: number
  readonly baskets: boolean
}

/** The history of four fronts of this process; every second one has a gate. */
async function historyOf(newDriver: () => StockDriver, { seed, gateUnits, baskets }: Fronts): Promise<Call[]> {
  const folder = await newFolder()
  const files = [0, 1, 2, 3].map((i) => join(folder, `${i}`))
  await Promise.all(
    files.map(async (file, i) => {
      const gated = gateUnits > 0 && i % 2 === 1
      const options = gated ? { local: { mode: 'gate', units: gateUnits } as const } : {}
      await using stock = createStock(newDriver(), { timeoutMs: 30_000, ...options })
      const history = recordTo(file, stock, { gated, losses: () => 0 })
      await shop(history, { seed: seed + i, callers: 3, calls: 60, baskets, gates: gateUnits > 0 })
    }),
  )
  return files.flatMap(readHistory)
}

const gateSizes = [0, 20]

describeWithChecker('histories of stock are linearizable', (check) => {
  describeWithServices('in Redis', ['redis'], ({ redis: server }) => {
    const program = suiteProgram(new URL('../linearizability/shopper.ts', import.meta.url))
    const cases = [false, true].flatMap((resends) => gateSizes.map((gateUnits) => ({ resends, gateUnits })))

    it.each(cases)('of four processes, one of them killed, whose connections are cut: %j', async (given) => {
      await expectLinearizable(check, given.gateUnits > 0, (seed) => faultyHistory(given, seed))
    })

    async function faultyHistory({ resends, gateUnits }: (typeof cases)[number], seed: number): Promise<Call[]> {
      const folder = await newFolder()
      const prefix = `${uniqueName('history')}:`
      await using proxy = await startProxy(server)
      const files = [0, 1, 2, 3].map((i) => join(folder, `${i}`))
      const processes = files.map((file, i) => {
        const settings = {
          ...{ port: proxy.port, prefix, file, resends, gateUnits: i % 2 ? gateUnits : 0 },
          ...{ seed: seed + i, callers: 3, calls: 60, baskets: true, gates: gateUnits > 0 },
        }
        const child = startLineProcess(process.execPath, [program.path, JSON.stringify(settings)])
        onTestFinished(() => child[Symbol.asyncDispose]())
        return child
      })
      await Promise.all(processes.map((child) => child.hear(/ready/)))
      for (const child of processes) child.say('go')
      const [victim, ...others] = processes
      let running = others.length
      const ends = others.map((child) => child.hear(/done/).finally(() => running--))
      for (let turn = 1; running > 0 && turn <= 12; turn++) {
        await sleep(30)
        if (turn === 6) victim?.signal('SIGKILL')
        if (turn % 2) proxy.cut()
        else proxy.dropReplies(1)
      }
      await Promise.all(ends)
      victim?.signal('SIGKILL')
      await victim?.ended
      const history = files.flatMap(readHistory)
      expect(proxy.counters.cuts).toBeGreaterThan(4)
      const troubled = history.filter((call) => (resends ? call.resent : call.returnUs === undefined))
      expect(troubled.length, 'calls met the faults').toBeGreaterThan(0)
      return history
    }

    /** Drivers with a defect. */
    const defects: [string, number, (real: StockDriver, redis: Redis, prefix: string) => StockDriver][] = [
      [
        'sells an id again',
        0,
        (real) => ({
          ...real,
          sell: (sku, orders, trip) => {
            const renamed = orders.map((order) => {
              return order.holdMs === undefined ? { ...order, orderId: `${order.orderId} ${Math.random()}` } : order
            })
            return real.sell(sku, renamed, trip)
          },
        }),
      ],
      [
        'gives a cancelled hold back twice',
        0,
        (real, redis, prefix) => ({
          ...real,
          settle: async (sku, settlements, trip) => {
            const settled = await real.settle(sku, settlements, trip)
            for (const one of settled) {
              if (one instanceof Error || settlements[0]?.kind !== 'cancel' || one.outcome !== 'already') continue
              await redis.hincrby(`${prefix}{${sku}}:stock`, 'available', 1)
            }
            return settled
          },
        }),
      ],
      [
        'lets a gate say sold out for longer than it may',
        20,
        (real) => ({
          ...real,
          level: async (...args) => {
            const state = await real.level(...args)
            return state && { ...state, closedForMs: state.closedForMs * 20 }
          },
        }),
      ],
    ]
    it.each(defects)('and the check finds a driver that %s', async (_what, gateUnits, breakIt) => {
      const redis = new Redis(server.url)
      onTestFinished(() => redis.disconnect())
      let caught = false
      for (let attempt = 0; !caught && attempt < 20; attempt++) {
        const prefix = `${uniqueName('defect')}:`
        const newDriver = (): StockDriver => breakIt(redisStock(redis, { prefix }), redis, prefix)
        const history = await historyOf(newDriver, { seed: newSeed(), gateUnits, baskets: false })
        const verdicts = await check(history, { gates: gateUnits > 0 })
        caught = [...verdicts.values()].some(({ result }) => result === 'Illegal')
      }
      expect(caught).toBe(true)
    })
  })

  describeWithServices('in a Cluster', ['redis-cluster'], ({ 'redis-cluster': server }) => {
    it.each(gateSizes)('with a gate of %i in every second process', async (gateUnits) => {
      await expectLinearizable(check, gateUnits > 0, (seed) => {
        const prefix = `${uniqueName('history')}:`
        const newDriver = (): StockDriver => {
          const redis = new Cluster([...server.nodes])
          onTestFinished(() => redis.disconnect())
          return redisStock(redis, { prefix })
        }
        return historyOf(newDriver, { seed, gateUnits, baskets: false })
      })
    })
  })

  describe('in memory', () => {
    it.each(gateSizes)('with a gate of %i in every second front', async (gateUnits) => {
      await expectLinearizable(check, gateUnits > 0, (seed) => {
        const driver = memoryStock()
        return historyOf(() => driver, { seed, gateUnits, baskets: true })
      })
    })
  })
})
