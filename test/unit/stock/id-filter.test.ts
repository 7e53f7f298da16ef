import { describe, expect, it } from 'vitest'
import { createIdFilter } from '../../../src/stock/id-filter.js'

const shapes: Record<string, (i: number) => string> = {
  counted: (i) => `order-${i}`,
  'with a common end': (i) => `${i}@sale-2024`,
  short: (i) => i.toString(36),
  'not Latin': (i) => `订单${i}`,
}

describe('createIdFilter', () => {
  it.each(Object.entries(shapes))('forgets no id and mistakes few strangers: %s', (_name, id) => {
    const ids = createIdFilter(20_000)
    for (let i = 0; i < 20_000; i++) ids.add(id(i))
    let [kept, mistakes] = [0, 0]
    for (let i = 0; i < 20_000; i++) if (ids.mayHave(id(i))) kept++
    for (let i = 20_000; i < 220_000; i++) if (ids.mayHave(id(i))) mistakes++
    expect(kept).toBe(20_000)
    expect(mistakes).toBeLessThan(40)
  })

  it('has nothing at first, and works for any size', () => {
    for (const expected of [0, 1, 3]) {
      const ids = createIdFilter(expected)
      expect(ids.mayHave('a')).toBe(false)
      ids.add('a')
      expect(ids.mayHave('a')).toBe(true)
    }
  })

  it('stays right when it gets more than it expected', () => {
    const ids = createIdFilter(10)
    for (let i = 0; i < 1_000; i++) ids.add(`${i}`)
    for (let i = 0; i < 1_000; i++) expect(ids.mayHave(`${i}`)).toBe(true)
  })
})
