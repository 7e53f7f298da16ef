import { describe, it } from 'vitest'
import { lockContract } from '../../src/lock/contract.js'
import { memoryLock } from '../../src/lock/index.js'
import { virtualClock } from '../support/virtual-clock.js'

describe('memoryLock', () =>
  lockContract(it, async () => {
    const clock = virtualClock()
    const driver = memoryLock({ clock })
    return {
      clock,
      driver: () => driver,
      advance: (ms) => clock.advance(ms),
      [Symbol.asyncDispose]: async () => undefined,
    }
  }))
