import { describe, expect, it } from 'vitest'
import type { Clock } from '../../../src/core/clock.js'
import {
  memoryTier,
  type Cache,
  type CacheOptions,
  type SharedStore,
  type TierListener,
} from '../../../src/cache/index.js'
import { settle } from '../../support/virtual-clock.js'
import { outcomeOf, tierOf, world, type World } from './support.js'

/** A process that can be cut off from the store, or stopped, while others go on. */
function processOf({ clock, store, alone }: World, options: Partial<CacheOptions<string>> = {}) {
  const tier = store.connect()
  const listeners = new Set<TierListener>()
  let isCut = false
  let isStopped = false
  let stoppedMs = 0
  const unread: (() => void)[] = []
  const reach = <T>(call: () => Promise<T>): Promise<T> => (isCut ? Promise.reject(new Error('cut off')) : call())
  const told =
    <A extends unknown[]>(tell: (...args: A) => void) =>
    (...args: A): void => {
      if (isStopped) unread.push(() => tell(...args))
      else if (!isCut) tell(...args)
    }
  const own: SharedStore = {
    read: (...call) => reach(() => tier.read(...call)),
    end: (...call) => reach(() => tier.end(...call)),
    change: (...call) => reach(() => tier.change(...call)),
    marks: (...call) => reach(() => tier.marks(...call)),
    listen(origin, listener) {
      listeners.add(listener)
      const listening = tier.listen(origin, {
        keysChanged: told(listener.keysChanged),
        tagsChanged: told(listener.tagsChanged),
        cleared: told(listener.cleared),
        turnEnded: told(listener.turnEnded),
        heard: told(listener.heard),
        lost: () => undefined,
      })
      return {
        ...listening,
        check: () => (isCut || isStopped ? new Promise(() => undefined) : listening.check()),
      }
    },
  }
  const stoppable: Clock = { ...clock, nowMs: () => clock.nowMs() + stoppedMs }
  return {
    cache: alone({ clock: stoppable, ...options }, [memoryTier({ maxEntries: 100, clock }), tierOf(own)]),
    cutOff() {
      isCut = true
      for (const { lost } of listeners) lost()
    },
    connect() {
      isCut = false
      for (const { heard } of listeners) heard()
    },
    /** No timer of it runs and it reads nothing that it is sent until `wake`, and after that until `readAll`. */
    stop: () => void (isStopped = true),
    wake: (afterMs: number) => void (stoppedMs += afterMs),
    readAll() {
      isStopped = false
      for (const tell of unread.splice(0)) tell()
    },
  }
}

const changes: [string, (cache: Cache<string>) => Promise<void>, answer: string][] = [
  ['delete', (cache) => cache.delete('k'), 'new'],
  ['set', (cache) => cache.set('k', 'set'), 'set'],
  ['invalidateTag', (cache) => cache.invalidateTag('t'), 'new'],
  ['clear', (cache) => cache.clear(), 'new'],
]
const ways: [string, Partial<CacheOptions<string>>][] = [
  ['each process for itself', {}],
  ['one for all', { fleetLoadMs: 60_000 }],
]

describe.each(ways)('a get does not join a load from before a change that was missed, %s', (_, way) => {
  it.each(changes)('of a process that was cut off from the store: %s', async (_, change, answer) => {
    const all = world()
    const { clock, source, join } = all
    const options = { ...way, tags: () => ['t'] }
    const a = join(options)
    const b = processOf(all, options)
    source.answers = (key) => key
    expect(await b.cache.get('other')).toBe('other')
    source.answers = undefined
    b.cutOff()
    const early = outcomeOf(b.cache.get('k'))
    await clock.advance(100)
    expect(source.runs).toHaveLength(2)
    await change(a)
    b.connect()
    await clock.advance(2_600)
    const late = outcomeOf(b.cache.getMany(['k']))
    await settle()
    expect(source.runs, 'it looks, and loads by itself if nothing is there').toHaveLength(answer === 'set' ? 2 : 3)
    source.runs[1]?.answer('old')
    await settle()
    if (answer === 'new') source.runs[2]?.answer('new')
    await settle()
    expect([early.value, late.value]).toEqual(['old', [answer]])
    expect([await a.get('k'), await b.cache.get('k')]).toEqual([answer, answer])
    expect(source.runs.length, 'what the old load brought is stored nowhere').toBe(answer === 'set' ? 2 : 3)
  })

  it.each(changes)('of a process that was stopped for longer than it is told: %s', async (_, change, answer) => {
    const all = world()
    const { clock, source, join } = all
    const options = { ...way, tags: () => ['t'] }
    const a = join(options)
    const b = processOf(all, options)
    source.answers = (key) => key
    expect(await b.cache.get('other')).toBe('other')
    source.answers = undefined
    const early = outcomeOf(b.cache.get('k'))
    await clock.advance(900)
    expect(source.runs).toHaveLength(2)
    b.stop()
    await change(a)
    b.wake(3_000)
    const late = outcomeOf(b.cache.get('k'))
    await settle()
    // What the load brings is there before the process has read that the key was changed.
    source.runs[1]?.answer('old')
    await settle()
    b.readAll()
    await settle()
    if (answer === 'new') source.last.answer('new')
    await settle()
    source.answers = () => 'new'
    expect([early.value, late.value]).toEqual(['old', answer])
    expect([await a.get('k'), await b.cache.get('k')]).toEqual([answer, answer])
  })

  it('nor an old value that is loaded anew in the background', async () => {
    const all = world()
    const { clock, source, join } = all
    const options = { ...way, staleMs: 600_000, ttlMs: 1_000 }
    const a = join(options)
    const b = processOf(all, options)
    source.answers = () => 'old'
    expect(await b.cache.get('k')).toBe('old')
    await clock.advance(1_001)
    source.answers = undefined
    b.cutOff()
    expect(outcomeOf(b.cache.get('k')).state).toBe('waits')
    await settle()
    expect(source.runs).toHaveLength(2)
    await a.delete('k')
    b.connect()
    await clock.advance(1_500)
    const late = outcomeOf(b.cache.get('k'))
    await settle()
    expect(source.runs).toHaveLength(3)
    source.runs[2]?.answer('new')
    await settle()
    source.runs[1]?.answer('old')
    await settle()
    expect([late.value, await b.cache.get('k'), await a.get('k')]).toEqual(['new', 'new', 'new'])
  })
})

describe('a clear of another process that is heard late', () => {
  it('does not cost the value of a load that began after it', async () => {
    const all = world()
    const { source, join } = all
    const a = join()
    const b = processOf(all)
    source.answers = (key) => key
    expect(await b.cache.get('other')).toBe('other')
    source.answers = undefined
    b.stop()
    await a.clear()
    const asked = outcomeOf(b.cache.get('k'))
    await settle()
    expect(source.runs).toHaveLength(2)
    b.readAll()
    source.answers = () => 'newer'
    source.runs[1]?.answer('new')
    await settle()
    expect(asked.value).toBe('new')
    expect([await a.get('k'), await b.cache.get('k')]).toEqual(['new', 'new'])
    expect(source.runs).toHaveLength(2)
  })
})

describe('who waited for a load that a change of this process ends', () => {
  const ends = changes.filter(([verb]) => verb !== 'invalidateTag')
  it.each(ends)('is answered with what is there after the change: %s', async (_, change, answer) => {
    const all = world()
    const { source, join } = all
    const options = { tags: () => ['t'] }
    const a = join(options)
    const b = processOf(all, options)
    source.answers = (key) => key
    expect(await b.cache.get('other')).toBe('other')
    source.answers = undefined
    outcomeOf(b.cache.get('k'))
    await settle()
    expect(source.runs).toHaveLength(2)
    await b.cache.invalidateTag('t')
    const waits = outcomeOf(b.cache.get('k'))
    await settle()
    b.stop()
    await a.set('k', 'of another')
    source.answers = () => 'new'
    const made = change(b.cache)
    const late = outcomeOf(b.cache.get('k'))
    await made
    await settle()
    expect([waits.value, late.value, await b.cache.get('k'), await a.get('k')]).toEqual(new Array(4).fill(answer))
  })
})
