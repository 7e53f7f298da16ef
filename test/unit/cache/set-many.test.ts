import { expect, it } from 'vitest'
import { StoreUnavailableError } from '../../../src/core/errors.js'
import { settle } from '../../support/virtual-clock.js'
import { outcomeOf, world } from './support.js'

it('takes any pairs, of which the last of a key counts', async () => {
  const { source, alone } = world()
  const cache = alone()
  await cache.setMany([
    ['a', 'first'],
    ['b', 'of b'],
    ['a', 'last'],
  ])
  await cache.setMany(new Map([['c', 'of c']]))
  await cache.setMany(
    (function* () {
      yield ['d', 'of d'] as const
    })(),
  )
  await cache.setMany([])
  expect(await cache.getMany(['a', 'b', 'c', 'd'])).toEqual(['last', 'of b', 'of c', 'of d'])
  expect(source.runs).toEqual([])
})

it.each<[string, unknown, message: string]>([
  ['nothing', undefined, 'entries must be pairs of key and value, such as a Map, got undefined'],
  ['text', 'ab', 'entries must be pairs of key and value, such as a Map, got "ab"'],
  ['an object', { a: 'x' }, "entries must be pairs of key and value, such as a Map, got { a: 'x' }"],
  ['keys alone', [['a', 'x'], 'bc'], 'entries must be pairs of key and value, got "bc" among them'],
  ['a key without a value', [['a', 'x'], ['b']], "entries must be pairs of key and value, got [ 'b' ] among them"],
  [
    'an empty key',
    [
      ['a', 'x'],
      ['', 'y'],
    ],
    'key must not be empty',
  ],
  [
    'an absent value',
    [
      ['a', 'x'],
      ['b', undefined],
    ],
    'the value of "b" must not be undefined: delete the key',
  ],
  [
    'what the codec does not take',
    [
      ['a', 'x'],
      ['b', 1n],
    ],
    'the value of "b" cannot be kept',
  ],
])('checks all before it changes anything: %s', async (_, entries, message) => {
  const { source, store, join } = world()
  source.answers = (key) => `${key} of the source`
  const cache = join()
  await cache.get('a')
  store.calls.length = 0
  await expect(cache.setMany(entries as never)).rejects.toThrow(message)
  expect(store.calls).toEqual([])
  expect(await cache.get('a')).toBe('a of the source')
})

it('lives as long as it is told', async () => {
  const { clock, source, alone } = world()
  const cache = alone()
  source.answers = () => 'loaded'
  await cache.setMany([['a', 'set']], { ttlMs: 500 })
  await clock.advance(499)
  expect(await cache.get('a')).toBe('set')
  await clock.advance(1)
  expect(await cache.get('a')).toBe('loaded')
})

it('shares round trips', async () => {
  const { store, join } = world()
  const cache = join()
  await cache.set('warm', 'x')
  store.calls.length = 0
  await cache.setMany(Array.from({ length: 3_000 }, (_, i) => [`k${i}`, `${i}`] as const))
  expect(store.calls.filter((verb) => verb === 'change').length).toBeLessThanOrEqual(4)
  expect(store.calls.length).toBeLessThanOrEqual(8)
})

it('beats loads that began before, and each get after it has the value', async () => {
  const { source, join } = world()
  const [a, b] = [join(), join()]
  const old = [outcomeOf(a.get('x')), outcomeOf(b.get('y'))]
  await settle()
  const setting = a.setMany([
    ['x', 'set x'],
    ['y', 'set y'],
  ])
  expect(await a.get('x')).toBe('set x')
  await setting
  for (const run of source.runs) run.answer('old')
  await settle()
  expect(old.map(({ state }) => state)).toEqual(['answered', 'answered'])
  for (const cache of [a, b, join()]) expect(await cache.getMany(['x', 'y'])).toEqual(['set x', 'set y'])
})

it('changes memory while the far tier is away, rejects, and is repeated', async () => {
  const { clock, source, store, join } = world()
  source.answers = (key) => `${key} of the source`
  const [a, b] = [join(), join()]
  await Promise.all([a.get('warm'), b.getMany(['x', 'y'])])
  store.state = 'dead'
  const error = await a
    .setMany(new Map(['x', 'y'].map((key) => [key, `set ${key}`])))
    .catch((thrown: unknown) => thrown)
  expect(error).toBeInstanceOf(StoreUnavailableError)
  expect(await a.getMany(['x', 'y'])).toEqual(['set x', 'set y'])
  // The second is not sent, and says what the first failed with.
  const again = (await a.set('x', 'set x').catch((thrown: unknown) => thrown)) as StoreUnavailableError
  expect([again.message, again.applied]).toEqual(['cache: the far tier does not answer: connection refused', 'no'])
  expect((again.cause as Error).message).toBe('connection refused')
  store.state = 'up'
  await clock.advance(3_000)
  expect(await b.getMany(['x', 'y'])).toEqual(['set x', 'set y'])
})
