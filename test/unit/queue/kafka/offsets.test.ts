import { describe, expect, it } from 'vitest'
import { lagOf } from '../../../../src/queue/kafka/offsets.js'

const ends = [
  { partition: 0, low: '10', high: '100' },
  { partition: 1, low: '0', high: '50' },
]

describe('the lag of a group', () => {
  it.each<[string, [number, number][], boolean, number]>([
    ['is nothing for a new group that starts at the end', [], false, 0],
    ['is all there is for one that starts at the beginning', [], true, 140],
    [
      'is what lies behind the commits',
      [
        [0, 90],
        [1, 50],
      ],
      false,
      10,
    ],
    ['has partitions that came later from their beginning', [[0, 100]], false, 50],
    [
      'has no messages that are gone',
      [
        [0, 0],
        [1, 50],
      ],
      false,
      90,
    ],
    [
      'takes the oldest for where it was set to that',
      [
        [0, -2],
        [1, 50],
      ],
      false,
      90,
    ],
    [
      'is never below nothing',
      [
        [0, 120],
        [1, 60],
      ],
      false,
      0,
    ],
  ])('%s', (_, committed, fromBeginning, lag) => {
    expect(lagOf({ committed: new Map(committed), ends }, fromBeginning)).toBe(lag)
  })
})
