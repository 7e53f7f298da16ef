import { expect, it } from 'vitest'
import { settle } from '../../support/virtual-clock.js'
import { outcomeOf, world } from './support.js'

it('keeps a set for its own ttlMs, here and in the store', async () => {
  const { clock, source, join } = world()
  source.answers = () => 'loaded'
  const [a, b] = [join(), join()]
  await a.set('short', 'x', { ttlMs: 100 })
  await a.set('long', 'x', { ttlMs: 60_000 })
  expect(await b.getMany(['short', 'long'])).toEqual(['x', 'x'])
  await clock.advance(101)
  expect([await a.get('short'), await b.get('short')]).toEqual(['loaded', 'loaded'])
  await clock.advance(30_000)
  expect([await a.get('long'), await b.get('long')]).toEqual(['x', 'x'])
  for (const ttlMs of [0, -1, NaN]) await expect(a.set('k', 'x', { ttlMs })).rejects.toThrow(RangeError)
  await expect(a.set('k', 'x', { ttlMs: '1' as never })).rejects.toThrow(TypeError)
})

it('deletes 200,000 keys of an array in one call', async () => {
  const { source, alone } = world()
  source.answers = () => 'loaded'
  const cache = alone()
  await cache.set('k7', 'x')
  await cache.delete(
    Array.from({ length: 200_000 }, (_, i) => `k${i}`),
    'another',
  )
  expect(await cache.get('k7')).toBe('loaded')
  await expect(cache.delete(['k', ''])).rejects.toThrow(RangeError)
})

it.each([
  [
    'throws',
    () => () => {
      throw new Error('of the listener')
    },
  ],
  ['rejects', () => async () => Promise.reject(new Error('of the listener'))],
])('makes a warning of what a listener %s', async (_, make) => {
  const { source, clock, alone } = world()
  const warnings: string[] = []
  const warned = (warning: Error): void => void warnings.push(warning.message)
  process.on('warning', warned)
  const cache = alone({ ttlMs: 100, staleMs: 60_000, onBackgroundError: make() })
  source.answers = () => 'x'
  await cache.get('k')
  await clock.advance(101)
  source.answers = () => {
    throw new Error('the source fails')
  }
  expect(await cache.get('k')).toBe('x')
  await settle()
  expect(warnings.filter((text) => text.includes('of the listener'))).toHaveLength(1)
  process.off('warning', warned)
})

it('lets nobody who gave up change what others get', async () => {
  const { source, alone } = world()
  const cache = alone()
  const controller = new AbortController()
  const gone = Array.from({ length: 1_000 }, () => outcomeOf(cache.get('k', { signal: controller.signal })))
  const stays = outcomeOf(cache.get('k'))
  await settle()
  controller.abort()
  await settle()
  expect(new Set(gone.map(({ state }) => state))).toEqual(new Set(['failed']))
  source.last.answer('x')
  await settle()
  expect(stays.value).toBe('x')
})
