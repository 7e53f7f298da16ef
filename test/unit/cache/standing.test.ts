import { describe, expect, it } from 'vitest'
import { standing, type Standing } from '../../../src/cache/standing.js'

const moments = [1, 2, 3]

describe('what a get may be answered with', () => {
  it.each<[since: number, endedAt: number, missedAt: number, told: Standing, untold: Standing]>([
    [5, 0, 0, 'current', 'unconfirmed'],
    // What has happened at the moment from which it is known is in it.
    [5, 5, 5, 'current', 'unconfirmed'],
    [5, 4, 4, 'current', 'unconfirmed'],
    // A change may have been missed since then.
    [5, 0, 6, 'doubtful', 'doubtful'],
    [5, 4, 9, 'doubtful', 'doubtful'],
    // It was ended, whatever else may have been missed.
    [5, 6, 0, 'ended', 'ended'],
    [5, 6, 9, 'ended', 'ended'],
    [5, 9, 6, 'ended', 'ended'],
  ])('known from %i, ended at %i, missed at %i: %s', (since, endedAt, missedAt, told, untold) => {
    expect(standing(since, endedAt, missedAt, true)).toBe(told)
    expect(standing(since, endedAt, missedAt, false)).toBe(untold)
  })

  it('never gets better by what is older, or by not being told', () => {
    const rank: Record<Standing, number> = { current: 3, unconfirmed: 2, doubtful: 1, ended: 0 }
    for (const endedAt of moments) {
      for (const missedAt of moments) {
        for (const isTold of [true, false]) {
          for (const since of moments) {
            const here = rank[standing(since, endedAt, missedAt, isTold)]
            expect(rank[standing(since - 1, endedAt, missedAt, isTold)]).toBeLessThanOrEqual(here)
            expect(rank[standing(since, endedAt, missedAt, false)]).toBeLessThanOrEqual(here)
          }
        }
      }
    }
  })
})
