import { describe, it } from 'vitest'
import { cacheContract, writeBehindContract } from '../../src/cache/contract.js'
import { memoryTier, memoryWriteBehind } from '../../src/cache/index.js'
import { virtualClock } from '../support/virtual-clock.js'

describe('memoryTier', () =>
  cacheContract(it, async () => {
    const clock = virtualClock()
    // With its `local` it would be the memory of one process where it is the only tier.
    const { local: _, ...shared } = memoryTier({ maxEntries: 10_000, clock })
    return {
      clock,
      tier: () => shared,
      memory: () => memoryTier({ maxEntries: 1_000, clock }),
      advance: (ms) => clock.advance(ms),
      [Symbol.asyncDispose]: async () => undefined,
    }
  }))

describe('memoryWriteBehind', () =>
  writeBehindContract(it, async () => {
    const clock = virtualClock()
    const driver = memoryWriteBehind({ clock })
    return {
      clock,
      driver: () => driver,
      advance: (ms) => clock.advance(ms),
      [Symbol.asyncDispose]: async () => undefined,
    }
  }))
