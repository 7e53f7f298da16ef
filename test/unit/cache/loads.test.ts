import { describe, expect, it } from 'vitest'
import { WaitTimeoutError } from '../../../src/core/errors.js'
import type { Cache } from '../../../src/cache/index.js'
import { settle } from '../../support/virtual-clock.js'
import { outcomeOf, world } from './support.js'

describe('one load per key in a process', () => {
  it('serves all who ask', async () => {
    const { source, alone } = world()
    const cache = alone()
    const asked = Array.from({ length: 100 }, () => cache.get('k'))
    await settle()
    expect(source.runs).toHaveLength(1)
    source.last.answer('x')
    expect(new Set(await Promise.all(asked))).toEqual(new Set(['x']))
    expect(cache.stats()).toEqual({ hits: 0, misses: 100, stale: 0, loads: 1, loadFailures: 0 })
  })

  it('fails for all who ask, and the next of them starts one new run', async () => {
    const { source, alone } = world()
    const cache = alone()
    const stubborn = Array.from({ length: 24 }, async () => {
      for (let tries = 1; ; tries++) {
        try {
          await cache.get('k')
          return tries
        } catch (error) {
          expect((error as Error).message).toBe('away')
        }
      }
    })
    for (let i = 0; i < 5; i++) {
      await settle()
      source.last.fail(new Error('away'))
    }
    await settle()
    source.last.answer('x')
    expect(new Set(await Promise.all(stubborn))).toEqual(new Set([6]))
    expect([source.runs.length, source.mostRunning]).toEqual([6, 1])
    expect(cache.stats()).toMatchObject({ loads: 6, loadFailures: 5, misses: 144 })
  })

  it('holds for a load that throws instead of rejecting', async () => {
    const cache = world().alone({
      load: () => {
        throw new Error('at once')
      },
    })
    await expect(Promise.all([cache.get('k'), cache.get('k')])).rejects.toThrow('at once')
    expect(cache.stats()).toMatchObject({ loads: 1, loadFailures: 1 })
  })

  it('holds when callers stop waiting: the load goes on, and its late value is kept', async () => {
    const { clock, source, alone } = world()
    const cache = alone({ loadTimeoutMs: 20 })
    const first = Array.from({ length: 10 }, () => outcomeOf(cache.get('k')))
    await clock.advance(10)
    const second = Array.from({ length: 10 }, () => outcomeOf(cache.get('k')))
    await clock.advance(10)
    for (const one of first) expect(one.error).toBeInstanceOf(WaitTimeoutError)
    for (const one of second) expect(one.state).toBe('waits')
    await clock.advance(10)
    for (const one of second) expect(one.error).toBeInstanceOf(WaitTimeoutError)
    const third = outcomeOf(cache.get('k'))
    await clock.advance(5)
    expect([source.runs.length, source.last.signal.aborted]).toEqual([1, false])
    source.last.answer('late')
    await settle()
    expect(third).toMatchObject({ state: 'answered', value: 'late' })
    expect(await cache.get('k')).toBe('late')
    expect(source.runs).toHaveLength(1)
  })

  it.each([
    ['delete', (cache: Cache<string>) => cache.delete('k')],
    ['clear', (cache: Cache<string>) => cache.clear()],
  ])('holds for a load that hangs, and %s starts another beside it', async (_, change) => {
    const { clock, source, join } = world()
    const options = { loadTimeoutMs: 20, fleetLoadMs: 1_000 }
    const [a, b] = [join(options), join(options)]
    for (let i = 0; i < 3; i++) {
      const asked = [a, b].map((cache) => outcomeOf(cache.get('k')))
      await clock.advance(100)
      for (const { error } of asked) expect(error).toBeInstanceOf(WaitTimeoutError)
    }
    expect(source.runs).toHaveLength(1)
    await change(b)
    const asked = [a, b].map((cache) => outcomeOf(cache.get('k')))
    await settle()
    expect(source.runs, 'one in all processes').toHaveLength(2)
    source.last.answer('new')
    await settle()
    expect(asked.map(({ value }) => value)).toEqual(['new', 'new'])
    source.runs[0]?.answer('of the load that hung')
    await clock.advance(2_000)
    expect([await a.get('k'), await b.get('k')]).toEqual(['new', 'new'])
  })

  it('holds when callers give up', async () => {
    const { source, alone } = world()
    const cache = alone()
    const reason = new Error('enough')
    const patient = outcomeOf(cache.get('k'))
    const controller = new AbortController()
    const impatient = Array.from({ length: 20 }, () => outcomeOf(cache.get('k', { signal: controller.signal })))
    await settle()
    controller.abort(reason)
    await settle()
    for (const one of impatient) expect(one.error).toBe(reason)
    await expect(cache.get('k', { signal: controller.signal })).rejects.toBe(reason)
    await expect(cache.getMany(['k'], { signal: controller.signal })).rejects.toBe(reason)
    expect([source.runs.length, source.last.signal.aborted]).toEqual([1, false])
    source.last.answer('x')
    await settle()
    expect(patient.value).toBe('x')
  })

  it('holds when all callers give up: the value is kept for the next', async () => {
    const { source, alone } = world()
    const cache = alone()
    const controller = new AbortController()
    const gone = outcomeOf(cache.get('k', { signal: controller.signal }))
    await settle()
    controller.abort()
    source.last.answer('x')
    await settle()
    expect(gone.state).toBe('failed')
    expect(await cache.get('k')).toBe('x')
    expect(source.runs).toHaveLength(1)
  })
})

describe('a change beats a load that began before', () => {
  const cases = [
    ['delete', (cache: ReturnType<ReturnType<typeof world>['alone']>) => cache.delete('k'), 'new'],
    ['set', (cache: ReturnType<ReturnType<typeof world>['alone']>) => cache.set('k', 'set'), 'set'],
    ['invalidateTag', (cache: ReturnType<ReturnType<typeof world>['alone']>) => cache.invalidateTag('t'), 'new'],
    ['clear', (cache: ReturnType<ReturnType<typeof world>['alone']>) => cache.clear(), 'new'],
  ] as const

  for (const [tiers, pick] of [
    ['in memory', 'alone'],
    ['over a store', 'join'],
  ] as const) {
    it.each(cases)(`${tiers}: %s`, async (_, change, expected) => {
      const made = world()
      const { source } = made
      const cache = made[pick]({ tags: () => ['t'] })
      const early = cache.get('k')
      await settle()
      await change(cache)
      source.runs[0]?.answer('old')
      expect(await early, 'who asked before is answered').toBe('old')
      const late = cache.get('k')
      await settle()
      if (expected === 'new') source.runs[1]?.answer('new')
      expect(await late).toBe(expected)
      expect(await cache.get('k')).toBe(expected)
    })

    const ofKeys = cases.filter(([verb]) => verb !== 'invalidateTag')
    it.each(ofKeys)(`${tiers}: %s, and a get after it does not wait for the old load`, async (_, change, expected) => {
      const made = world()
      const { source } = made
      const cache = made[pick]({ tags: () => ['t'] })
      const early = outcomeOf(cache.get('k'))
      await settle()
      await change(cache)
      const late = cache.get('k')
      await settle()
      if (expected === 'new') source.runs[1]?.answer('new')
      expect(await late).toBe(expected)
      expect(early.state).toBe('waits')
      source.runs[0]?.answer('old')
      await settle()
      expect(early.value).toBe('old')
      expect(await cache.get('k'), 'a late load never discards what came after it').toBe(expected)
    })

    it.each(cases)(`${tiers}: %s, in the background`, async (_, change, expected) => {
      const made = world()
      const { source, clock } = made
      const cache = made[pick]({ tags: () => ['t'], staleMs: 60_000 })
      source.answers = () => 'old'
      await cache.get('k')
      await clock.advance(10_000)
      source.answers = undefined
      expect(await cache.get('k')).toBe('old')
      await settle()
      expect(source.runs).toHaveLength(2)
      await change(cache)
      source.runs[1]?.answer('older')
      await settle()
      const late = cache.get('k')
      await settle()
      if (expected === 'new') source.runs[2]?.answer('new')
      expect(await late, 'not even an old value is answered').toBe(expected)
      expect(await cache.get('k')).toBe(expected)
    })
  }

  it('also when several follow each other', async () => {
    const { source, join } = world()
    const cache = join()
    for (let i = 0; i < 5; i++) {
      void cache.get('k')
      await settle()
      await cache.delete('k')
    }
    expect(source.runs).toHaveLength(5)
    const last = cache.get('k')
    await settle()
    source.runs[5]?.answer('newest')
    for (const i of [4, 0, 2, 1, 3]) source.runs[i]?.answer(`old ${i}`)
    expect(await last).toBe('newest')
    await settle()
    expect(await cache.get('k')).toBe('newest')
  })

  it('and a load that only looks when it comes is not doubled', async () => {
    const { source, join } = world()
    const cache = join()
    const early = cache.get('k')
    const deleted = cache.delete('k')
    const late = cache.get('k')
    await settle()
    expect(source.runs).toHaveLength(1)
    source.last.answer('x')
    expect([await early, await late, await deleted]).toEqual(['x', 'x', undefined])
  })

  it.each(['alone', 'join'] as const)(
    'but the end of a tag does not make the loads run again that bring no such value: %s',
    async (pick) => {
      const made = world()
      const { source } = made
      const cache = made[pick]({ tags: (key) => [`of ${key}`] })
      const keys = Array.from({ length: 50 }, (_, i) => `k${i}`)
      const early = outcomeOf(cache.getMany(keys))
      await settle()
      expect(source.runs).toHaveLength(50)
      for (let i = 0; i < 10; i++) await cache.invalidateTag(i === 5 ? 'of k5' : `of another ${i}`)
      const late = outcomeOf(cache.getMany(keys))
      await settle()
      expect(source.runs).toHaveLength(50)
      for (const run of source.runs.slice(0, 50)) run.answer('old')
      await settle()
      expect(early.value).toEqual(keys.map(() => 'old'))
      expect(source.runs.slice(50).map((run) => run.keys[0])).toEqual(['k5'])
      source.last.answer('new')
      await settle()
      expect(late.value).toEqual(keys.map((key) => (key === 'k5' ? 'new' : 'old')))
    },
  )

  it('and a get after the end of a tag waits no longer than two seconds to learn whether it concerns the load', async () => {
    const { clock, source, alone } = world()
    const cache = alone({ tags: () => ['t'] })
    const asked = [outcomeOf(cache.get('k'))]
    for (let i = 0; i < 5; i++) {
      await settle()
      await cache.invalidateTag(i % 2 ? 't' : 'other')
      asked.push(outcomeOf(cache.get('k')))
    }
    await clock.advance(1_999)
    expect(source.runs).toHaveLength(1)
    await clock.advance(1)
    expect([source.runs.length, source.mostRunning]).toEqual([2, 2])
    await cache.invalidateTag('t')
    asked.push(outcomeOf(cache.get('k')))
    await clock.advance(10_000)
    expect(source.mostRunning, 'however many tags end').toBe(2)
    source.runs[1]?.answer('second')
    await settle()
    // The last of them came after a tag that ended while the second load ran.
    const second = new Array<string>(5).fill('second')
    expect(asked.map(({ value }) => value)).toEqual([undefined, ...second, undefined])
    expect(source.runs).toHaveLength(3)
    source.runs[2]?.answer('third')
    source.runs[0]?.answer('first')
    await settle()
    expect(asked.map(({ value }) => value)).toEqual(['first', ...second, 'third'])
    expect(await cache.get('k')).toBe('third')
  })

  it.each(['alone', 'join'] as const)('nor is a get after the end of a tag that ends once more: %s', async (pick) => {
    const made = world()
    const { source } = made
    const cache = made[pick]({ tags: () => ['t'] })
    const early = outcomeOf(cache.get('k'))
    await settle()
    await cache.invalidateTag('t')
    const between = outcomeOf(cache.get('k'))
    await settle()
    await cache.invalidateTag('t')
    const late = outcomeOf(cache.get('k'))
    await settle()
    expect(source.runs).toHaveLength(1)
    source.runs[0]?.answer('old')
    await settle()
    expect([early.value, between.state, late.state]).toEqual(['old', 'waits', 'waits'])
    expect(source.runs).toHaveLength(2)
    source.runs[1]?.answer('new')
    await settle()
    expect([between.value, late.value]).toEqual(['new', 'new'])
  })

  it('and who has waited for one load that has ended waits for one more, however often the tag ends', async () => {
    const { source, alone } = world()
    const cache = alone({ tags: () => ['t'] })
    void cache.get('k')
    await settle()
    await cache.invalidateTag('t')
    const between = outcomeOf(cache.get('k'))
    source.runs[0]?.answer('old')
    await settle()
    expect(source.runs).toHaveLength(2)
    await cache.invalidateTag('t')
    const late = outcomeOf(cache.get('k'))
    source.runs[1]?.answer('new')
    await settle()
    expect([between.value, late.state]).toEqual(['new', 'waits'])
    source.runs[2]?.answer('newest')
    await settle()
    expect(late.value).toBe('newest')
  })

  it('and a load of a value that had the tag before is not waited for', async () => {
    const { clock, source, alone } = world()
    const cache = alone({ tags: () => ['t'], staleMs: 60_000 })
    source.answers = () => 'old'
    await cache.get('k')
    await clock.advance(10_000)
    source.answers = undefined
    expect(await cache.get('k')).toBe('old')
    await settle()
    await cache.invalidateTag('t')
    const late = outcomeOf(cache.get('k'))
    await settle()
    expect(source.runs).toHaveLength(3)
    source.runs[2]?.answer('new')
    await settle()
    expect(late.value).toBe('new')
    source.runs[1]?.answer('older')
    await settle()
    expect(await cache.get('k')).toBe('new')
  })

  it('and the value of a load that a mark does not concern is kept', async () => {
    const { source, alone } = world()
    const cache = alone({ tags: () => ['t'] })
    const asked = cache.get('k')
    await settle()
    await cache.invalidateTag('other')
    source.last.answer('x')
    await asked
    expect(await cache.get('k')).toBe('x')
    expect(source.runs).toHaveLength(1)
  })
})

describe('one load in all processes', () => {
  it('serves them all, and passes on when the loader fails', async () => {
    const { source, join } = world()
    const fleet = Array.from({ length: 4 }, () => join({ fleetLoadMs: 1_000 }))
    const asked = fleet.map((cache) => outcomeOf(cache.get('k')))
    await settle()
    expect(source.runs).toHaveLength(1)
    source.last.fail(new Error('away'))
    await settle()
    expect(asked.filter(({ state }) => state === 'failed')).toHaveLength(1)
    expect([source.runs.length, source.mostRunning]).toEqual([2, 1])
    source.last.answer('x')
    await settle()
    expect(asked.filter(({ value }) => value === 'x')).toHaveLength(3)
    expect(fleet.map((cache) => cache.stats().loads).sort()).toEqual([0, 0, 1, 1])
  })

  it('tells all who wait that there is none, and nobody who comes later', async () => {
    const { source, join } = world()
    const fleet = Array.from({ length: 4 }, () => join({ fleetLoadMs: 1_000 }))
    const asked = fleet.map((cache) => outcomeOf(cache.get('k')))
    await settle()
    source.last.answer(undefined)
    await settle()
    expect(asked).toEqual(fleet.map(() => ({ state: 'answered', value: undefined })))
    expect(source.runs).toHaveLength(1)
    // It is not remembered.
    const later = outcomeOf((fleet[1] as Cache<string>).get('k'))
    await settle()
    expect([later.state, source.runs.length]).toEqual(['waits', 2])
    source.last.answer('x')
    await settle()
    expect(later.value).toBe('x')
    expect(await Promise.all(fleet.map((cache) => cache.get('k')))).toEqual(['x', 'x', 'x', 'x'])
  })

  it.each([
    ['a load that fails', 1, async () => undefined],
    ['a load from before a clear', 2, (cache: Cache<string>) => cache.clear()],
  ])('does not tell what an earlier load has found: %s', async (_, more, change) => {
    const { source, join } = world()
    const fleet = [1, 2, 3].map(() => join({ fleetLoadMs: 1_000 }))
    const ask = () => fleet.map((cache) => outcomeOf(cache.get('k')))
    const first = ask()
    await settle()
    source.last.answer(undefined)
    await settle()
    expect(first.map(({ state }) => state)).toEqual(['answered', 'answered', 'answered'])
    const second = ask()
    await settle()
    expect(source.runs).toHaveLength(2)
    await change(fleet[2] as Cache<string>)
    await settle()
    if (more === 1) source.last.fail(new Error('away'))
    else source.runs[1]?.answer(undefined)
    await settle()
    expect(second.filter(({ state }) => state === 'waits').length, 'they wait for a load of their own').toBeGreaterThan(
      0,
    )
    source.last.answer('x')
    await settle()
    expect(second.filter(({ value }) => value === 'x').length).toBe(2)
    expect(source.mostRunning).toBe(more)
  })

  it('keeps the turn of a living loader, however long it takes', async () => {
    const { clock, source, join } = world()
    const [a, b] = [join({ fleetLoadMs: 1_000 }), join({ fleetLoadMs: 1_000, loadTimeoutMs: 5_000 })]
    void a.get('k')
    await settle()
    const asked = outcomeOf(b.get('k'))
    await clock.advance(4_999)
    expect([source.runs.length, asked.state]).toEqual([1, 'waits'])
    await clock.advance(1)
    expect(asked.error).toBeInstanceOf(WaitTimeoutError)
    await clock.advance(60_000)
    expect(source.runs).toHaveLength(1)
    source.last.answer('x')
    await settle()
    expect(await b.get('k')).toBe('x')
  })

  it('hands the turn on within fleetLoadMs when the loader is heard of no more', async () => {
    const { clock, source, store, join } = world()
    const terms = { id: 'dead', leaseMs: 750, shared: false }
    const trip = { signal: new AbortController().signal, sending: () => undefined }
    await store.connect().read([{ key: 'k', takes: true }], terms, trip)
    void join({ fleetLoadMs: 1_000 }).get('k')
    await clock.advance(749)
    expect(source.runs).toHaveLength(0)
    await clock.advance(2)
    expect(source.runs).toHaveLength(1)
    source.last.answer('x')
    await settle()
  })

  it('answers an old value meanwhile, in every process', async () => {
    const { clock, source, join } = world()
    const options = { fleetLoadMs: 1_000, staleMs: 60_000 }
    const [a, b] = [join(options), join(options)]
    source.answers = () => 'old'
    expect([await a.get('k'), await b.get('k')]).toEqual(['old', 'old'])
    await clock.advance(10_000)
    source.answers = undefined
    expect([await a.get('k'), await b.get('k')]).toEqual(['old', 'old'])
    await clock.advance(5_000)
    expect([await a.get('k'), await b.get('k'), source.runs.length]).toEqual(['old', 'old', 2])
    source.last.answer('new')
    await settle()
    expect([await a.get('k'), await b.get('k')]).toEqual(['new', 'new'])
    expect(source.runs).toHaveLength(2)
  })

  it('loads without the others where the store is away', async () => {
    const { source, store, join } = world()
    store.state = 'dead'
    source.answers = () => 'x'
    const fleet = [join({ fleetLoadMs: 1_000 }), join({ fleetLoadMs: 1_000 })]
    expect(await Promise.all(fleet.map((cache) => cache.get('k')))).toEqual(['x', 'x'])
    expect(source.runs).toHaveLength(2)
  })
})
