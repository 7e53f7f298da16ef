import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { rm } from 'node:fs/promises'
import { createInterface } from 'node:readline'
import { setTimeout as sleep } from 'node:timers/promises'
import { Redis } from 'ioredis'
import { build } from 'tsup'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { projectPath } from '../../../examples/shared/files.js'
import { skuOf } from '../../../examples/shared/selling/sales.js'
import { lockedNames } from '../../../examples/seckill/strategies/servers.js'
import { fileURLToPath } from 'node:url'
import { describeWithServices } from '../../services/vitest.js'
import { insist } from './service.js'
import { stackArguments, startService } from './stack.js'

// Long enough for a holder on a busy machine to come to its write.
const ttlMs = 5_000
// Inside the project, so that the packages are found.
const folder = projectPath('.cache', `stopped-seller-${process.pid}`)

beforeAll(() =>
  build({
    config: false,
    silent: true,
    entry: [fileURLToPath(new URL('./stopped-seller.ts', import.meta.url))],
    outDir: folder,
    format: 'esm',
    target: 'node20',
    loader: { '.lua': 'text' },
    skipNodeModulesBundle: true,
  }),
)
afterAll(() => rm(folder, { recursive: true, force: true }))

/** A process that holds the lock, with its write ready to go. */
function startHolder(...args: readonly string[]) {
  const child = spawn(process.execPath, [`${folder}/stopped-seller.js`, ...args], {
    stdio: ['pipe', 'pipe', 'inherit'],
  })
  const said: string[] = []
  createInterface({ input: child.stdout }).on('line', (line) => said.push(line))
  const ended = once(child, 'exit')
  const says = async (wanted: number): Promise<string> => {
    while (said.length < wanted) {
      if (child.exitCode !== null) throw new Error(`the holder ended after ${said.join()}`)
      await sleep(10)
    }
    return said[wanted - 1] as string
  }
  return {
    /** Has read the units, and is about to write them back. */
    atItsWrite: async () => expect(await says(1)).toBe('writing'),
    stop: () => void child.kill('SIGSTOP'),
    wake: () => void child.kill('SIGCONT'),
    /** Lets it write; what its buyer is told. */
    async write(): Promise<string> {
      child.stdin.write('go\n')
      const verdict = await says(2)
      expect(await ended).toEqual([0, null])
      return verdict
    },
    kill: () => void child.kill('SIGKILL'),
  }
}

// How the seckill document came to sell one or two units too many. Its locks were as good as any: a lock with a time-out
// ends under a holder that sleeps, and nothing at the stock knew that the sleeper's write had been overtaken.
describeWithServices('a lock that ends under its holder', ['redis', 'kafka', 'mysql'], (servers) => {
  /** A sale of one unit, a holder that is stopped until its lock is over, and the next one, which has read as well. */
  const overtaken = async (fencing: 'fenced' | 'unfenced') => {
    const { name, args } = await stackArguments(servers)
    const service = await startService(...args, '--strategy', 'redis-lock')
    const redis = new Redis(servers.redis.url)
    const id = await service.open({ quantity: 1 })
    const sku = skuOf({ id, generation: 1, soldBy: 'redis-lock' })
    const hold = (order: string) => startHolder(servers.redis.url, `${name}:`, sku, order, `${ttlMs}`, fencing)
    const lockKey = lockedNames('redis-lock', `${name}:`).lockKey(sku)

    const first = hold('first')
    await first.atItsWrite()
    const holder = await redis.hkeys(lockKey)
    expect(holder).toHaveLength(1)
    first.stop()
    const second = hold('second')
    await second.atItsWrite()
    // The lock is not the first one's any more, and that one cannot know.
    const next = await redis.hkeys(lockKey)
    expect(next).toHaveLength(1)
    expect(next).not.toEqual(holder)
    first.wake()
    return {
      service,
      id,
      first,
      second,
      async [Symbol.asyncDispose]() {
        first.kill()
        second.kill()
        redis.disconnect()
        await service[Symbol.asyncDispose]()
      },
    }
  }

  describe.each([
    { when: 'after the next holder has written', late: true },
    { when: 'between the read and the write of the next holder', late: false },
  ])('whose write comes $when', ({ late }) => {
    const writes = async (sale: Awaited<ReturnType<typeof overtaken>>) => {
      const second = late ? await sale.second.write() : undefined
      const first = await sale.first.write()
      return { first, second: second ?? (await sale.second.write()) }
    }

    it('sells one unit more than there is without fencing', async () => {
      await using sale = await overtaken('unfenced')
      expect(await writes(sale)).toEqual({ first: 'sold', second: 'sold' })
      // Two buyers were told that the one unit is theirs. The database has a row for one of them.
      expect(await sale.service.settled(sale.id)).toMatchObject({
        ...{ ok: false, total: 1, sold: 1, recordedOrders: 2, recordedUnits: 2 },
        ...{ rows: 1, rejected: 1, databaseDifference: 1 },
      })
    })

    it('is refused by its fencing token, and the books balance', async () => {
      await using sale = await overtaken('fenced')
      expect(await writes(sale)).toEqual({ first: 'clash', second: 'sold' })
      const { service, id } = sale
      expect((await insist(service, id, 'first', { buyer: 'first' })).body['error']).toBe('sold-out')
      expect((await insist(service, id, 'second', { buyer: 'second' })).body).toMatchObject({ replayed: true })
      expect(await service.settled(id)).toMatchObject({
        ...{ ok: true, total: 1, sold: 1, recordedOrders: 1, recordedUnits: 1 },
        ...{ rows: 1, rejected: 0, databaseDifference: 1 },
      })
    })
  })
})
