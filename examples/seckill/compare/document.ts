import type { Strategy } from '../strategies/seller.js'

/** A line of the figures that the seckill document gives for its designs, in requests a second. */
export interface DocumentedDesign {
  /** Our strategy that decides as this design did. */
  readonly strategy: Strategy
  readonly design: string
  readonly machines: number
  /** From lowest to highest. */
  readonly selling: readonly [number, number]
  /** `undefined` where the document has one figure for the whole sale. */
  readonly soldOut: readonly [number, number] | undefined
}

export const documented: readonly DocumentedDesign[] = [
  {
    strategy: 'optimistic',
    design: 'before: Redis, Kafka, optimistic lock on a version in MySQL',
    machines: 1,
    selling: [600, 600],
    soldOut: [1_300, 1_300],
  },
  {
    strategy: 'optimistic',
    design: 'the same behind Nginx',
    machines: 7,
    selling: [1_000, 1_000],
    soldOut: [2_500, 2_500],
  },
  {
    strategy: 'redis-lock',
    design: 'after: Redis, Kafka, lock in Redis (Redisson)',
    machines: 7,
    selling: [16_000, 18_000],
    soldOut: undefined,
  },
  {
    strategy: 'zookeeper-lock',
    design: 'after: Redis, Kafka, lock in ZooKeeper (Curator)',
    machines: 7,
    selling: [16_000, 18_000],
    soldOut: undefined,
  },
]
