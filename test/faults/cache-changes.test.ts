import { Redis } from 'ioredis'
import { afterAll, expect, it } from 'vitest'
import { sleep } from '../services/net.js'
import { describeWithServices } from '../services/vitest.js'
import { suiteProgram } from '../support/bundle.js'
import { together } from '../support/together.js'
import { until } from '../support/until.js'
import { createFleet, type Worker } from './cache-support.js'
import type { Change } from './cache-worker.js'

/** While connected, other processes see a change within a second. The rest is for a busy machine, and for a look after it. */
const seenWithinMs = 1_000
const slackMs = 1_000
const watchedMs = seenWithinMs + slackMs + 1_000
const ttlMs = 300
const changes: readonly Change[] = ['delete', 'set', 'invalidateTag', 'clear']

describeWithServices('a change while several processes load the key', ['redis'], ({ redis: server }) => {
  const source = new Redis(server.url)
  const program = suiteProgram(new URL('./cache-worker.ts', import.meta.url))

  afterAll(async () => {
    source.disconnect()
  })

  it('is seen by a process that was stopped meanwhile as soon as it is awake', async () => {
    await together(changes, String, async (change) => {
      const fleet = createFleet(program.path, server, source, server.url)
      const options = { timeoutMs: 30_000 }
      const [changer, stopped] = await Promise.all([fleet.start({ options }), fleet.start({ options })])
      const key = `stopped for ${change}`
      await source.hset(fleet.names.values, key, 'old')
      await stopped.watch(key, true)
      await stopped.seen('old', 11)
      stopped.process.signal('SIGSTOP')
      await sleep(100)
      await source.hset(fleet.names.values, key, 'new')
      const { atMs } = await changer.change(change, key, 'new')
      await sleep(seenWithinMs + slackMs + 200)
      stopped.process.signal('SIGCONT')
      await sleep(500)
      await stopped.seen('new', 11)
      const { old, new: fresh, ...rest } = await stopped.watched()
      expect(rest, change).toEqual({})
      expect(fresh?.times, change).toBeGreaterThan(10)
      const lateMs = (old?.lastMs as number) - (atMs as number)
      expect(lateMs, `${change}, ms after the change`).toBeLessThan(seenWithinMs + slackMs)
      await Promise.all([changer.close(), stopped.close()])
    })
  })

  const loaders = [
    { name: 'each process for itself', fleetLoadMs: undefined, first: 0 },
    { name: 'one for all, the one that changes', fleetLoadMs: 60_000, first: 0 },
    { name: 'one for all, another', fleetLoadMs: 60_000, first: 1 },
  ]
  it.each([
    ['in the foreground', false],
    ['in the background', true],
  ])('%s is not undone: no process answers the old value afterwards', async (_, inBackground) => {
    await together(
      loaders,
      ({ name }) => name,
      async ({ fleetLoadMs, first }) => {
        const fleet = createFleet(program.path, server, source, server.url)
        const options = {
          timeoutMs: 30_000,
          jitter: 0,
          ...(inBackground ? { ttlMs, staleMs: 600_000 } : {}),
          ...(fleetLoadMs === undefined ? {} : { fleetLoadMs }),
        }
        const settings = [{}, {}, { plain: true }]
        const workers = await Promise.all(settings.map((setting) => fleet.start({ options, ...setting })))
        const [changer] = workers as [Worker]
        const loader = workers[first] as Worker
        const others = workers.filter((worker) => worker !== loader)
        for (const change of changes) {
          const key = `by ${change}`
          await source.hset(fleet.names.values, key, 'old')
          if (inBackground) {
            for (const worker of workers) await worker.get(key)
            await sleep(ttlMs + 100)
          }
          const loads = await fleet.loadsOf(key)
          await fleet.hold()
          await loader.watch(key)
          await until(async () => (await fleet.loadsOf(key)) > loads, 'a load has begun')
          for (const worker of others) await worker.watch(key)
          const loading = fleetLoadMs === undefined ? 3 : 1
          await until(async () => (await fleet.loadsOf(key)) >= loads + loading, 'those load who may')
          await source.hset(fleet.names.values, key, 'new')
          const { atMs } = await changer.change(change, key, 'new')
          expect(atMs, 'it was made').toBeDefined()
          // Sometimes the old load ends after the change was told everywhere, sometimes before.
          await sleep(change === 'delete' ? 200 : 0)
          await fleet.letGo()
          await sleep(watchedMs)
          for (const worker of workers) await worker.seen('new', 11)
          for (const [i, worker] of workers.entries()) {
            const { old, new: fresh, ...rest } = await worker.watched()
            const where = `${change}, process ${i}`
            expect(rest, where).toEqual({})
            expect(fresh?.times, where).toBeGreaterThan(10)
            // A get of the loader that began before has read the old value, or waits for nothing else.
            if (worker === loader) expect(old?.times, where).toBeGreaterThan(0)
            if (!old) continue
            const limitMs = worker === changer ? 0 : seenWithinMs + slackMs
            expect(old.lastMs - (atMs as number), `${where}, ms after the change`).toBeLessThanOrEqual(limitMs)
          }
          for (const worker of workers) expect((await worker.get(key)).values).toEqual({ new: 1 })
          const late = await fleet.start({ options, plain: true })
          expect((await late.get(key)).values).toEqual({ new: 1 })
          await late.close()
        }
        await Promise.all(workers.map((worker) => worker.close()))
      },
    )
  })
})
