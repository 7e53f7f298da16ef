import { describe, it } from 'vitest'
import { rateLimitContract } from '../../src/ratelimit/contract.js'
import { memoryTokenBucket, type RateLimitDriver } from '../../src/ratelimit/index.js'
import { virtualClock } from '../support/virtual-clock.js'

describe('memoryTokenBucket', () => {
  rateLimitContract(it, async () => {
    const clock = virtualClock()
    const drivers = new Map<string, RateLimitDriver>()
    return {
      clock,
      driver(place) {
        const driver = drivers.get(place) ?? memoryTokenBucket({ clock })
        drivers.set(place, driver)
        return driver
      },
      advance: (ms) => clock.advance(ms),
      [Symbol.asyncDispose]: async () => undefined,
    }
  })
})
