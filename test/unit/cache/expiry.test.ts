import { describe, expect, it } from 'vitest'
import { isDueEarly, quietUntilMs, scattered } from '../../../src/cache/expiry.js'
import { settle } from '../../support/virtual-clock.js'
import { outcomeOf, tierOf, world } from './support.js'

describe('scattered', () => {
  it.each([
    [1_000, 0, 0.5, 1_000],
    [1_000, 0.1, 0, 1_000],
    [1_000, 0.1, 0.5, 950],
    [1_000, 1, 0.999, 1],
    [Infinity, 1, 0.5, Infinity],
  ])('%d ms with jitter %d and chance %d', (ttlMs, jitter, chance, expected) => {
    expect(scattered(ttlMs, jitter, () => chance)).toBeCloseTo(expected)
  })
})

describe('isDueEarly', () => {
  it.each([
    // now, until, load, beta, chance: e^-1 is one load ahead of its time.
    [900, 1_000, 100, 1, Math.exp(-1) - 1e-9, true],
    [900, 1_000, 100, 1, Math.exp(-1) + 1e-9, false],
    [900, 1_000, 100, 0.5, Math.exp(-2) - 1e-9, true],
    [900, 1_000, 100, 0.5, Math.exp(-2) + 1e-9, false],
    [900, 1_000, 100, 0, 1e-300, false],
    [1_000, 1_000, 0, 1, 0.5, true],
  ])('at %d until %d, load %d, beta %d, chance %d', (nowMs, untilMs, loadMs, beta, chance, expected) => {
    expect(isDueEarly(nowMs, untilMs, loadMs, beta, () => chance)).toBe(expected)
  })

  it('is not due before it may be', () => {
    const quiet = quietUntilMs(100_000, 100, 1)
    expect(isDueEarly(quiet - 1, 100_000, 100, 1, () => 2 ** -53)).toBe(false)
    expect(isDueEarly(quiet + 100, 100_000, 100, 1, () => 2 ** -53)).toBe(true)
  })
})

describe('expiry', () => {
  it('is scattered over the share that jitter says, and no further', async () => {
    const { clock, source, alone } = world()
    source.answers = (key) => key
    let i = 0
    const cache = alone({ jitter: 0.2, random: () => (i++ % 100) / 100 })
    const keys = Array.from({ length: 100 }, (_, n) => `k${n}`)
    for (const key of keys) await cache.get(key)
    await clock.advance(8_000)
    await cache.getMany(keys)
    expect(source.runs.length).toBeLessThanOrEqual(101)
    await clock.advance(1_000)
    await cache.getMany(keys)
    const halfway = source.runs.length
    expect(halfway).toBeGreaterThan(140)
    expect(halfway).toBeLessThan(160)
    await clock.advance(1_000)
    await cache.getMany(keys)
    expect(source.runs.length).toBeGreaterThanOrEqual(200)
  })

  it('has a jitter of a tenth unless it is told otherwise', async () => {
    const { clock, source, alone } = world()
    source.answers = (key) => key
    const cache = alone({ jitter: undefined as never, random: () => 0.999_999 })
    await cache.get('k')
    await clock.advance(8_999)
    await cache.get('k')
    expect(source.runs).toHaveLength(1)
    await clock.advance(2)
    await cache.get('k')
    expect(source.runs).toHaveLength(2)
  })

  it.each([40 * 86_400_000, Infinity])('may be %d ms away', async (ttlMs) => {
    const { clock, source, alone, join } = world()
    source.answers = (key) => key
    for (const cache of [alone({ ttlMs }), join({ ttlMs })]) {
      const runs = source.runs.length
      await cache.get('k')
      await clock.advance(1_000)
      await cache.get('k')
      expect(source.runs).toHaveLength(runs + 1)
    }
  })

  it('lets an old value be answered for staleMs, and no longer', async () => {
    const { clock, source, alone, errors } = world()
    const cache = alone({ staleMs: 5_000 })
    source.answers = () => 'old'
    await cache.get('k')
    source.answers = undefined
    await clock.advance(14_999)
    expect(await cache.get('k')).toBe('old')
    await clock.advance(1)
    const waiting = cache.get('k')
    await settle()
    expect(source.runs).toHaveLength(2)
    source.last.answer('new')
    expect(await waiting).toBe('new')
    expect([cache.stats().stale, errors]).toEqual([1, []])
  })
})

describe('a source that fails', () => {
  it('leaves the old value, and is asked less and less often', async () => {
    const { clock, source, alone, errors } = world()
    const cache = alone({ staleMs: 3_600_000 })
    source.answers = () => 'old'
    await cache.get('k')
    await clock.advance(10_000)
    source.answers = undefined
    const times: number[] = []
    let seen = 1
    for (let ms = 0; ms < 120_000; ms += 10) {
      expect(await cache.get('k')).toBe('old')
      if (source.runs.length > seen) {
        seen = source.runs.length
        times.push(ms)
        source.last.fail(new Error(`away ${seen}`))
      }
      await clock.advance(10)
    }
    const gaps = times.slice(1).map((ms, i) => ms - (times[i] as number))
    expect(gaps[0]).toBeGreaterThanOrEqual(50)
    expect(gaps[0]).toBeLessThanOrEqual(120)
    expect(Math.max(...gaps)).toBeLessThanOrEqual(10_020)
    expect(gaps.at(-1)).toBeGreaterThanOrEqual(5_000)
    expect(errors).toHaveLength(times.length)
    expect(cache.stats()).toMatchObject({ loadFailures: times.length, misses: 1 })
    await clock.advance(10_000)
    source.answers = () => 'new'
    await cache.get('k')
    await settle()
    expect(await cache.get('k')).toBe('new')
  })

  it('fails the callers once the old value is too old, one run at a time', async () => {
    const { clock, source, alone } = world()
    const cache = alone({ staleMs: 1_000 })
    source.answers = () => 'old'
    await cache.get('k')
    await clock.advance(11_000)
    source.answers = () => {
      throw new Error('away')
    }
    await expect(Promise.all([cache.get('k'), cache.get('k')])).rejects.toThrow('away')
    expect(source.runs).toHaveLength(2)
  })

  it('leaves the old value of the store, too, and is not asked by each get of a cache without memory', async () => {
    const { clock, source, store, alone, errors } = world()
    const cache = alone({ staleMs: 60_000, fleetLoadMs: 1_000 }, [tierOf(store.connect())])
    source.answers = () => 'old'
    await cache.get('k')
    await clock.advance(10_000)
    source.answers = () => {
      throw new Error('away')
    }
    expect(await cache.get('k')).toBe('old')
    await settle()
    const calls = store.calls.length
    for (let i = 0; i < 20; i++) expect(await cache.get('k')).toBe('old')
    expect([source.runs.length, errors.length]).toEqual([2, 1])
    expect(store.calls.slice(calls).every((verb) => verb === 'read')).toBe(true)
    await clock.advance(60_000)
    source.answers = () => 'new'
    expect(await cache.get('k')).toBe('new')
  })

  it('does not keep a key from being loaded that has no old value', async () => {
    const { source, store, alone } = world()
    const cache = alone({ staleMs: 60_000 }, [tierOf(store.connect())])
    source.answers = () => {
      throw new Error('away')
    }
    await expect(cache.get('k')).rejects.toThrow('away')
    source.answers = () => 'x'
    expect(await cache.get('k')).toBe('x')
    expect(await alone({}, [tierOf(store.connect())]).get('k'), 'and is stored').toBe('x')
    expect(source.runs).toHaveLength(2)
  })
})

describe('early refresh', () => {
  it('keeps a hot value from expiring, by one load at a time', async () => {
    const { clock, source, alone } = world()
    let seed = 1
    const random = (): number => (seed = (seed * 16_807) % 2_147_483_647) / 2_147_483_647
    const cache = alone({ earlyRefresh: 1, random })
    const first = cache.get('k')
    await clock.advance(100)
    source.last.answer('x')
    await first
    let waited = 0
    for (let ms = 0, startedMs = 0, runs = 1; ms < 300_000; ms += 10) {
      const asked = outcomeOf(cache.get('k'))
      if (source.runs.length > runs) {
        runs = source.runs.length
        startedMs = ms
      }
      if (source.running > 0 && ms - startedMs >= 100) source.last.answer('x')
      await clock.advance(10)
      if (asked.state === 'waits') waited++
    }
    // Each load takes 100 ms of the 10,000 that a value lives; nobody waits unless chance has it so.
    expect(waited).toBeLessThanOrEqual(30)
    expect(source.mostRunning).toBe(1)
    expect(source.runs.length).toBeGreaterThanOrEqual(31)
    expect(source.runs.length).toBeLessThanOrEqual(40)
    expect(cache.stats().hits).toBeGreaterThan(29_900)
  })

  it('is on by itself, and off with 0', async () => {
    for (const [earlyRefresh, runs] of [
      [undefined, 2],
      [0, 1],
    ] as const) {
      const { clock, source, alone } = world()
      const cache = alone({ earlyRefresh: earlyRefresh as never, random: () => 1e-9 })
      const first = cache.get('k')
      await clock.advance(400)
      source.last.answer('x')
      await first
      await clock.advance(9_990)
      await cache.get('k')
      await settle()
      expect(source.runs).toHaveLength(runs)
    }
  })

  it('takes what another process has loaded meanwhile', async () => {
    const { clock, source, join } = world()
    const options = { earlyRefresh: 1, random: () => 1e-9 }
    const [a, b] = [join(options), join(options)]
    const first = a.get('k')
    await clock.advance(400)
    source.last.answer('1')
    await first
    // Its own clock counts from its own read: both are due before their end.
    expect(await b.get('k')).toBe('1')
    await clock.advance(5_000)
    expect(await a.get('k')).toBe('1')
    await clock.advance(100)
    source.last.answer('2')
    await settle()
    const runs = source.runs.length
    expect(await b.get('k')).toBe('1')
    await settle()
    expect(await b.get('k')).toBe('2')
    expect([runs, source.runs.length]).toEqual([2, 2])
  })
})
