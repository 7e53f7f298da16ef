import { describe, expect, it } from 'vitest'
import { StoreUnavailableError } from '../../../src/core/errors.js'
import { memoryTier, type Cache, type SharedStore } from '../../../src/cache/index.js'
import { createTierTimes } from '../../../src/cache/tier-times.js'
import { settle, virtualClock } from '../../support/virtual-clock.js'
import { outcomeOf, tierOf, world } from './support.js'

type Step = readonly [name: string, change: (cache: Cache<string>) => Promise<void>]

const set = (value: string): Step => [`set ${value}`, (cache) => cache.set('k', value)]
const del: Step = ['delete', (cache) => cache.delete('k')]
const end: Step = ['invalidateTag', (cache) => cache.invalidateTag('t')]
const other: Step = ['invalidateTag of another', (cache) => cache.invalidateTag('another')]
const clear: Step = ['clear', (cache) => cache.clear()]

/** The last of them wins. `undefined`: what the source has. */
const orders: (readonly [Step[], string | undefined])[] = [
  [[set('1'), set('2')], '2'],
  [[set('1'), set('2'), set('3')], '3'],
  [[set('1'), del], undefined],
  [[del, set('2')], '2'],
  [[del, set('2'), del], undefined],
  [[set('1'), del, set('3')], '3'],
  [[set('1'), end], undefined],
  [[end, set('2')], '2'],
  [[set('1'), end, set('3')], '3'],
  [[set('1'), other], '1'],
  [[set('1'), clear], undefined],
  [[clear, set('2')], '2'],
  [[set('1'), clear, set('3')], '3'],
  [[clear, set('2'), other, set('4'), other], '4'],
]
const named = orders.map(([steps, value]) => [steps.map(([name]) => name).join(', '), steps, value] as const)

describe.each([
  ['frozen', 150, 'in order'],
  ['frozen', 150, 'backwards'],
  ['frozen', 1_200, 'in order'],
  ['frozen', 1_200, 'backwards'],
  ['dead', 150, 'in order'],
] as const)('changes that are asked for while the store is %s, %i ms apart, which arrive %s', (state, gapMs, order) => {
  it.each(named)('count in the order in which they were asked for: %s', async (_, steps, value) => {
    const { clock, source, store, join } = world()
    source.answers = () => 'of the source'
    const options = { tags: () => ['t'], timeoutMs: 300, ttlMs: 600_000 }
    const [a, b] = [join(options), join(options)]
    await b.set('k', 'before')
    expect([await a.get('k'), await b.get('k')]).toEqual(['before', 'before'])
    await clock.advance(5)
    store.state = state
    const calls = []
    for (const [, change] of steps) {
      calls.push(outcomeOf(change(a)))
      await clock.advance(gapMs)
    }
    await clock.advance(500)
    expect(calls.map((call) => call.state)).toEqual(steps.map(() => 'failed'))
    const expected = value ?? 'of the source'
    expect(outcomeOf(a.get('k')), 'it is in the memory of this process').toMatchObject({})
    await store.thaw(order)
    await clock.advance(3_000)
    const late = join(options)
    expect([await late.get('k'), await b.get('k'), await a.get('k')]).toEqual([expected, expected, expected])
  })

  it('and what is asked for when the store is back is the last', async () => {
    const { clock, source, store, join } = world()
    source.answers = () => 'of the source'
    const options = { tags: () => ['t'], timeoutMs: 300, ttlMs: 600_000 }
    const [a, b] = [join(options), join(options)]
    await a.set('k', 'before')
    await clock.advance(5)
    store.state = state
    for (const [, change] of [set('1'), clear, set('2'), end]) {
      void change(a).catch(() => undefined)
      await clock.advance(gapMs)
    }
    await clock.advance(500)
    // What lies on the way has not arrived yet when this is made.
    store.state = 'up'
    await clock.advance(400)
    await a.set('k', 'last').catch(() => undefined)
    await store.thaw(order)
    await clock.advance(3_000)
    expect([await join(options).get('k'), await b.get('k'), await a.get('k')]).toEqual(['last', 'last', 'last'])
  })
})

describe('a process that has never reached the store', () => {
  it('repeats its last change all the same', async () => {
    const { clock, source, store, join } = world()
    source.answers = () => 'of the source'
    const [a, b] = [join({ timeoutMs: 300 }), join()]
    store.state = 'frozen'
    const calls = [outcomeOf(a.set('k', '1'))]
    await clock.advance(400)
    calls.push(outcomeOf(a.set('k', '2')))
    await clock.advance(400)
    expect(calls.map((call) => call.state)).toEqual(['failed', 'failed'])
    await store.thaw()
    await clock.advance(3_000)
    expect([await b.get('k'), await a.get('k')]).toEqual(['2', '2'])
  })

  it('and a set of another process that came later stays', async () => {
    const { clock, source, store, join } = world()
    source.answers = () => 'of the source'
    const [a, b] = [join({ timeoutMs: 300 }), join()]
    await a.get('other')
    store.state = 'frozen'
    const call = outcomeOf(a.set('k', '1'))
    await clock.advance(400)
    expect(call.state).toBe('failed')
    store.state = 'up'
    await b.set('k', '2')
    await store.thaw()
    await clock.advance(3_000)
    expect([await b.get('k'), await a.get('k'), await join().get('k')]).toEqual(['2', '2', '2'])
  })
})

describe('a set that ends before it is stored', () => {
  it.each([clear, end])('is not stored, however soon the store is away again: by %s', async (_, ends) => {
    const { clock, source, store, join, alone } = world()
    source.answers = () => 'of the source'
    const options = { tags: () => ['t'], timeoutMs: 300, ttlMs: 600_000 }
    const tier = store.connect()
    const soonAway: SharedStore = {
      ...tier,
      async change(...call) {
        const changed = tier.change(...call)
        store.state = 'dead'
        return changed
      },
    }
    const [a, b] = [alone(options, [memoryTier({ maxEntries: 10, clock }), tierOf(soonAway)]), join(options)]
    expect([await a.get('k'), await b.get('k')]).toEqual(['of the source', 'of the source'])
    store.state = 'frozen'
    const set = outcomeOf(a.set('k', '1'))
    await settle()
    const ended = outcomeOf(ends(a))
    await settle()
    // The mark arrives before the set asks for the marks.
    await store.thaw('backwards')
    expect([set.state, ended.state]).toEqual(['answered', 'answered'])
    store.state = 'up'
    expect(await b.get('k')).toBe('of the source')
  })
})

describe('a set that the store has not taken yet', () => {
  it.each([set('2'), del, clear])('is not answered once another process’ change is heard: %s', async (_, change) => {
    const { clock, source, store, join, alone } = world()
    source.answers = () => 'of the source'
    const tier = store.connect()
    let isAway = false
    const unsure: SharedStore = {
      ...tier,
      read: (...call) => (isAway ? Promise.reject(new Error('refused')) : tier.read(...call)),
      change: (...call) => (isAway ? Promise.reject(new Error('refused')) : tier.change(...call)),
    }
    const a = alone({ timeoutMs: 300 }, [memoryTier({ maxEntries: 10, clock }), tierOf(unsure)])
    const b = join()
    await a.get('k')
    isAway = true
    await expect(a.set('k', '1')).rejects.toThrow(StoreUnavailableError)
    expect(await a.get('k'), 'nobody has changed it').toBe('1')
    await clock.advance(500)
    await change(b)
    await settle()
    source.answers = () => 'of the source now'
    expect(await a.get('k')).toBe('of the source now')
    isAway = false
    await clock.advance(3_000)
    const expected = await b.get('k')
    expect(expected).not.toBe('1')
    expect(await a.get('k')).toBe(expected)
  })
})

describe('very many changes that the store has missed', () => {
  it('are repeated a trip at a time, each with a time-out of its own', async () => {
    const { clock, source, store, alone, join } = world()
    source.answers = () => 'of the source'
    const tier = store.connect()
    const sizes: number[] = []
    const slow: SharedStore = {
      ...tier,
      async change(origin, changes, trip) {
        sizes.push(changes.length)
        await new Promise<void>((arrive) => clock.after(200, arrive))
        return tier.change(origin, changes, trip)
      },
    }
    // Half of the life of an entry is over before all of them are repeated.
    const a = alone({ timeoutMs: 500, ttlMs: 2_000 }, [tierOf(slow)])
    await a.get('k')
    store.state = 'dead'
    const keys = Array.from({ length: 5_000 }, (_, at) => `k${at}`)
    const missed = keys.map((key) => outcomeOf(a.set(key, 'set')))
    await clock.advance(500)
    expect(missed.every(({ state }) => state === 'failed')).toBe(true)
    sizes.length = 0
    store.state = 'up'
    await clock.advance(10_000)
    const sent = sizes.reduce((sum, size) => sum + size, 0)
    expect(sent, 'each is sent a few times at the most').toBeLessThan(3 * keys.length)
    sizes.length = 0
    await clock.advance(10_000)
    expect(sizes, 'and none is left').toEqual([])
    expect(await join().get('k4999')).toBe('of the source')
  })

  it('hold no more than 32 MiB of values: what is beyond is deleted', async () => {
    const { clock, source, store, join } = world()
    source.answers = () => 'of the source'
    const [a, b] = [join({ timeoutMs: 500, ttlMs: 600_000 }), join()]
    await b.set('k39', 'before')
    store.state = 'dead'
    const value = 'x'.repeat(2 ** 20 - 2)
    const sets = Array.from({ length: 40 }, (_, at) => outcomeOf(a.set(`k${at}`, value)))
    await clock.advance(500)
    expect(sets.every(({ state }) => state === 'failed')).toBe(true)
    store.state = 'up'
    await clock.advance(3_000)
    const found = await join().getMany(sets.map((_, at) => `k${at}`))
    expect(found.filter((one) => one === value)).toHaveLength(32)
    expect(found.filter((one) => one === 'of the source')).toHaveLength(8)
  })
})

describe('a delete of very many keys', () => {
  it('does not undo what was set while it waited for its turn', async () => {
    const { source, join } = world()
    source.answers = () => 'of the source'
    const [a, b] = [join(), join()]
    const names = Array.from({ length: 5_000 }, (_, at) => `k${at}`)
    const last = names.at(-1) as string
    const deleting = a.delete(names)
    await a.set(last, 'set')
    await deleting
    expect([await a.get(last), await b.get(last)]).toEqual(['set', 'set'])
  })
})

describe('the times of a tier', () => {
  it('are never below what they were, and are bounded by the quickest reply', async () => {
    const clock = virtualClock(0)
    const times = createTierTimes(clock, 1_000)
    expect(times.isKnown(0)).toBe(false)
    times.learn(0, -1_001, 5_000)
    expect(times.isKnown(0), 'a reply that took too long says too little').toBe(false)
    await clock.advance(800)
    // A reply that took 800 ms: the tier is ahead by 1,000 to 1,800.
    times.learn(0, 0, 1_800)
    expect(times.stamp(0, 800, 0)).toBe(2_600)
    await clock.advance(10)
    // One that took 10 ms: by 1,000 to 1,010.
    times.learn(0, 800, 1_810)
    expect(times.stamp(0, 810, 2_600)).toBeCloseTo(2_600.001, 5)
    expect(times.stamp(0, 3_000, 0)).toBe(4_010)
    await clock.advance(2_190)
    // A slower one says nothing against it; one that shows that the clocks have drifted does.
    times.learn(0, 2_900, 4_010)
    expect(times.stamp(0, 3_100, 0)).toBe(4_110)
    expect(times.isOutdated(0, 3_100, 4_110)).toBe(false)
    times.learn(0, 2_990, 5_000)
    expect(times.stamp(0, 3_200, 0)).toBe(5_210)
    expect(times.isOutdated(0, 3_100, 4_110)).toBe(true)
    await settle()
  })
})
