import { expect, it } from 'vitest'
import type { SharedStore } from '../../../src/cache/index.js'
import { outcomeOf, tierOf, world } from './support.js'

it.each([undefined, 'old'])(
  'a tier that gives no turn and names nobody who has it is loaded without: %s',
  async (old) => {
    const { source, store, alone } = world()
    source.answers = (key) => `${key} of the source`
    const whole = store.connect()
    let reads = 0
    const turnless: SharedStore = {
      ...whole,
      async read(wanted, terms, trip) {
        reads++
        const read = await whole.read(
          wanted.map(({ key }) => ({ key, takes: false })),
          terms,
          trip,
        )
        return { ...read, found: read.found.map((one) => (one instanceof Error ? one : { entry: one.entry })) }
      },
    }
    const cache = alone({ tags: () => ['tag'] }, [tierOf(turnless)])
    if (old !== undefined) {
      await cache.set('k', old)
      await cache.invalidateTag('tag')
    }
    reads = 0
    const got = outcomeOf(cache.get('k'))
    for (let i = 0; i < 100; i++) await new Promise(setImmediate)
    expect(got).toEqual({ state: 'answered', value: 'k of the source' })
    expect(reads).toBeLessThanOrEqual(3)
    expect(source.runs).toHaveLength(1)
  },
)
