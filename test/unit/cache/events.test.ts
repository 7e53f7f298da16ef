import { describe, expect, it, onTestFinished } from 'vitest'
import { createCache, memoryTier, memoryWriteBehind, startWriteBehind } from '../../../src/cache/index.js'
import {
  channels,
  type BackgroundErrorEvent,
  type CacheFlushEvent,
  type CacheGetEvent,
  type CacheLoadEvent,
  type EventChannel,
  type TripEvent,
} from '../../../src/core/diagnostics.js'
import { settle, virtualClock } from '../../support/virtual-clock.js'
import { world } from './support.js'

/** The events of a channel while a test runs. */
function heard<Event>(channel: EventChannel<Event>): Event[] {
  const events: Event[] = []
  const listen = (event: Event): void => void events.push(event)
  channel.subscribe(listen)
  onTestFinished(() => void channel.unsubscribe(listen))
  return events
}

const outcomes = (events: readonly CacheGetEvent[]): string[] => events.map(({ key, outcome }) => `${key} ${outcome}`)

describe('an event of a get', () => {
  it('tells of every key as what it was answered', async () => {
    const { clock, source, join } = world()
    const events = heard<CacheGetEvent>(channels.cacheGet)
    const cache = join({ name: 'products', staleMs: 5_000 })
    source.answers = (key) => (key === 'none' ? undefined : `of ${key}`)
    await cache.get('a')
    await cache.get('a')
    await cache.get('none')
    await cache.getMany(['a', 'b', 'a'])
    await clock.advance(10_000)
    await cache.get('a')
    expect(outcomes(events)).toEqual(['a miss', 'a hit', 'none miss', 'a hit', 'a hit', 'b miss', 'a stale'])
    expect(new Set(events.map(({ name }) => name))).toEqual(new Set(['products']))
  })

  it('tells what another process has loaded, and what a load of others brings', async () => {
    const { source, join } = world()
    const [a, b] = [join(), join()]
    source.answers = (key) => `of ${key}`
    await a.get('k')
    const events = heard<CacheGetEvent>(channels.cacheGet)
    await b.get('k')
    source.answers = undefined
    const gets = [b.get('slow'), b.get('slow')]
    await settle()
    source.last.answer('v')
    await Promise.all(gets)
    expect(outcomes(events)).toEqual(['k hit', 'slow miss', 'slow miss'])
  })

  it('tells how long it took, and what it failed with', async () => {
    const { clock, source, alone } = world()
    const events = heard<CacheGetEvent>(channels.cacheGet)
    const cache = alone({ name: 'products', loadTimeoutMs: 100 })
    const error = new Error('the source fails')
    const failing = cache.get('a')
    await clock.advance(30)
    source.last.fail(error)
    await expect(failing).rejects.toBe(error)
    const given = new AbortController()
    const late = Promise.allSettled([cache.get('b'), cache.get('b', { signal: given.signal })])
    await settle()
    given.abort(error)
    await clock.advance(100)
    await late
    expect(events).toEqual([
      { name: 'products', key: 'a', outcome: 'failed', durationMs: 30, error },
      { name: 'products', key: 'b', outcome: 'failed', durationMs: 0, error },
      { name: 'products', key: 'b', outcome: 'failed', durationMs: 100, error: expect.any(Error) as Error },
    ])
    source.last.answer('x')
    await settle()
    await cache.get('b')
    expect(events.at(-1)).toEqual({ name: 'products', key: 'b', outcome: 'hit', durationMs: 0 })
    expect(cache.stats()).toMatchObject({ hits: 1, misses: 1 })
  })

  it('is not made of wrong arguments, nor while nobody listens', async () => {
    const cache = createCache([memoryTier({ maxEntries: 9 })], { name: 'a', load: (key) => key, ttlMs: 60_000 })
    await cache.get('a')
    const events = heard<CacheGetEvent>(channels.cacheGet)
    await expect(cache.get('')).rejects.toThrow(RangeError)
    await expect(cache.get(7 as never)).rejects.toThrow(TypeError)
    await cache.close()
    await expect(cache.get('a')).rejects.toThrow('get after close')
    expect(events).toEqual([])
  })
})

it('an event of a load tells of how many keys it was, and how it ended', async () => {
  const { source, alone } = world()
  const events = heard<CacheLoadEvent>(channels.cacheLoad)
  const error = new Error('away')
  const cache = alone({
    name: 'products',
    loadMany: (keys) => {
      if (keys.includes('bad')) throw error
      return new Map(keys.map((key) => [key, key]))
    },
  })
  source.answers = (key) => key
  await cache.get('a')
  await cache.getMany(['b', 'c', 'a'])
  await expect(cache.getMany(['bad', 'd'])).rejects.toBe(error)
  expect(events).toEqual([
    { name: 'products', keys: 1, durationMs: 0, outcome: 'loaded' },
    { name: 'products', keys: 2, durationMs: 0, outcome: 'loaded' },
    { name: 'products', keys: 2, durationMs: 0, outcome: 'failed', error },
  ])
})

it('an event of a flush tells of how many keys it was, and how it ended', async () => {
  const clock = virtualClock()
  const events = heard<CacheFlushEvent>(channels.cacheFlush)
  const background = heard<BackgroundErrorEvent>(channels.backgroundError)
  const error = new Error('away')
  let isAway = true
  const behind = await startWriteBehind(memoryWriteBehind({ clock }), {
    name: 'visits',
    delayMs: 1_000,
    clock,
    flush: () => {
      if (isAway) throw error
    },
    onBackgroundError: () => undefined,
  })
  await Promise.all([behind.touch('a'), behind.touch('b')])
  await clock.advance(1_000)
  isAway = false
  const closing = behind.close()
  await clock.advance(2_000)
  await closing
  const all = { name: 'visits', durationMs: 0 }
  expect(events[0]).toEqual({ ...all, keys: 2, outcome: 'failed', error })
  expect(events.slice(1).map(({ outcome }) => outcome)).toEqual(['flushed', 'flushed'])
  expect(background).toEqual([{ module: 'write-behind', name: 'visits', error }])
})

it('an event of a background error carries the name of the cache', async () => {
  const { clock, source, alone } = world()
  const caches = ['products', 'users'].map((name) => alone({ name, staleMs: 60_000 }))
  source.answers = () => 'good'
  for (const cache of caches) await cache.get('k')
  await clock.advance(10_000)
  const events = heard<BackgroundErrorEvent>(channels.backgroundError)
  const error = new Error('the source fails')
  source.answers = () => {
    throw error
  }
  for (const cache of caches) await cache.get('k')
  await settle()
  expect(events).toEqual(['products', 'users'].map((name) => ({ module: 'cache', name, error })))
})

it('events of trips carry the name of the cache, or of the write-behind', async () => {
  const clock = virtualClock()
  const { source, join } = world()
  source.answers = (key) => key
  const events = heard<TripEvent>(channels.trip)
  const cache = join({ name: 'products', tags: () => ['tag'] })
  await cache.get('k')
  await cache.set('k', 'v')
  await cache.invalidateTag('tag')
  await cache.clear()
  const behind = await startWriteBehind(memoryWriteBehind({ clock }), {
    ...{ name: 'visits', delayMs: 1_000, clock },
    flush: () => undefined,
  })
  await behind.touch('k')
  await behind.close()
  const of = (wanted: string): string[] => events.filter(({ module }) => module === wanted).map(({ name }) => name)
  expect([new Set(of('cache')), new Set(of('write-behind'))]).toEqual([new Set(['products']), new Set(['visits'])])
  expect(new Set(events.map(({ verb }) => verb))).toEqual(
    new Set(['read', 'read marks', 'end turns', 'change', 'mark', 'claim', 'touch', 'settle']),
  )
})
