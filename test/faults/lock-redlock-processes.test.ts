import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { Redis } from 'ioredis'
import { build } from 'tsup'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { createLock } from '../../src/lock/index.js'
import { redlockLock } from '../../src/lock/redlock/index.js'
import { uniqueName } from '../services/vitest.js'
import { describeWithNodes } from '../support/redis-nodes.js'

describeWithNodes('several processes that contend for a lock of Redlock', 3, (servers) => {
  const urls = servers.map(({ url }) => url)
  const redis = new Redis(urls[0] as string)
  let folder: string
  let program: string

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'spillway-redlock-'))
    program = join(folder, 'lock-redlock-worker.mjs')
    await build({
      config: false,
      silent: true,
      entry: [fileURLToPath(new URL('./lock-redlock-worker.ts', import.meta.url))],
      outDir: folder,
      format: 'esm',
      outExtension: () => ({ js: '.mjs' }),
      target: 'node20',
      loader: { '.lua': 'text' },
      noExternal: [/./],
      banner: { js: "import { createRequire } from 'node:module'; const require = createRequire(import.meta.url)" },
    })
  })
  afterAll(async () => {
    redis.disconnect()
    await rm(folder, { recursive: true, force: true })
  })

  it('never lets two in, and everybody in: 4 processes of 16 callers count without a mistake', async () => {
    const key = uniqueName('count')
    const [callers, turns] = [16, 10]
    const ends = Array.from({ length: 4 }, async () => {
      const args = [program, key, `${callers}`, `${turns}`, urls[0] as string, ...urls]
      const child = spawn(process.execPath, args, { stdio: ['ignore', 'inherit', 'inherit'] })
      return (await once(child, 'close')) as [number]
    })
    await expect.poll(() => redis.llen(`${key}:ready`), { timeout: 60_000 }).toBe(4)
    await redis.rpush(`${key}:go`, 1, 2, 3, 4)
    expect((await Promise.all(ends)).map(([code]) => code)).toEqual([0, 0, 0, 0])
    const who = await redis.lrange(`${key}:who`, 0, -1)
    expect(await redis.get(`${key}:counter`)).toBe(`${4 * callers * turns}`)
    expect(who.length).toBe(4 * callers * turns)
    expect(new Set(who).size).toBe(4)
    const changes = who.filter((pid, i) => i > 0 && pid !== who[i - 1]).length
    expect(changes, 'they contended: nobody did all its work in one go').toBeGreaterThan(4)
  })

  it('lets a waiter in though the callers of another process never leave the key', async () => {
    const key = uniqueName('greedy')
    const open = (): Redis[] => urls.map((url) => new Redis(url))
    const clients = [open(), open()] as const
    const [greedy, patient] = clients.map((nodes) =>
      createLock(redlockLock(nodes, { nodeTimeoutMs: 10_000 }), { timeoutMs: 60_000 }),
    ) as [ReturnType<typeof createLock>, ReturnType<typeof createLock>]
    let turns = 0
    let isServed = false
    const callers = [1, 2, 3, 4].map(async () => {
      while (!isServed) await greedy.run(key, async () => void turns++)
    })
    await expect.poll(() => turns, { timeout: 30_000 }).toBeGreaterThan(10)
    const before = turns
    await patient.run(key, async () => {
      isServed = true
    })
    await Promise.all(callers)
    // It had its chance each time that the others had had 64 turns; a slow machine may miss a few.
    expect(turns - before).toBeGreaterThan(0)
    expect(turns - before).toBeLessThan(64 * 20)
    await Promise.all([greedy.close(), patient.close()])
    clients.flat().forEach((client) => client.disconnect())
  })
})
