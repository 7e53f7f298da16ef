import { describe, it } from 'vitest'
import { rateLimitContract } from '../../src/ratelimit/contract.js'
import { memoryTokenBucket } from '../../src/ratelimit/index.js'
import { virtualClock } from '../support/virtual-clock.js'

describe('memoryTokenBucket', () => {
  rateLimitContract(it, async () => {
    const clock = virtualClock()
    const driver = memoryTokenBucket({ clock })
    return {
      clock,
      driver: () => driver,
      advance: (ms) => clock.advance(ms),
      [Symbol.asyncDispose]: async () => undefined,
    }
  })
})
