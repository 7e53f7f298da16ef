import { describe, expect, it } from 'vitest'
import { StoreUnavailableError } from '../../../src/core/errors.js'
import { settle, type VirtualClock } from '../../support/virtual-clock.js'
import { outcomeOf, world } from './support.js'

/** How long a call takes, in the time of the clock. */
async function timed<T>(clock: VirtualClock, call: Promise<T>, mostMs = 5_000) {
  const outcome = outcomeOf(call)
  let tookMs = 0
  for (; outcome.state === 'waits' && tookMs <= mostMs; tookMs += 10) await clock.advance(10)
  return { ...outcome, tookMs }
}

describe('a store that is silent', () => {
  it('costs one time-out, then memory and the source answer alone, then it is used again', async () => {
    const { clock, source, store, join, errors } = world()
    source.answers = (key) => key
    const cache = join({ timeoutMs: 300 })
    await cache.get('a')
    store.state = 'silent'
    const first = await Promise.all(['x', 'y', 'x'].map((key) => timed(clock, cache.get(key))))
    for (const [i, { value, tookMs }] of first.entries()) {
      expect(value).toBe(['x', 'y', 'x'][i])
      expect(tookMs).toBeLessThanOrEqual(320)
    }
    expect(errors).toEqual([expect.any(StoreUnavailableError)])
    for (let i = 0; i < 100; i++) {
      const { value, tookMs } = await timed(clock, cache.get(`k${i % 10}`))
      expect([value, tookMs]).toEqual([`k${i % 10}`, 10])
      await clock.advance(50)
    }
    expect(source.runs.filter(({ keys }) => keys[0] === 'k3')).toHaveLength(1)
    expect(errors).toHaveLength(1)
    store.state = 'up'
    await clock.advance(2_000)
    await cache.get('probe')
    await clock.advance(2_000)
    const reads = store.calls.length
    await cache.get('new')
    expect(store.calls.length).toBeGreaterThan(reads)
    expect(await join().get('new')).toBe('new')
    expect(source.runs.filter(({ keys }) => keys[0] === 'new')).toHaveLength(1)
  })

  it('answers an old value of the process while the source fails as well', async () => {
    const { clock, source, store, join } = world()
    source.answers = (key) => key
    const cache = join({ staleMs: 60_000, timeoutMs: 300 })
    await cache.get('k')
    await clock.advance(10_000)
    store.state = 'silent'
    source.answers = () => {
      throw new Error('away')
    }
    for (let i = 0; i < 5; i++) expect(await timed(clock, cache.get('k'))).toMatchObject({ value: 'k', tookMs: 10 })
  })

  it('does not keep a value from its callers when it falls silent before it is stored', async () => {
    const { clock, source, store, join } = world()
    const cache = join({ timeoutMs: 300 })
    const waiting = timed(clock, cache.get('k'))
    await settle()
    store.state = 'silent'
    source.last.answer('x')
    expect(await waiting).toMatchObject({ value: 'x' })
    expect(await timed(clock, cache.get('k'))).toMatchObject({ value: 'x', tookMs: 10 })
    expect(source.runs).toHaveLength(1)
  })
})

describe('a store whose client is not ready', () => {
  const why = new Error('the client is not ready')

  it('is the reason of a change that waits for marks, or for a reading of the store’s clock', async () => {
    for (const verb of ['marks', 'read']) {
      const { clock, store, join } = world()
      const cache = join()
      store.unsent.set(verb, why)
      const { error } = await timed(clock, cache.set('k', 'v'))
      const message = 'cache: change had no answer within 1000 ms: the client is not ready'
      expect(error).toMatchObject({ message, applied: 'no', cause: why })
    }
  })

  it('is the reason of a read that waits for the marks of tags', async () => {
    const { clock, source, store, join, errors } = world()
    source.answers = (key) => key
    const tags = (): string[] => ['tag']
    await join({ tags }).get('k')
    store.unsent.set('marks', why)
    expect(await timed(clock, join({ tags }).get('k'))).toMatchObject({ value: 'k' })
    const message = 'cache: read had no answer within 1000 ms: the client is not ready'
    expect(errors).toMatchObject([{ message, cause: why }])
  })
})

describe('a change while the store is away', () => {
  it.each(['dead', 'silent'] as const)('is in memory, rejects, and is repeated: %s', async (state) => {
    const { clock, source, store, join } = world()
    source.answers = (key) => `${key} of the source`
    const tags = (key: string): string[] => [key]
    const [a, b] = [join({ tags, timeoutMs: 300 }), join({ tags })]
    for (const key of ['set', 'deleted', 'tagged', 'other']) {
      await a.set(key, `${key} before`)
      await b.get(key)
    }
    store.state = state
    const calls = [a.set('set', 'set after'), a.delete('deleted'), a.invalidateTag('tagged')]
    for (const { error, tookMs } of await Promise.all(calls.map((call) => timed(clock, call)))) {
      expect(error).toBeInstanceOf(StoreUnavailableError)
      expect(tookMs).toBeLessThanOrEqual(320)
    }
    const expected = ['set after', 'deleted of the source', 'tagged of the source']
    expect(await Promise.all(['set', 'deleted', 'tagged'].map((key) => a.get(key)))).toEqual(expected)
    const late = await timed(clock, a.set('set', 'set last'))
    expect([late.error, late.tookMs]).toEqual([expect.any(StoreUnavailableError), 10])
    source.answers = (key) => `${key} afresh`
    store.state = 'up'
    await clock.advance(3_000)
    const values = await Promise.all(['set', 'deleted', 'tagged', 'other'].map((key) => b.get(key)))
    expect(values).toEqual(['set last', 'deleted afresh', 'tagged afresh', 'other before'])
    expect(await a.get('set')).toBe('set last')
  })

  it('is not what is read from the store before it has been repeated', async () => {
    const { clock, source, store, join } = world()
    source.answers = (key) => `${key} of the source`
    const cache = join({ timeoutMs: 300, tags: (key) => [key] })
    for (const key of ['a', 'b', 'c']) await cache.set(key, 'before')
    store.state = 'dead'
    for (const call of [cache.delete('a'), cache.set('b', 'after'), cache.invalidateTag('c')]) {
      await expect(call).rejects.toThrow(StoreUnavailableError)
    }
    // The bus is mended first: memory is not trusted, and the store has the old values.
    store.cutBus()
    store.state = 'up'
    store.mendBus()
    const all = Promise.all(['a', 'b', 'c'].map((key) => cache.get(key)))
    expect(await all).toEqual(['a of the source', 'after', 'c of the source'])
    await clock.advance(3_000)
    expect(await join().getMany(['a', 'b', 'c'])).toEqual(['a of the source', 'after', 'c of the source'])
  })

  it('gives way to what came since, from this process or another', async () => {
    const { clock, source, store, join } = world()
    source.answers = (key) => `${key} of the source`
    const [a, b] = [join({ timeoutMs: 300 }), join()]
    await a.set('x', 'first')
    await b.set('y', 'first')
    store.state = 'dead'
    await expect(a.set('x', 'missed')).rejects.toThrow()
    await expect(a.set('y', 'missed')).rejects.toThrow()
    await expect(a.set('z', 'missed')).rejects.toThrow()
    await expect(a.set('x', 'newer')).rejects.toThrow()
    store.state = 'up'
    // So little time passes that nothing has been repeated yet.
    await clock.advance(5)
    await b.set('y', 'newer')
    await b.delete('z')
    await clock.advance(3_000)
    expect(await a.getMany(['x', 'y', 'z'])).toEqual(['newer', 'newer', 'z of the source'])
    expect(await b.getMany(['x', 'y', 'z'])).toEqual(['newer', 'newer', 'z of the source'])
  })

  it('that was set too long ago is repeated as a delete, since nobody remembers what came since', async () => {
    const { clock, source, store, join } = world()
    source.answers = (key) => `${key} of the source`
    const [a, b] = [join({ timeoutMs: 300, ttlMs: 600_000 }), join({ ttlMs: 600_000 })]
    await b.set('x', 'first')
    await a.get('x')
    store.state = 'dead'
    await expect(a.set('x', 'missed')).rejects.toThrow()
    await clock.advance(61_000)
    store.state = 'up'
    await clock.advance(3_000)
    expect(await b.get('x')).toBe('x of the source')
    expect(await a.get('x')).toBe('x of the source')
  })

  it('that arrives too late to be made ends what was there and the loads from before all the same', async () => {
    const { clock, source, store, join } = world()
    const options = { timeoutMs: 10_000, ttlMs: 2_000 }
    const [a, b] = [join(options), join(options)]
    source.answers = (key) => key
    expect(await a.get('another')).toBe('another')
    source.answers = undefined
    const early = outcomeOf(b.get('x'))
    await clock.advance(5)
    expect(source.runs).toHaveLength(2)
    store.state = 'frozen'
    const call = outcomeOf(a.set('x', 'set'))
    // More than half the life of the entry.
    await clock.advance(1_500)
    await store.thaw()
    await settle()
    expect(call.state).toBe('answered')
    source.answers = () => 'new'
    source.runs[1]?.answer('old')
    await settle()
    expect(early.value).toBe('old')
    expect([await a.get('x'), await b.get('x')]).toEqual(['new', 'new'])
  })

  it('clears all when too much was missed', async () => {
    const { clock, source, store, join } = world()
    source.answers = (key) => `${key} of the source`
    const [a, b] = [join({ timeoutMs: 300 }), join()]
    await b.set('kept', 'before')
    await a.get('kept')
    store.state = 'dead'
    const missed = Array.from({ length: 10_100 }, (_, i) => a.delete(`k${i}`).catch(() => undefined))
    await clock.advance(400)
    await Promise.all(missed)
    store.state = 'up'
    await clock.advance(3_000)
    expect(await b.get('kept')).toBe('kept of the source')
  })

  it('that cleared all leaves nothing of what was set before, and all of what was set after', async () => {
    const { clock, source, store, join } = world()
    source.answers = (key) => `${key} of the source`
    const [a, b] = [join({ timeoutMs: 300 }), join()]
    await a.set('x', 'before')
    store.state = 'dead'
    await expect(a.set('x', 'missed')).rejects.toThrow()
    await expect(a.clear()).rejects.toThrow(StoreUnavailableError)
    expect(await a.get('x')).toBe('x of the source')
    await expect(a.set('y', 'after')).rejects.toThrow()
    store.state = 'up'
    await clock.advance(3_000)
    expect(await b.getMany(['x', 'y'])).toEqual(['x of the source', 'after'])
    expect(await a.get('x')).toBe('x of the source')
  })
})

describe('a bus that is lost', () => {
  it('makes nothing older than the loss be answered from memory', async () => {
    const { source, store, join } = world()
    const [a, b] = [join(), join()]
    source.answers = () => 'x'
    await b.set('k', 'old')
    expect([await a.get('k'), await a.get('k')]).toEqual(['old', 'old'])
    store.cutBus()
    await b.set('k', 'new')
    expect(await a.get('k'), 'the store is asked').toBe('new')
    await b.set('k', 'newer')
    expect(await a.get('k')).toBe('newer')
    store.mendBus()
    await b.set('k', 'newest')
    expect(await a.get('k')).toBe('newest')
    const reads = store.calls.length
    expect(await a.get('k')).toBe('newest')
    expect(store.calls.length, 'memory answers again').toBe(reads)
  })

  it('lets memory answer what is younger than the loss when the store is away as well', async () => {
    const { source, store, join } = world()
    const cache = join({ timeoutMs: 300 })
    source.answers = () => 'old'
    await cache.get('k')
    store.state = 'dead'
    store.cutBus()
    source.answers = () => 'new'
    expect([await cache.get('k'), await cache.get('k')]).toEqual(['new', 'new'])
    expect(source.runs).toHaveLength(2)
  })

  it('is noticed within a second although nothing tells of it', async () => {
    const { clock, source, store, join } = world()
    const [a, b] = [join(), join()]
    source.answers = () => 'x'
    await b.set('k', 'old')
    await a.get('k')
    await a.get('k')
    store.cutBus('silent')
    await b.set('k', 'new')
    expect(await a.get('k'), 'it is not known yet').toBe('old')
    await clock.advance(1_000)
    expect(await a.get('k')).toBe('new')
  })

  it('wakes who waits for another process, which is asked again', async () => {
    const { clock, source, store, join } = world()
    const [a, b] = [join({ fleetLoadMs: 60_000 }), join({ fleetLoadMs: 60_000 })]
    void a.get('k')
    await settle()
    const other = outcomeOf(b.get('k'))
    await settle()
    store.cutBus()
    source.last.answer('x')
    await clock.advance(60)
    expect(other.value).toBe('x')
  })
})

describe('trips', () => {
  it('are shared by gets that come together', async () => {
    const { source, store, join } = world()
    source.answers = (key) => key
    const cache = join()
    await Promise.all(Array.from({ length: 50 }, (_, i) => cache.get(`k${i % 25}`)))
    expect(store.calls.filter((verb) => verb === 'read')).toHaveLength(1)
    const reader = join()
    await Promise.all(Array.from({ length: 50 }, (_, i) => reader.get(`k${i % 25}`)))
    expect(store.calls.filter((verb) => verb === 'read')).toHaveLength(2)
  })
})
