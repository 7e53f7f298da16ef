import { expect, it, onTestFinished } from 'vitest'
import { createCache, memoryTier, type SharedStore } from '../../../src/cache/index.js'
import { virtualClock } from '../../support/virtual-clock.js'
import { outcomeOf, tierOf } from './support.js'

const many = Array.from({ length: 6_000 }, (_, i) => `k${i}`)

/** A tier on which every trip takes 100 ms. */
function slowTier() {
  const clock = virtualClock()
  const tier = memoryTier({ maxEntries: 100_000, clock }).open('test')
  const sizes: number[] = []
  const slowly = async <T>(call: () => Promise<T>): Promise<T> => {
    await new Promise<void>((arrive) => clock.after(100, arrive))
    return call()
  }
  const slow: SharedStore = {
    ...tier,
    read(reads, terms, trip) {
      sizes.push(reads.length)
      return slowly(() => tier.read(reads, terms, trip))
    },
    end: (ends, trip) => slowly(() => tier.end(ends, trip)),
    change: (origin, changes, trip) => slowly(() => tier.change(origin, changes, trip)),
  }
  return { clock, sizes, slow }
}

it('reads, loads, stores and deletes very many keys in one call, each trip within its own time-out', async () => {
  const { clock, sizes, slow } = slowTier()
  let loads = 0
  const make = () => {
    const cache = createCache<string>([tierOf(slow)], {
      name: 'test',
      load: async (key) => key,
      async loadMany(keys) {
        loads++
        return new Map(keys.map((key) => [key, `of ${key}`]))
      },
      ttlMs: 600_000,
      timeoutMs: 250,
      earlyRefresh: 0,
      clock,
    })
    return cache
  }
  const [a, b] = [make(), make()]
  onTestFinished(async () => {
    const closing = Promise.all([a.close(), b.close()])
    await clock.advance(2_000)
    await closing
  })
  const expected = many.map((key) => `of ${key}`)
  const first = outcomeOf(a.getMany(many))
  await clock.advance(2_000)
  expect(first).toEqual({ state: 'answered', value: expected })
  const second = outcomeOf(b.getMany(many))
  await clock.advance(2_000)
  expect(second).toEqual({ state: 'answered', value: expected })
  expect(loads, 'what one process has loaded another finds').toBe(1)
  expect(Math.max(...sizes)).toBe(1_000)
  expect(sizes.length).toBeLessThan(20)
  const deleting = outcomeOf(a.delete(many))
  await clock.advance(2_000)
  expect(deleting).toEqual({ state: 'answered', value: undefined })
  const third = outcomeOf(b.getMany(many))
  await clock.advance(2_000)
  expect(third.state).toBe('answered')
  expect(loads).toBe(2)
})
