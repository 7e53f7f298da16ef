import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { Redis } from 'ioredis'
import { afterAll, expect, it, onTestFinished } from 'vitest'
import { createStock } from '../../src/stock/index.js'
import { redisStock } from '../../src/stock/redis/index.js'
import { sleep } from '../services/net.js'
import { describeWithServices, uniqueName } from '../services/vitest.js'
import { suiteProgram } from '../support/bundle.js'
import { audit, watch } from './stock-rush.js'

const sku = 'ticket'

describeWithServices('several processes that sell one SKU', ['redis'], ({ redis: server }) => {
  const redis = new Redis(server.url)
  const program = suiteProgram(new URL('./stock-seller.ts', import.meta.url))

  afterAll(async () => {
    redis.disconnect()
  })

  const ended = new WeakSet<ChildProcess>()
  /** Starts sellers, and lets all of them begin when the last is ready; every second one has a gate. */
  const start = async (
    prefix: string,
    count: number,
  ): Promise<{ process: ChildProcess; ended: Promise<unknown>; ids: () => string[] }[]> => {
    const sellers = Array.from({ length: count }, (_, i) => {
      const args = [program.path, server.url, prefix, sku, `process-${i}`, i % 2 ? '500' : '0']
      const child = spawn(process.execPath, args, { stdio: ['pipe', 'pipe', 'inherit'] })
      onTestFinished(() => void child.kill('SIGKILL'))
      let printed = ''
      child.stdout.on('data', (data: Buffer) => (printed += data.toString()))
      const isReady = new Promise<void>((resolve) => child.stdout.once('data', () => resolve()))
      return {
        process: child,
        isReady,
        ended: once(child, 'close').then(() => ended.add(child)),
        // The first line says that it is ready, and what a killed process printed last may be cut off.
        ids: () => printed.split('\n').slice(1, -1),
      }
    })
    await Promise.all(sellers.map(({ isReady }) => isReady))
    for (const { process: child } of sellers) child.stdin?.write('go\n')
    return sellers
  }

  /** Whether each of four processes sold some. */
  const sellExactly = async (): Promise<boolean> => {
    const prefix = `${uniqueName('exact')}:`
    const total = 40_000
    await using stock = createStock(redisStock(redis, { prefix }), { timeoutMs: 30_000 })
    await stock.open(sku, total)
    const watching = watch(stock, sku)
    const sellers = await start(prefix, 4)
    await Promise.all(sellers.map(({ ended }) => ended))
    expect(await watching.stop()).toBeGreaterThan(3)

    expect(await stock.level(sku)).toMatchObject({ total, available: 0, sold: total })
    const recorded = await audit(stock, sku)
    const told = sellers.map(({ ids }) => ids())
    expect(told.flat().length).toBe(new Set(told.flat()).size)
    expect(new Set(told.flat())).toEqual(recorded)
    return told.every((ids) => ids.length > 0)
  }

  it('sells exactly all units from four processes', async () => {
    // On a busy machine one may come when the others have sold all.
    while (!(await sellExactly()));
  })

  /** Whether the processes were killed before all was sold. */
  const killInTheRush = async (): Promise<boolean> => {
    const prefix = `${uniqueName('killed')}:`
    const total = 60_000
    await using stock = createStock(redisStock(redis, { prefix }), { timeoutMs: 30_000 })
    await stock.open(sku, total)
    const watching = watch(stock, sku)
    const sellers = await start(prefix, 4)
    const victims = sellers.slice(2)
    const isSelling = ({ process: seller, ids }: (typeof sellers)[0]): boolean => ids().length > 50 || ended.has(seller)
    while (!victims.every(isSelling)) await sleep(1)
    for (const { process: victim } of victims) victim.kill('SIGKILL')
    await Promise.all(victims.map(({ ended }) => ended))
    const isBeforeTheEnd = (await stock.level(sku)).available > 0
    await Promise.all(sellers.map(({ ended }) => ended))
    expect(await watching.stop()).toBeGreaterThan(3)

    expect(await stock.level(sku)).toMatchObject({ total, available: 0, sold: total })
    const recorded = await audit(stock, sku)
    for (const { ids } of sellers) for (const id of ids()) expect(recorded.has(id), id).toBe(true)
    return isBeforeTheEnd
  }

  it('loses nothing to a process that is killed in the rush, and strands nothing', async () => {
    // A busy machine may have sold all before it comes to the kill.
    while (!(await killInTheRush()));
  })
})
