import { describe, expect, it } from 'vitest'
import type { Clock } from '../../../src/core/clock.js'
import { memoryTier, type Cache, type CacheOptions, type SharedStore } from '../../../src/cache/index.js'
import { settle } from '../../support/virtual-clock.js'
import { outcomeOf, tierOf, world } from './support.js'

const options: Partial<CacheOptions<string>> = { ttlMs: 1_000, staleMs: 600_000 }
const changes: [string, string | undefined, (cache: Cache<string>) => Promise<void>][] = [
  ['set', 'new', (cache) => cache.set('k', 'new')],
  ['delete', undefined, (cache) => cache.delete('k')],
  ['clear', undefined, (cache) => cache.clear()],
]

/** Two processes that know an old value; one loads it anew in the background, for as long as the test likes. */
async function loadingInTheBackground() {
  const all = world()
  const { clock, source, join } = all
  const [a, b] = [join(options), join(options)]
  source.answers = () => 'old'
  expect([await a.get('k'), await b.get('k')]).toEqual(['old', 'old'])
  await clock.advance(1_001)
  source.answers = undefined
  expect(await a.get('k')).toBe('old')
  await settle()
  expect(source.running).toBe(1)
  return { ...all, a, b }
}

describe('a bus that is lost while a load runs', () => {
  it.each(changes)('keeps the old value from being answered meanwhile: %s', async (_, value, change) => {
    const { clock, source, store, a, b } = await loadingInTheBackground()
    store.cutBus()
    await change(b)
    await clock.advance(2_000)
    const got = outcomeOf(a.get('k'))
    await settle()
    if (value !== undefined) expect(got.value, 'what the store has is answered at once').toBe(value)
    else expect(got.state).toBe('waits')
    expect(source.mostRunning, 'one load at a time').toBe(1)
    source.last.answer('old')
    await settle()
    if (value === undefined) {
      // What that load has brought is from before the loss, and the store has refused it or knows that it has ended.
      expect([got.state, source.runs.length]).toEqual(['waits', 3])
      source.last.answer('fresh')
      await settle()
    }
    expect(got.value).toBe(value ?? 'fresh')
    expect(await a.get('k')).toBe(value ?? 'fresh')
  })

  it('still has the old value answered at once if nobody has changed it', async () => {
    const { clock, source, store, a, errors } = await loadingInTheBackground()
    const runs = source.runs.length
    store.cutBus()
    for (let i = 0; i < 5; i++) {
      expect(await a.get('k')).toBe('old')
      await clock.advance(500)
    }
    for (let i = 0; i < 5; i++) expect(await a.get('k'), 'one right after the other').toBe('old')
    const reads = store.calls.length
    expect(await Promise.all(Array.from({ length: 50 }, () => a.get('k')))).toEqual(new Array(50).fill('old'))
    expect(store.calls.length, 'they share a trip').toBe(reads + 1)
    store.mendBus()
    expect(await a.get('k')).toBe('old')
    const trusted = store.calls.length
    expect(await a.get('k'), 'memory answers again').toBe('old')
    expect(store.calls.length).toBe(trusted)
    expect([source.runs.length, source.mostRunning, errors]).toEqual([runs, 1, []])
    source.last.answer('new')
    await settle()
    expect(await a.get('k')).toBe('new')
  })

  it('starts no other load beside that one, however long the loss lasts', async () => {
    const { clock, source, store, alone } = world()
    const tier = store.connect()
    let tripMs = 0
    const slow: SharedStore = {
      ...tier,
      async read(...call) {
        if (tripMs > 0) await new Promise<void>((arrive) => clock.after(tripMs, arrive))
        return tier.read(...call)
      },
    }
    const cache = alone(options, [memoryTier({ maxEntries: 10, clock }), tierOf(slow)])
    source.answers = () => 'old'
    await cache.get('k')
    await clock.advance(1_001)
    source.answers = undefined
    expect(await cache.get('k')).toBe('old')
    await settle()
    expect(source.runs).toHaveLength(2)
    tripMs = 70
    store.cutBus()
    // Somebody waits for a trip nearly always, and nobody for long.
    const gets: Promise<string | undefined>[] = []
    for (let i = 0; i < 100; i++) {
      gets.push(cache.get('k'))
      await clock.advance(30)
    }
    expect(new Set(await Promise.all(gets.slice(0, -3)))).toEqual(new Set(['old']))
    expect(source.runs).toHaveLength(2)
    await clock.advance(100)
  })

  it('has it answered at once by a process that waits for the load of another', async () => {
    const { clock, source, store, join } = world()
    const [a, b] = [join({ ...options, fleetLoadMs: 60_000 }), join({ ...options, fleetLoadMs: 60_000 })]
    source.answers = () => 'old'
    expect([await a.get('k'), await b.get('k')]).toEqual(['old', 'old'])
    await clock.advance(1_001)
    source.answers = undefined
    expect([await a.get('k'), await b.get('k')]).toEqual(['old', 'old'])
    await settle()
    store.cutBus()
    for (let i = 0; i < 5; i++) expect([await a.get('k'), await b.get('k')]).toEqual(['old', 'old'])
    expect(source.running).toBe(1)
    source.last.answer('new')
    await settle()
    expect([await a.get('k'), await b.get('k')]).toEqual(['new', 'new'])
  })

  it('has the old value of before the loss answered to nobody when the store falls silent as well', async () => {
    const { clock, source, store, a } = await loadingInTheBackground()
    store.cutBus()
    store.state = 'silent'
    const got = outcomeOf(a.get('k'))
    await clock.advance(1_100)
    expect(got.state).toBe('waits')
    source.last.answer('old')
    await clock.advance(1_100)
    source.last.answer('fresh')
    await settle()
    expect(got.value).toBe('fresh')
    expect(source.mostRunning).toBe(1)
  })

  it('makes who comes after the loss look again when a load from before ends', async () => {
    const { clock, source, store, join } = world()
    const [a, b] = [join(), join()]
    const early = outcomeOf(a.get('k'))
    await settle()
    store.cutBus()
    await b.set('k', 'new')
    const late = outcomeOf(a.get('k'))
    await settle()
    source.last.answer('old')
    await clock.advance(10)
    expect([early.value, late.value]).toEqual(['old', 'new'])
    expect(source.runs).toHaveLength(1)
  })

  it.each([
    ['fresh', 0],
    ['old', 1_001],
  ])('makes who comes after the loss be answered by a read from after it: a value that is %s', async (_, ageMs) => {
    const { clock, source, store, alone, join } = world()
    source.answers = () => 'of the source'
    let letGo: () => void = () => undefined
    const held = new Promise<void>((resolve) => (letGo = resolve))
    const tier = store.connect()
    const slow: SharedStore = {
      ...tier,
      async read(...call) {
        const found = await tier.read(...call)
        await held
        return found
      },
    }
    const [a, b] = [alone(options, [memoryTier({ maxEntries: 10, clock }), tierOf(slow)]), join(options)]
    await b.set('k', 'old')
    await clock.advance(ageMs)
    const early = outcomeOf(a.get('k'))
    await settle()
    store.cutBus()
    await b.set('k', 'new')
    const late = outcomeOf(a.get('k'))
    await settle()
    expect([early.state, late.state]).toEqual(['waits', 'waits'])
    letGo()
    await settle()
    expect(late.value).toBe('new')
    expect(early.state).toBe('answered')
  })
})

describe("values that nobody changes, with whenBusIsLost: 'trust'", () => {
  const trusting: Partial<CacheOptions<string>> = { ...options, whenBusIsLost: 'trust' }

  it.each(['noticed', 'silent'] as const)(
    'are answered from memory while the bus is lost and the store is away: %s',
    async (how) => {
      const { clock, source, store, join } = world()
      source.answers = (key) => key
      const cache = join({ ...trusting, ttlMs: 60_000 })
      // Loaded before the bus was heard for the first time, too.
      expect(await cache.getMany(['a', 'b'])).toEqual(['a', 'b'])
      await clock.advance(1_000)
      const trips = store.calls.length
      store.cutBus(how)
      store.state = 'dead'
      for (let i = 0; i < 5; i++) {
        expect(await cache.getMany(['a', 'b'])).toEqual(['a', 'b'])
        await clock.advance(900)
      }
      store.state = 'up'
      store.mendBus()
      expect(await cache.getMany(['a', 'b'])).toEqual(['a', 'b'])
      expect([source.runs.length, store.calls.length]).toEqual([2, trips])
    },
  )

  it('are loaded anew when they are past their time, and a change that is heard counts', async () => {
    const { clock, source, join } = world()
    source.answers = () => 'old'
    const [a, b] = [join({ ...trusting, staleMs: 0 }), join(trusting)]
    expect(await a.get('k')).toBe('old')
    source.answers = () => 'new'
    await clock.advance(1_001)
    expect(await a.get('k')).toBe('new')
    await b.set('k', 'set')
    await settle()
    expect(await a.get('k')).toBe('set')
  })

  it.each(['never', true, 1])('is refused as %j', (whenBusIsLost) => {
    expect(() => world().join({ whenBusIsLost: whenBusIsLost as 'ask' })).toThrow(TypeError)
    expect(() => world().join({ whenBusIsLost: whenBusIsLost as 'ask' })).toThrow(
      /whenBusIsLost must be 'ask' or 'trust'/,
    )
  })
})

describe('a process that was stopped', () => {
  it('asks the store before it answers from memory, since nothing of what it was sent has been read yet', async () => {
    const { clock, source, store, join } = world()
    source.answers = () => 'of the source'
    let stoppedMs = 0
    const stoppable: Clock = { ...clock, nowMs: () => clock.nowMs() + stoppedMs }
    const [a, b] = [join({ clock: stoppable, ttlMs: Infinity }), join()]
    await b.set('k', 'old')
    expect([await a.get('k'), await a.get('k')]).toEqual(['old', 'old'])
    await clock.advance(2_000)
    const reads = store.calls.length
    expect(await a.get('k')).toBe('old')
    expect(store.calls.length, 'it is at hand').toBe(reads)
    // No timer of it runs, and no message reaches it.
    store.cutBus('silent')
    await b.set('k', 'new')
    stoppedMs = 1_001
    expect(await a.get('k')).toBe('new')
    store.mendBus()
    await clock.advance(1_000)
    const after = store.calls.length
    expect(await a.get('k')).toBe('new')
    expect(await a.get('k')).toBe('new')
    expect(store.calls.length, 'memory answers again').toBeLessThanOrEqual(after + 1)
  })

  it('does so although the store was away when it was asked for the last time', async () => {
    const { clock, source, store, join } = world()
    source.answers = () => 'old'
    let stoppedMs = 0
    const stoppable: Clock = { ...clock, nowMs: () => clock.nowMs() + stoppedMs }
    const [a, b] = [join({ clock: stoppable, ttlMs: Infinity, timeoutMs: 300 }), join()]
    expect(await a.get('k')).toBe('old')
    store.state = 'silent'
    const got = outcomeOf(a.get('another'))
    await clock.advance(400)
    expect(got.value).toBe('old')
    store.state = 'up'
    store.cutBus('silent')
    await b.set('k', 'new')
    stoppedMs = 1_001
    expect(await a.get('k')).toBe('new')
  })
})

describe('changes that are repeated', () => {
  it('keep no get of their keys waiting while the store is silent', async () => {
    const { clock, source, store, join } = world()
    source.answers = (key) => key
    // A set that has waited for half of its life is repeated as a delete.
    const cache = join({ timeoutMs: 300, ttlMs: 60_000 })
    await cache.getMany(['deleted', 'set'])
    store.state = 'silent'
    store.cutBus()
    const calls = [cache.delete('deleted'), cache.set('set', 'new')].map(outcomeOf)
    await clock.advance(310)
    expect(calls.map(({ state }) => state)).toEqual(['failed', 'failed'])
    for (let i = 0; i < 100; i++) {
      const got = outcomeOf(cache.getMany(['deleted', 'set']))
      await settle()
      expect(got.value).toEqual(['deleted', 'new'])
      await clock.advance(37)
    }
    store.state = 'up'
    await clock.advance(3_000)
    expect(await join().getMany(['deleted', 'set'])).toEqual(['deleted', 'new'])
  })
})
