import { describe, expect, it } from 'vitest'
import { deal } from '../../../../src/queue/kafka/assigner.js'

const dealt = (subscriptions: Record<string, string[]>, partitions: Record<string, number[]>) =>
  Object.fromEntries(deal(new Map(Object.entries(subscriptions)), new Map(Object.entries(partitions))))

describe('deal', () => {
  it.each<[string, Record<string, string[]>, Record<string, number[]>, Record<string, Record<string, number[]>>]>([
    ['in turn', { b: ['t'], a: ['t'] }, { t: [2, 0, 1] }, { a: { t: [0, 2] }, b: { t: [1] } }],
    ['nothing to those that are too many', { a: ['t'], b: ['t'] }, { t: [0] }, { a: { t: [0] }, b: {} }],
    [
      'each topic to its readers',
      { a: ['t'], b: ['u'] },
      { t: [0, 1], u: [0, 1] },
      { a: { t: [0, 1] }, b: { u: [0, 1] } },
    ],
    ['a topic without readers to nobody', { a: ['t'] }, { t: [0], u: [0] }, { a: { t: [0] } }],
  ])('deals %s', (_, subscriptions, partitions, expected) => {
    expect(dealt(subscriptions, partitions)).toEqual(expected)
  })
})
