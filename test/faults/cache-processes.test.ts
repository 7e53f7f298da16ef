import { Redis } from 'ioredis'
import { afterAll, expect, it } from 'vitest'
import { describeWithServices } from '../services/vitest.js'
import { sleep } from '../services/net.js'
import { suiteProgram } from '../support/bundle.js'
import { until } from '../support/until.js'
import { createFleet, type Fleet, type Worker } from './cache-support.js'
import type { Got } from './cache-worker.js'

/** What a busy machine may add. */
const slackMs = 20_000

describeWithServices('several processes that miss a key together', ['redis'], ({ redis: server }) => {
  const source = new Redis(server.url)
  const program = suiteProgram(new URL('./cache-worker.ts', import.meta.url))

  afterAll(async () => {
    source.disconnect()
  })

  const setUp = async (
    options: Parameters<Fleet['start']>[0] = {},
    values: Readonly<Record<string, string>> = { k: 'v1' },
  ): Promise<{ fleet: Fleet; workers: Worker[] }> => {
    const fleet = createFleet(program.path, server, source, server.url)
    await source.hset(fleet.names.values, values)
    // Half of them have memory in front of Redis.
    const workers = await Promise.all([0, 1, 2, 3].map((i) => fleet.start({ plain: i % 2 === 1, ...options })))
    return { fleet, workers }
  }
  const closeAll = (workers: readonly Worker[]) => Promise.all(workers.map((worker) => worker.close()))
  const all = (values: Readonly<Record<string, number>>): Got => ({ values, failures: {} })

  it('load it once for 10,000 gets with fleetLoadMs, and every get has the value', async () => {
    const { fleet, workers } = await setUp(
      { options: { fleetLoadMs: 60_000, timeoutMs: 60_000 } },
      { k: 'v1', other: 'v2' },
    )
    await fleet.hold()
    const gets = workers.map((worker) => worker.get('k', 2_500))
    await until(async () => (await fleet.loadsOf('k')) > 0, 'somebody loads')
    // All the others have come to wait by now, or come late and find it: neither may load.
    await sleep(1_500)
    await fleet.letGo()
    for (const got of await Promise.all(gets)) expect(got).toEqual(all({ v1: 2_500 }))
    expect(await fleet.loadsOf('k')).toBe(1)
    // Again, with nothing that holds it up.
    const again = await Promise.all(workers.map((worker) => worker.get('other', 2_500)))
    for (const got of again) expect(got).toEqual(all({ v2: 2_500 }))
    expect(await fleet.loadsOf('other')).toBe(1)
    await closeAll(workers)
  })

  it('load it once each without fleetLoadMs', async () => {
    const { fleet, workers } = await setUp({ options: { timeoutMs: 60_000 } })
    await fleet.hold()
    const gets = workers.map((worker) => worker.get('k', 2_500))
    await until(async () => (await fleet.loadsOf('k')) === 4, 'each loads')
    await fleet.letGo()
    for (const got of await Promise.all(gets)) expect(got).toEqual(all({ v1: 2_500 }))
    expect(await fleet.loadsOf('k')).toBe(4)
    const late = await fleet.start({ options: { timeoutMs: 60_000 } })
    expect(await late.get('k', 100)).toEqual(all({ v1: 100 }))
    expect(await fleet.loadsOf('k'), 'it is in Redis').toBe(4)
    await closeAll([...workers, late])
  })

  it('have it loaded by another within fleetLoadMs when the loader is killed, and not before its turn ends', async () => {
    const fleetLoadMs = 10_000
    const { fleet, workers } = await setUp({ options: { fleetLoadMs, timeoutMs: 60_000 } })
    const [loader, ...others] = workers as [Worker, ...Worker[]]
    await fleet.hold()
    loader.get('k').catch(() => undefined)
    await loader.loading('k')
    const gets = others.map((worker) => worker.get('k', 100))
    await sleep(300)
    const killedMs = performance.now()
    loader.process.signal('SIGKILL')
    expect(await loader.process.ended).toBe('SIGKILL')
    const leftMs = await source.pttl(`${fleet.prefix}test:{k}:turn`)
    expect(leftMs, 'its turn goes on').toBeGreaterThan(0)
    expect(await fleet.loadsOf('k')).toBe(1)
    await until(async () => (await fleet.loadsOf('k')) > 1, 'another loads', fleetLoadMs + slackMs)
    const tookMs = performance.now() - killedMs
    await fleet.letGo()
    for (const got of await Promise.all(gets)) expect(got).toEqual(all({ v1: 100 }))
    expect(await fleet.loadsOf('k'), 'one of them took over').toBe(2)
    expect(tookMs).toBeGreaterThan(leftMs - 100)
    expect(tookMs, `another loaded ${Math.round(tookMs)} ms after the end`).toBeLessThan(fleetLoadMs + slackMs)
    await closeAll(others)
  })

  it('leave a loader its turn that lives and takes several times fleetLoadMs', async () => {
    const fleetLoadMs = 10_000
    const { fleet, workers } = await setUp({ options: { fleetLoadMs, timeoutMs: 60_000 } })
    await fleet.hold()
    const gets = workers.map((worker) => worker.get('k', 20))
    await sleep(2.5 * fleetLoadMs)
    await fleet.letGo()
    for (const got of await Promise.all(gets)) expect(got).toEqual(all({ v1: 20 }))
    expect(await fleet.loadsOf('k')).toBe(1)
    await closeAll(workers)
  })

  it('refuse what a stopped loader brings after its turn has passed on', async () => {
    const { fleet, workers } = await setUp({ options: { fleetLoadMs: 10_000, timeoutMs: 60_000 } })
    const [loader, other, ...rest] = workers as [Worker, Worker, ...Worker[]]
    await fleet.hold()
    const old = loader.get('k')
    await loader.loading('k')
    loader.process.signal('SIGSTOP')
    await source.hset(fleet.names.values, 'k', 'v2')
    const fresh = other.get('k')
    await other.loading('k')
    await fleet.letGo()
    expect(await fresh).toEqual(all({ v2: 1 }))
    loader.process.signal('SIGCONT')
    // It began before the change of the source, and so did the get.
    expect(await old).toEqual(all({ v1: 1 }))
    for (const worker of [other, ...rest]) expect(await worker.get('k')).toEqual(all({ v2: 1 }))
    await until(async () => (await loader.get('k')).values['v2'] === 1, 'the loader asks Redis')
    expect(await fleet.loadsOf('k')).toBe(2)
    await closeAll(workers)
  })

  it('learn from one load that there is no value, which nobody remembers', async () => {
    const { fleet, workers } = await setUp({ options: { fleetLoadMs: 30_000, timeoutMs: 60_000 } }, { other: 'v1' })
    await fleet.hold()
    const gets = workers.map((worker) => worker.get('k', 250))
    await until(async () => (await fleet.loadsOf('k')) > 0, 'somebody loads')
    await until(async () => (await source.pubsub('NUMSUB', `${fleet.prefix}test:bus`))[1] === 4, 'all hear the bus')
    await sleep(1_000)
    await fleet.letGo()
    for (const got of await Promise.all(gets)) expect(got).toEqual(all({ undefined: 250 }))
    expect(await fleet.loadsOf('k')).toBe(1)
    await source.hset(fleet.names.values, 'k', 'v1')
    for (const worker of workers) expect(await worker.get('k', 1)).toEqual(all({ v1: 1 }))
    expect(await fleet.loadsOf('k')).toBe(2)
    await closeAll(workers)
  })

  it('try in turn when loads fail: never two at once, and each fails its own callers only', async () => {
    const { fleet, workers } = await setUp({ options: { fleetLoadMs: 30_000, timeoutMs: 60_000 } }, { k: 'fails' })
    await fleet.hold()
    const gets = workers.map((worker) => worker.get('k', 250))
    await until(async () => (await fleet.loadsOf('k')) > 0, 'somebody loads')
    await sleep(1_000)
    expect(await fleet.loadsOf('k'), 'the others wait').toBe(1)
    await fleet.letGo()
    const pids = workers.map((worker) => worker.process.lines[0]?.split(' ')[1])
    for (const [i, got] of (await Promise.all(gets)).entries()) {
      expect(got).toEqual({ values: {}, failures: { [`the source fails process ${pids[i]}`]: 250 } })
    }
    expect(await fleet.loadsOf('k')).toBe(4)
    expect(await fleet.mostRunning('k')).toBe(1)

    // The second of them succeeds: the others have its value.
    await fleet.hold()
    const mixed = workers.map((worker) => worker.get('k', 50))
    await until(async () => (await fleet.loadsOf('k')) > 4, 'somebody loads')
    await source.hset(fleet.names.values, 'k', 'v1')
    await sleep(1_000)
    await fleet.letGo()
    const outcomes = await Promise.all(mixed)
    expect(outcomes.filter(({ failures }) => Object.keys(failures).length > 0)).toHaveLength(1)
    expect(outcomes.filter(({ values }) => values['v1'] === 50)).toHaveLength(3)
    expect(await fleet.loadsOf('k')).toBe(6)
    expect(await fleet.mostRunning('k')).toBe(1)
    await closeAll(workers)
  })
})
