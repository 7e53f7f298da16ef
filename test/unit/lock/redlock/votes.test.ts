import { describe, expect, it } from 'vitest'
import { acquired, countOf, majorityOf, wasHeld, type Count, type Vote } from '../../../../src/lock/redlock/votes.js'

/** `y` yes, `n` no, `x` failed, `.` pending. */
const count = (votes: string): Count => {
  const names = { y: 'yes', n: 'no', x: 'failed' } as const
  const cast = [...votes].flatMap((vote) => (vote === '.' ? [] : [names[vote as 'y' | 'n' | 'x']]))
  return countOf(votes.length, cast)
}

/** All strings of `length` letters out of `letters`. */
const words = (letters: string, length: number): string[] =>
  length === 0 ? [''] : words(letters, length - 1).flatMap((word) => [...letters].map((letter) => word + letter))

describe('majorityOf', () => {
  it.each([
    [1, 1],
    [2, 2],
    [3, 2],
    [4, 3],
    [5, 3],
    [6, 4],
  ])('of %i is %i', (nodes, majority) => {
    expect(majorityOf(nodes)).toBe(majority)
  })

  it('leaves no room for two, and is no larger than that takes', () => {
    for (let nodes = 1; nodes < 100; nodes++) {
      expect(2 * majorityOf(nodes)).toBeGreaterThan(nodes)
      expect(2 * (majorityOf(nodes) - 1)).toBeLessThanOrEqual(nodes)
    }
  })
})

it('counts votes', () => {
  const votes: Vote[] = ['yes', 'no', 'failed', 'yes']
  expect(countOf(5, votes)).toEqual({ nodes: 5, yes: 2, no: 1, failed: 1 })
})

describe('acquired', () => {
  it.each([
    ['y', 'granted'],
    ['n', 'refused'],
    ['x', 'fault'],
    ['yy', 'granted'],
    ['yn', 'refused'],
    ['yx', 'fault'],
    ['nx', 'fault'],
    ['yy.', 'granted'],
    ['yyx', 'granted'],
    ['y..', undefined],
    ['nn.', 'refused'],
    ['yn.', undefined],
    ['ynx', 'refused'],
    ['nnx', 'refused'],
    ['n.x', undefined],
    ['yxx', 'fault'],
    ['xx.', 'fault'],
    ['yyy.', 'granted'],
    ['yyn.', undefined],
    ['yynn', 'refused'],
    ['yynx', 'refused'],
    ['nn..', undefined],
    ['nnn.', 'refused'],
    ['yyxx', 'fault'],
    ['yyynn', 'granted'],
    ['yynnx', 'refused'],
    ['yyxxx', 'fault'],
    ['yy.xx', undefined],
  ] as const)('%s: %s', (votes, verdict) => {
    expect(acquired(count(votes))).toBe(verdict)
  })
})

describe('wasHeld', () => {
  it.each([
    ['y', 'yes'],
    ['n', 'no'],
    ['x', 'fault'],
    ['yx', 'fault'],
    ['yn', 'no'],
    ['yy.', 'yes'],
    ['yn.', undefined],
    ['nn.', 'no'],
    ['ynx', 'fault'],
    ['nnx', 'no'],
    ['yxx', 'fault'],
    ['nxx', 'fault'],
    ['x..', undefined],
    ['yynn', 'no'],
    ['yynx', 'fault'],
    ['nn..', 'no'],
    ['yyyxx', 'yes'],
    ['yynxx', 'fault'],
    ['nnnxx', 'no'],
    ['nnn..', 'no'],
  ] as const)('%s: %s', (votes, verdict) => {
    expect(wasHeld(count(votes))).toBe(verdict)
  })
})

describe.each([
  ['acquired', acquired],
  ['wasHeld', wasHeld],
])('%s', (_, verdictOf) => {
  it('has a verdict at the latest when all votes are in, and none that a later vote could change', () => {
    for (let nodes = 1; nodes <= 5; nodes++) {
      for (const votes of words('ynx.', nodes)) {
        const early = verdictOf(count(votes))
        const pending = [...votes].filter((vote) => vote === '.').length
        if (pending === 0) expect(early, votes).toBeDefined()
        if (early === undefined) continue
        for (const late of words('ynx', pending)) {
          const rest = [...late]
          const all = votes.replace(/\./g, () => rest.pop() as string)
          expect(verdictOf(count(all)), `${votes} → ${all}`).toBe(early)
        }
      }
    }
  })

  it('does not depend on who voted how', () => {
    for (const votes of words('ynx.', 4)) {
      expect(verdictOf(count(votes))).toBe(verdictOf(count([...votes].sort().join(''))))
    }
  })
})
